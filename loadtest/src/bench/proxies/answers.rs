//! The requests of the comparison, and what a right answer to each is.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Result, bail, ensure};
use http::header::{ACCEPT, COOKIE, USER_AGENT};
use http::{HeaderValue, StatusCode};
use proto_contracts::affinity::COOKIE_NAME;
use proto_contracts::headers::REQUEST_ID;
use proto_contracts::{AffinityKey, Endpoint};

use crate::client::{Answer, ScenarioRequest};
use crate::origin::Seen;
use crate::request;

/// Clients, each of which has a key.
const KEYS: usize = 1_000;
/// Fewer characters do not tell requests apart.
const MIN_REQUEST_ID: usize = 16;
/// Below this share of an even part, and what chance may take from it, an origin gets too little.
const LEAST_SHARE: f64 = 0.8;
/// What chance may take, in standard deviations of as many fair coins: a quick comparison on a busy machine sees few keys.
const CHANCE: f64 = 4.0;

/// The request of that number: every second one is for each pool, and the stateful ones go through all of the keys.
pub(super) fn request(number: usize) -> ScenarioRequest {
    let mut request = match number % 2 {
        0 => request::get(Endpoint::Info.templates().canonical),
        _ => {
            let mut request = request::get(Endpoint::Sessions.templates().canonical);
            // Any odd multiplier spreads them.
            let key = AffinityKey::from_bits(((number / 2 % KEYS) as u32).wrapping_mul(0x9e37_79b9));
            let cookie = HeaderValue::try_from(format!("{COOKIE_NAME}={key}"));
            // Hex digits, which any header may hold; without its cookie the answer would be judged wrong.
            cookie.into_iter().for_each(|cookie| drop(request.headers_mut().insert(COOKIE, cookie)));
            request
        }
    };
    request.headers_mut().insert(USER_AGENT, HeaderValue::from_static("loadtest"));
    request.headers_mut().insert(ACCEPT, HeaderValue::from_static("application/json"));
    request
}

/// What a contender has answered so far.
#[derive(Default)]
pub(super) struct Answers(Mutex<Known>);

#[derive(Default)]
struct Known {
    /// Which origin has each key.
    homes: HashMap<String, String>,
    /// How many stateless requests each origin got.
    turns: HashMap<String, u64>,
    /// What was wrong first.
    complaint: Option<String>,
}

impl Answers {
    /// Whether the answer is right: whole, from the key's own origin or whose turn it is, with the id that the origin saw.
    pub(super) fn judge(&self, answer: &Answer) -> bool {
        let mut known = self.lock();
        match known.judge(answer) {
            Ok(()) => true,
            Err(error) => {
                known.complaint.get_or_insert_with(|| error.to_string());
                false
            }
        }
    }

    /// What was wrong first.
    pub(super) fn complaint(&self) -> String {
        self.lock().complaint.clone().unwrap_or_else(|| "none came".to_owned())
    }

