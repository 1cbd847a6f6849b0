//! The checks of the responses.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Result, ensure};
use http::{HeaderValue, StatusCode};
use proto_contracts::Endpoint;
use proto_contracts::headers::REQUEST_ID;

use super::requests::is_of_one_client;
use crate::bench::contender::Contender;
use crate::bench::workload::{LARGE_RESPONSE, UPLOAD, Workload};
use crate::client::Response;
use crate::origin::{Received, pattern};

/// Shorter ids would not be unique.
const MIN_REQUEST_ID: usize = 16;
/// An origin must get this share of an even split, minus the statistical tolerance.
const LEAST_SHARE: f64 = 0.8;
/// Statistical tolerance, in standard deviations of a fair coin: a quick comparison sees few keys.
const TOLERANCE: f64 = 4.0;

/// The responses of a contender so far.
pub(super) struct Responses {
    state: Mutex<State>,
    /// The relay neither chooses an origin by the request nor makes a request id.
    is_relayed: bool,
}

#[derive(Default)]
struct State {
    /// The origin of each key.
    homes: HashMap<String, String>,
    /// Stateless requests of each origin.
    stateless: HashMap<String, u64>,
    /// The first error.
    first_error: Option<String>,
}

impl Responses {
    /// None yet.
    pub(super) fn of(contender: Contender) -> Self {
        Self { state: Mutex::default(), is_relayed: contender.is_relay() }
    }

    /// Whether the response is correct: complete, from the key's origin, with the request id that
    /// the origin received. Large bodies must be intact in both directions, and the origin must
    /// have received a trace and the address of the same client. Through the relay, it must only
    /// be complete.
    pub(super) fn judge(&self, workload: Workload, response: &Response) -> bool {
        let mut state = self.lock();
        let judged = match self.is_relayed {
            true => received(workload, response).map(drop),
            false => state.judge(workload, response),
        };
        match judged {
            Ok(()) => true,
            Err(error) => {
                state.first_error.get_or_insert_with(|| error.to_string());
                false
            }
        }
    }

    /// The first error since the last call.
    pub(super) fn take_first_error(&self) -> Option<String> {
        self.lock().first_error.take()
    }

