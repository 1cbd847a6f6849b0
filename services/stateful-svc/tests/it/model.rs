//! Both stores against a model that is too simple to be wrong.

use std::collections::HashMap;
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use proto_contracts::SessionDigest;
use serde_json::{Map, Value, json};
use stateful_svc::domain::client_data::ClientData;
use stateful_svc::domain::conversation;
use stateful_svc::domain::conversation::{ClientName, Earlier, Quote};
use stateful_svc::domain::cursor::{Cursor, PageSize};
use stateful_svc::domain::lifetime::Lifetime;
use stateful_svc::domain::message::Message;
use stateful_svc::domain::session::Session;

use crate::subject::{Subject, any_session, data, message, patch};

/// Times pass in hundreds of seconds, so that no limit is met to the second: Redis's clock also runs by itself.
const LIFETIME: Lifetime = Lifetime { idle: Duration::from_secs(250), absolute: Duration::from_secs(950) };
/// How many sessions an example plays with.
const SESSIONS: usize = 3;

#[derive(Clone, Debug)]
enum Act {
    Create(usize, Value),
    Read(usize),
    Append(usize, String),
    Patch(usize, Value),
    Delete(usize),
    History(usize, u64, u32),
    Wait(u64),
}

/// What a client can see of an answer, but for ids and times.
#[derive(Debug, PartialEq)]
enum Seen {
    Session { data: Value, message_count: u64, version: u64 },
    Appended { number: u64, reply: String, version: u64 },
    Messages(Vec<(u64, String, String)>),
    Nothing,
    Refused,
}

#[derive(Default)]
struct Model {
    now: u64,
    sessions: HashMap<usize, ModelSession>,
}

struct ModelSession {
    created: u64,
    used: u64,
    data: Map<String, Value>,
    version: u64,
    said: Vec<(u64, String, String)>,
}

impl Model {
    fn act(&mut self, act: &Act) -> Seen {
        let now = self.now;
        self.sessions
            .retain(|_, s| now < s.used + LIFETIME.idle.as_secs() && now < s.created + LIFETIME.absolute.as_secs());
        if let Act::Wait(seconds) = act {
            self.now += seconds;
            return Seen::Nothing;
        }
        if let Act::Create(id, data) = act {
            if self.sessions.contains_key(id) {
                return Seen::Refused;
            }
            let data = data.as_object().cloned().unwrap_or_default();
            let session = ModelSession { created: now, used: now, data, version: 1, said: Vec::new() };
            return self.sessions.entry(*id).insert_entry(session).get().seen();
        }
        let (Act::Read(id) | Act::Append(id, _) | Act::Patch(id, _) | Act::Delete(id) | Act::History(id, ..)) = act
        else {
            unreachable!("the others are done")
        };
        if let Act::Delete(id) = act {
            return self.sessions.remove(id).map_or(Seen::Refused, |_| Seen::Nothing);
        }
        let Some(session) = self.sessions.get_mut(id) else { return Seen::Refused };
        session.used = now;
        match act {
            Act::Append(_, text) => session.append(text),
            Act::Patch(_, patch) => session.patch(patch),
            Act::History(_, after, size) => {
                Seen::Messages(session.said.iter().skip(*after as usize).take(*size as usize).cloned().collect())
            }
            _ => session.seen(),
        }
    }
}

impl ModelSession {
    fn seen(&self) -> Seen {
        let data = Value::Object(self.data.clone());
        Seen::Session { data, message_count: self.said.len() as u64, version: self.version }
    }

    fn append(&mut self, text: &str) -> Seen {
        let name = self.data.get("name").and_then(Value::as_str).and_then(ClientName::new);
        let quote = |said: &(u64, String, String)| Quote::of(&said.1);
        let (first, previous) = (self.said.first().map(quote), self.said.last().map(quote));
        let earlier = first.as_ref().zip(previous.as_ref()).map(|(first, previous)| Earlier { first, previous });
        let number = self.said.len() as u64 + 1;
        let reply = conversation::reply(number, name.as_ref(), earlier);
        self.said.push((number, text.to_owned(), reply.clone()));
        self.version += 1;
        Seen::Appended { number, reply, version: self.version }
    }