    /// Fails unless both origins of each pool had their part.
    pub(super) fn check_spread(&self) -> Result<()> {
        let known = self.lock();
        if let Some(complaint) = &known.complaint {
            bail!("a wrong answer: {complaint}");
        }
        let mut keys: HashMap<&str, u64> = HashMap::new();
        known.homes.values().for_each(|home| *keys.entry(home).or_default() += 1);
        for counts in [keys.values().collect::<Vec<_>>(), known.turns.values().collect()] {
            let all = counts.iter().copied().sum::<u64>() as f64;
            let least = all / 2.0 * LEAST_SHARE - CHANCE * all.sqrt() / 2.0;
            let fair = counts.len() == 2 && counts.iter().all(|&&count| count as f64 >= least);
            ensure!(fair, "its origins got {counts:?}");
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn judge(&mut self, answer: &Answer) -> Result<()> {
        ensure!(answer.status == StatusCode::OK, "status {}", answer.status);
        let Seen { instance, path, key, request_id } = serde_json::from_slice(&answer.body)?;
        let told = answer.headers.get(REQUEST_ID).map(HeaderValue::as_bytes).unwrap_or_default();
        ensure!(
            request_id.len() >= MIN_REQUEST_ID && told == request_id.as_bytes(),
            "request id '{request_id}' there and '{}' here",
            String::from_utf8_lossy(told),
        );
        if path == Endpoint::Info.templates().canonical {
            ensure!(instance.starts_with("stateless"), "{instance} has answered {path}");
            count(&mut self.turns, instance);
            return Ok(());
        }
        ensure!(instance.starts_with("stateful"), "{instance} has answered {path}");
        // More than its home may have in flight: the gateway bounds that, at any of these loads, and the others do not.
        if answer.is_spilled() {
            return Ok(());
        }
        match self.homes.get(key) {
            Some(home) => ensure!(home == instance, "{key} went to {home} and to {instance}"),
            None => drop(self.homes.insert(key.to_owned(), instance.to_owned())),
        }
        Ok(())
    }
}

fn count(turns: &mut HashMap<String, u64>, instance: &str) {
    match turns.get_mut(instance) {
        Some(count) => *count += 1,
        None => drop(turns.insert(instance.to_owned(), 1)),
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderName};

    use super::*;

    const ID: &str = "00112233445566778899aabbccddeeff";

    fn answer(instance: &str, path: &str, key: &str, told: &'static str) -> Answer {
        let seen = Seen { instance, path, key, request_id: ID };
        let told = (HeaderName::from_static(REQUEST_ID), HeaderValue::from_static(told));
        let body = serde_json::to_vec(&seen).expect("JSON").into();
        Answer { status: StatusCode::OK, headers: HeaderMap::from_iter([told]), body }
    }

    #[test]
    fn an_answer_from_another_origin_or_with_another_id_is_wrong() {
        let (info, sessions) = (Endpoint::Info.templates().canonical, Endpoint::Sessions.templates().canonical);
        let answers = Answers::default();
        for (instance, key) in [("stateful-1", "a"), ("stateful-2", "b"), ("stateful-1", "a")] {
            assert!(answers.judge(&answer(instance, sessions, key, ID)), "{}", answers.complaint());
        }
        for instance in ["stateless-1", "stateless-2"] {
            assert!(answers.judge(&answer(instance, info, "", ID)), "{}", answers.complaint());
        }
        answers.check_spread().expect("even");
        assert!(!answers.judge(&answer("stateful-2", sessions, "a", ID)), "its home is another");
        assert!(!answers.judge(&answer("stateful-1", info, "", ID)), "another pool");
        assert!(!answers.judge(&answer("stateless-1", info, "", "00112233445566778899aabbccddeef0")), "another id");
        assert!(answers.check_spread().is_err());
    }

    #[test]
    fn an_origin_may_have_few_keys_by_chance_but_not_few_of_many() {
        let (info, sessions) = (Endpoint::Info.templates().canonical, Endpoint::Sessions.templates().canonical);
        let spread = |keys: [u64; 2]| {
            let answers = Answers::default();
            for instance in ["stateless-1", "stateless-2"] {
                assert!(answers.judge(&answer(instance, info, "", ID)), "{}", answers.complaint());
            }
            for (instance, count) in ["stateful-1", "stateful-2"].into_iter().zip(keys) {
                for key in 0..count {
                    let right = answers.judge(&answer(instance, sessions, &format!("{instance}-{key}"), ID));
                    assert!(right, "{}", answers.complaint());
                }
            }
            answers.check_spread()
        };
        spread([49, 97]).expect("a third of 146 happens");
        assert!(spread([300, 700]).is_err());
        assert!(spread([0, 146]).is_err());
    }

    #[test]
    fn all_keys_are_asked_for() {
        let cookies = (0..2 * KEYS).filter_map(|number| request(number).headers().get(COOKIE).cloned());
        assert_eq!(cookies.collect::<std::collections::HashSet<_>>().len(), KEYS);
    }
}