    /// Fails unless both origins of each pool got their share.
    pub(super) fn check_spread(&self) -> Result<()> {
        if self.is_relayed {
            return Ok(());
        }
        let state = self.lock();
        let mut keys: HashMap<&str, u64> = HashMap::new();
        state.homes.values().for_each(|home| *keys.entry(home).or_default() += 1);
        for counts in [keys.values().collect::<Vec<_>>(), state.stateless.values().collect()] {
            let all = counts.iter().copied().sum::<u64>() as f64;
            let least = all / 2.0 * LEAST_SHARE - TOLERANCE * all.sqrt() / 2.0;
            let is_even = counts.len() == 2 && counts.iter().all(|&&count| count as f64 >= least);
            ensure!(is_even, "its origins got {counts:?}");
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn judge(&mut self, workload: Workload, response: &Response) -> Result<()> {
        let Received { instance, path, key, request_id, trace_id, client, .. } =
            received(workload, response)?;
        ensure!(
            workload != Workload::BehindNginx || is_of_one_client(trace_id, client),
            "the origin got trace '{trace_id}' of client '{client}'"
        );
        let echoed =
            response.headers.get(REQUEST_ID).map(HeaderValue::as_bytes).unwrap_or_default();
        ensure!(
            request_id.len() >= MIN_REQUEST_ID && echoed == request_id.as_bytes(),
            "request id '{request_id}' at the origin and '{}' at the client",
            String::from_utf8_lossy(echoed),
        );
        if path == Endpoint::Info.templates().canonical {
            ensure!(instance.starts_with("stateless"), "{instance} served {path}");
            count(&mut self.stateless, instance);
            return Ok(());
        }
        ensure!(instance.starts_with("stateful"), "{instance} served {path}");
        // Over its home's load bound, which only the gateway has.
        if response.is_spilled() {
            return Ok(());
        }
        match self.homes.get(key) {
            Some(home) => ensure!(home == instance, "{key} went to {home} and to {instance}"),
            None => drop(self.homes.insert(key.to_owned(), instance.to_owned())),
        }
        Ok(())
    }
}

/// What the origin received, by a complete response.
fn received(workload: Workload, response: &Response) -> Result<Received<'_>> {
    ensure!(response.status == StatusCode::OK, "status {}", response.status);
    let body = match workload {
        Workload::Large => small_part(&response.body)?,
        _ => &response.body,
    };
    let received: Received<'_> = serde_json::from_slice(body)?;
    let expected = if workload == Workload::Upload { UPLOAD } else { 0 };
    ensure!(received.body_bytes == expected, "the origin got {} bytes", received.body_bytes);
    Ok(received)
}

/// Checks the rest of a large response, which is the pattern, and returns what is before it.
fn small_part(body: &[u8]) -> Result<&[u8]> {
    let end = body.iter().position(|&byte| byte == b'\n').unwrap_or(body.len());
    let (small, rest) = body.split_at(end);
    let is_intact = body.len() == LARGE_RESPONSE
        && rest.get(1..).is_some_and(|rest| pattern().starts_with(rest));
    ensure!(is_intact, "{} bytes, of which some are not the origin's", body.len());
    Ok(small)
}

fn count(stateless: &mut HashMap<String, u64>, instance: &str) {
    match stateless.get_mut(instance) {
        Some(count) => *count += 1,
        None => drop(stateless.insert(instance.to_owned(), 1)),
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderName};

    use super::*;

    const ID: &str = "00112233445566778899aabbccddeeff";

    fn response(instance: &str, path: &str, key: &str, echoed: &'static str) -> Response {
        let received = Received { instance, path, key, request_id: ID, ..Received::default() };
        let echoed = (HeaderName::from_static(REQUEST_ID), HeaderValue::from_static(echoed));
        let body = serde_json::to_vec(&received).expect("JSON").into();
        Response { status: StatusCode::OK, headers: HeaderMap::from_iter([echoed]), body }
    }

    #[test]
    fn a_response_from_another_origin_or_with_another_id_is_wrong() {
        let (info, sessions) =
            (Endpoint::Info.templates().canonical, Endpoint::Sessions.templates().canonical);
        let responses = Responses::of(Contender::Gateway);
        for (instance, key) in [("stateful-1", "a"), ("stateful-2", "b"), ("stateful-1", "a")] {
            assert!(
                responses.judge(Workload::Small, &response(instance, sessions, key, ID)),
                "{}",
                responses.take_first_error().unwrap_or_default()
            );
        }
        for instance in ["stateless-1", "stateless-2"] {
            assert!(
                responses.judge(Workload::Small, &response(instance, info, "", ID)),
                "{}",
                responses.take_first_error().unwrap_or_default()
            );
        }
        responses.check_spread().expect("even");
        assert!(
            !responses.judge(Workload::Small, &response("stateful-2", sessions, "a", ID)),
            "its home is another"
        );
        assert!(
            !responses.judge(Workload::Small, &response("stateful-1", info, "", ID)),
            "another pool"
        );
        assert!(
            !responses.judge(
                Workload::Small,
                &response("stateless-1", info, "", "00112233445566778899aabbccddeef0")
            ),
            "another id"
        );
        let error = responses.take_first_error().expect("an error");
        assert!(error.starts_with("a went to stateful-1 and to stateful-2"), "{error}");
        assert_eq!(responses.take_first_error(), None);
    }

    #[test]
    fn an_origin_may_have_few_keys_by_chance_but_not_few_of_many() {
        let (info, sessions) =
            (Endpoint::Info.templates().canonical, Endpoint::Sessions.templates().canonical);
        let spread = |keys: [u64; 2]| {
            let responses = Responses::of(Contender::Gateway);
            for instance in ["stateless-1", "stateless-2"] {
                assert!(
                    responses.judge(Workload::Small, &response(instance, info, "", ID)),
                    "{}",
                    responses.take_first_error().unwrap_or_default()
                );
            }
            for (instance, count) in ["stateful-1", "stateful-2"].into_iter().zip(keys) {
                for key in 0..count {
                    let right = responses.judge(
                        Workload::Small,
                        &response(instance, sessions, &format!("{instance}-{key}"), ID),
                    );
                    assert!(right, "{}", responses.take_first_error().unwrap_or_default());
                }
            }
            responses.check_spread()
        };
        spread([49, 97]).expect("a third of 146 is within the tolerance");
        assert!(spread([300, 700]).is_err());
        assert!(spread([0, 146]).is_err());
    }

    #[test]
    fn a_large_body_must_be_intact() {
        let path = Endpoint::Info.templates().canonical;
        let with_body = |workload, body_bytes, length: usize| {
            let received = Received {
                instance: "stateless-1",
                path,
                request_id: ID,
                body_bytes,
                ..Received::default()
            };
            let mut body = serde_json::to_vec(&received).expect("JSON");
            if length > 0 {
                body.push(b'\n');
                body.extend_from_slice(&pattern()[..length - body.len()]);
            }
            let response = response("stateless-1", path, "", ID);
            Responses::of(Contender::Gateway)
                .judge(workload, &Response { body: body.into(), ..response })
        };
        assert!(with_body(Workload::Large, 0, LARGE_RESPONSE));
        assert!(!with_body(Workload::Large, 0, LARGE_RESPONSE - 1));
        assert!(!with_body(Workload::Large, 0, 0));
        assert!(with_body(Workload::Upload, UPLOAD, 0));
        assert!(!with_body(Workload::Upload, UPLOAD - 1, 0));
        assert!(!with_body(Workload::BehindNginx, 0, 0), "neither trace nor client");
    }
}