    /// Patches of this test are flat.
    fn patch(&mut self, patch: &Value) -> Seen {
        for (member, value) in patch.as_object().into_iter().flatten() {
            match value {
                Value::Null => drop(self.data.remove(member)),
                value => drop(self.data.insert(member.clone(), value.clone())),
            }
        }
        self.version += 1;
        self.seen()
    }
}

async fn act_on(subject: &Subject, ids: &[SessionDigest], act: &Act) -> Seen {
    let store = &subject.store;
    let session = |found: Session| Seen::Session {
        data: json_of(&found.client_data),
        message_count: found.message_count,
        version: found.version,
    };
    match act {
        Act::Create(id, said) => store.create(ids[*id], data(&said.to_string())).await.ok().map(|s| session(s.value)),
        Act::Read(id) => store.read(ids[*id]).await.ok().map(|s| session(s.value)),
        Act::Patch(id, change) => {
            store.patch(ids[*id], &patch(&change.to_string())).await.ok().map(|s| session(s.value))
        }
        Act::Append(id, text) => store.append(ids[*id], message(text)).await.ok().map(|appended| {
            let (message, version) = (appended.value.message, appended.value.version);
            Seen::Appended { number: message.number, reply: message.reply, version }
        }),
        Act::History(id, after, size) => {
            let (after, size) = (Cursor::after(*after).expect("fits"), PageSize::parse(*size).expect("a size"));
            store.history(ids[*id], after, size).await.ok().map(|page| seen_messages(page.value.messages))
        }
        Act::Delete(id) => store.delete(ids[*id]).await.ok().map(|_| Seen::Nothing),
        Act::Wait(seconds) => {
            subject.advance(Duration::from_secs(*seconds)).await;
            Some(Seen::Nothing)
        }
    }
    .unwrap_or(Seen::Refused)
}

fn seen_messages(messages: Vec<Message>) -> Seen {
    Seen::Messages(messages.into_iter().map(|m| (m.number, m.text.into_string(), m.reply)).collect())
}

fn json_of(data: &ClientData) -> Value {
    serde_json::from_str(data.as_str()).expect("JSON")
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let id = || 0..SESSIONS;
    let member = || {
        prop_oneof![
            Just(Value::Null),
            Just(json!([])),
            any::<u64>().prop_map(Value::from),
            "[A-Zé]{0,3}".prop_map(Value::from)
        ]
    };
    let object = move || {
        prop::collection::btree_map("name|[ab]", member(), 0..3).prop_map(|map| map.into_iter().collect::<Value>())
    };
    let act = prop_oneof![
        2 => (id(), object()).prop_map(|(id, data)| Act::Create(id, data)),
        2 => id().prop_map(Act::Read),
        4 => (id(), "[ -~é:\n]{1,100}").prop_map(|(id, text)| Act::Append(id, text)),
        2 => (id(), object()).prop_map(|(id, patch)| Act::Patch(id, patch)),
        1 => id().prop_map(Act::Delete),
        2 => (id(), 0..6_u64, 1..4_u32).prop_map(|(id, after, size)| Act::History(id, after, size)),
        2 => (1..3_u64).prop_map(|hundreds| Act::Wait(hundreds * 100)),
    ];
    prop::collection::vec(act, 1..60)
}

/// Plays random acts on a store and on the model, and compares what a client sees after each.
fn compare_with_model(cases: u32, subject: impl AsyncFnOnce() -> Subject) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let subject = runtime.block_on(subject());
    let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    let outcome = TestRunner::new(config).run(&acts(), |acts| {
        // New ids for each example: what the last one left behind is none of its business.
        let ids: [SessionDigest; SESSIONS] = std::array::from_fn(|_| any_session());
        let mut model = Model::default();
        for (step, act) in acts.iter().enumerate() {
            let expected = model.act(act);
            let seen = runtime.block_on(act_on(&subject, &ids, act));
            prop_assert_eq!(seen, expected, "step {}: {:?}", step, act);
        }
        Ok(())
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
}

#[test]
fn the_memory_store_does_what_the_model_does() {
    compare_with_model(256, async || Subject::memory(LIFETIME).await);
}

#[test]
fn the_redis_store_does_what_the_model_does() {
    compare_with_model(48, async || Subject::redis(LIFETIME).await);
}
