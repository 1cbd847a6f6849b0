//! Random operations on each store, compared with a simple reference model.

use std::collections::HashMap;
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};
use stateful_svc::domain::client_data::ClientData;
use stateful_svc::domain::cursor::{Cursor, PageSize};
use stateful_svc::domain::keyed::Keyed;
use stateful_svc::domain::lifetime::Lifetime;
use stateful_svc::domain::message::Message;
use stateful_svc::domain::session::Session;
use stateful_svc::domain::session_tag::{Expected, SessionTag};
use stateful_svc::store::{
    Access, AppendError, CreateError, DeleteError, PatchError, ReadError, Routing, WriteOutcome,
};

mod reference;

use reference::Model;

use crate::subject::{Subject, any_session, as_subject, data, key, message, patch};

/// Time advances in hundreds of seconds, so that no limit is reached to the second: Redis's clock
/// also runs.
const LIFETIME: Lifetime =
    Lifetime { idle: Duration::from_secs(250), absolute: Duration::from_secs(950) };
/// The number of sessions per example.
const SESSIONS: usize = 3;

/// The caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    Anonymous,
    Ada,
    Bob,
}

/// The instance of a request, and its routing.
#[derive(Clone, Copy, Debug)]
struct Route {
    instance: usize,
    routing: Routing,
}

#[derive(Clone, Debug)]
enum Operation {
    Create(Value, Option<u64>),
    Read,
    Append(String, Precondition, Option<u64>),
    Patch(Value, Precondition, Option<u64>),
    Delete(Precondition),
    History(u64, u32),
    Wait(u64),
}

/// The precondition of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Precondition {
    Any,
    /// The state of the last result with a tag.
    LastSeen,
    /// Any other state.
    Another,
}

impl Precondition {
    fn allows(self, is_last_seen: bool) -> bool {
        match self {
            Self::Any => true,
            Self::LastSeen => is_last_seen,
            Self::Another => !is_last_seen,
        }
    }
}

/// A result without ids and times.
#[derive(Clone, Debug, PartialEq)]
enum Observed {
    Session {
        data: Value,
        message_count: u64,
        version: u64,
    },
    Appended {
        number: u64,
        reply: String,
        version: u64,
    },
    Messages(Vec<(u64, String, String)>),
    Nothing,
    /// The result of an earlier request with the same key.
    Again(Box<Observed>),
    Rejected(Rejection),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Rejection {
    NotFound,
    Exists,
    Deleted,
    KeyReused,
    PreconditionFailed,
}

/// A client of the store under test.
struct Client<'a> {
    subject: &'a Subject,
    sessions: [Access; SESSIONS],
    last_seen: HashMap<usize, SessionTag>,
}

impl Client<'_> {
    async fn apply(
        &mut self,
        route: Route,
        who: Who,
        id: usize,
        operation: &Operation,
    ) -> Observed {
        let store = self.subject.instance(route.instance);
        let session = Access { routing: route.routing, ..self.sessions[id] };
        let access = match who {
            Who::Anonymous => session,
            Who::Ada => as_subject(session, "ada"),
            Who::Bob => as_subject(session, "bob"),
        };
        match operation {
            Operation::Create(given, given_key) => {
                let given = data(&given.to_string());
                let keyed = given_key.map(|number| Keyed::create(key(number), &given));
                match store.create(access, given, keyed).await {
                    Ok(created) => again(created.outcome, self.see(id, created.value)),
                    Err(CreateError::Exists) => Observed::Rejected(Rejection::Exists),
                    Err(CreateError::Deleted) => Observed::Rejected(Rejection::Deleted),
                    Err(CreateError::KeyReused) => Observed::Rejected(Rejection::KeyReused),
                    Err(
                        error @ (CreateError::TooMany
                        | CreateError::Revoked
                        | CreateError::Store(_)),
                    ) => {
                        panic!("{error:?}")
                    }
                }
            }
            Operation::Read => match store.read(access).await {
                Ok(read) => self.see(id, read.value),
                Err(ReadError::NotFound) => Observed::Rejected(Rejection::NotFound),
                Err(error @ (ReadError::Revoked | ReadError::Store(_))) => panic!("{error:?}"),
            },
            Operation::Patch(change, precondition, given_key) => {
                let change = patch(&change.to_string());
                let keyed = given_key.map(|number| Keyed::patch(key(number), &change));
                let expected = self.expected(id, *precondition);
                match store.patch(access, &change, &expected, keyed).await {
                    Ok(patched) => again(patched.outcome, self.see(id, patched.value)),
                    Err(PatchError::NotFound) => Observed::Rejected(Rejection::NotFound),
                    Err(PatchError::PreconditionFailed) => {
                        Observed::Rejected(Rejection::PreconditionFailed)
                    }
                    Err(PatchError::KeyReused) => Observed::Rejected(Rejection::KeyReused),
                    Err(error) => panic!("{error:?}"),
                }
            }
            Operation::Append(text, precondition, given_key) => {
                let new = message(text);
                let keyed = given_key.map(|number| Keyed::append(key(number), &new.text));
                match store.append_if(access, new, &self.expected(id, *precondition), keyed).await {
                    Ok(appended) => {
                        self.last_seen
                            .insert(id, appended.value.tag().expect("kept by this version"));
                        let (message, version) = (appended.value.message, appended.value.version);
                        let seen = Observed::Appended {
                            number: message.number,
                            reply: message.reply,
                            version,
                        };
                        again(appended.outcome, seen)
                    }
                    Err(AppendError::NotFound) => Observed::Rejected(Rejection::NotFound),
                    Err(AppendError::PreconditionFailed) => {
                        Observed::Rejected(Rejection::PreconditionFailed)
                    }
                    Err(AppendError::KeyReused) => Observed::Rejected(Rejection::KeyReused),
                    Err(error) => panic!("{error:?}"),
                }
            }
            Operation::History(after, size) => {
                let (after, size) =
                    (Cursor::after(*after).expect("fits"), PageSize::parse(*size).expect("a size"));
                match store.history(access, after, size).await {
                    Ok(page) => seen_messages(page.value.messages),
                    Err(ReadError::NotFound) => Observed::Rejected(Rejection::NotFound),
                    Err(error @ (ReadError::Revoked | ReadError::Store(_))) => panic!("{error:?}"),
                }
            }
            Operation::Delete(precondition) => {
                match store.delete_if(access, &self.expected(id, *precondition)).await {
                    Ok(_) => Observed::Nothing,
                    Err(DeleteError::NotFound) => Observed::Rejected(Rejection::NotFound),
                    Err(DeleteError::PreconditionFailed) => {
                        Observed::Rejected(Rejection::PreconditionFailed)
                    }
                    Err(error @ (DeleteError::Revoked | DeleteError::Store(_))) => {
                        panic!("{error:?}")
                    }
                }
            }
            Operation::Wait(seconds) => {
                self.subject.advance(Duration::from_secs(*seconds)).await;
                Observed::Nothing
            }
        }
    }

    fn expected(&self, id: usize, precondition: Precondition) -> Expected {
        let last_seen = || self.last_seen.get(&id).copied().into_iter().collect();
        match precondition {
            Precondition::Any => Expected::Any,
            Precondition::LastSeen => Expected::OneOf(last_seen()),
            Precondition::Another => Expected::NoneOf(last_seen()),
        }
    }

    fn see(&mut self, id: usize, session: Session) -> Observed {
        self.last_seen.insert(id, session.tag());
        let data = json_of(&session.client_data);
        Observed::Session { data, message_count: session.message_count, version: session.version }
    }
}

fn again(outcome: WriteOutcome, seen: Observed) -> Observed {
    match outcome {
        WriteOutcome::Applied => seen,
        WriteOutcome::Replayed => Observed::Again(Box::new(seen)),
    }
}

fn seen_messages(messages: Vec<Message>) -> Observed {
    Observed::Messages(
        messages.into_iter().map(|m| (m.number, m.text.into_string(), m.reply)).collect(),
    )
}

fn json_of(data: &ClientData) -> Value {
    serde_json::from_str(data.as_str()).expect("JSON")
}

fn operations() -> impl Strategy<Value = Vec<(Route, Who, usize, Operation)>> {
    let member = || {
        prop_oneof![
            Just(Value::Null),
            Just(json!([])),
            any::<u64>().prop_map(Value::from),
            "[A-Zé:]{0,3}".prop_map(Value::from)
        ]
    };
    let object = move || {
        prop::collection::btree_map("name|[ab]", member(), 0..3)
            .prop_map(|map| map.into_iter().collect::<Value>())
    };
    // Few different requests and keys, so that some repeat.
    let few_objects = move || prop_oneof![Just(json!({})), Just(json!({"name": "Ada"})), object()];
    let text = || prop_oneof!["[ab]", "[ -~é:\n]{1,100}"];
    let key = || prop::option::of(0..4_u64);
    let precondition = || {
        prop_oneof![
            4 => Just(Precondition::Any),
            4 => Just(Precondition::LastSeen),
            1 => Just(Precondition::Another),
        ]
    };
    let operation = prop_oneof![
        3 => (few_objects(), key()).prop_map(|(data, key)| Operation::Create(data, key)),
        6 => Just(Operation::Read),
        4 => (text(), precondition(), key())
            .prop_map(|(text, precondition, key)| Operation::Append(text, precondition, key)),
        4 => (few_objects(), precondition(), key())
            .prop_map(|(patch, precondition, key)| Operation::Patch(patch, precondition, key)),
        1 => precondition().prop_map(Operation::Delete),
        2 => (0..6_u64, 1..4_u32).prop_map(|(after, size)| Operation::History(after, size)),
        1 => (1..3_u64).prop_map(|hundreds| Operation::Wait(hundreds * 100)),
    ];
    let who = prop_oneof![2 => Just(Who::Anonymous), 5 => Just(Who::Ada), 1 => Just(Who::Bob)];
    let routing = prop_oneof![3 => Just(Routing::Sticky), 1 => Just(Routing::RoundRobin)];
    let route = (0..2_usize, routing).prop_map(|(instance, routing)| Route { instance, routing });
    prop::collection::vec((route, who, 0..SESSIONS, operation), 1..60)
}

/// Runs random operations on a store and on the model, and compares their results.
fn compare_with_model(cases: u32, subject: impl AsyncFnOnce() -> Subject) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let subject = runtime.block_on(subject());
    let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    let outcome = TestRunner::new(config).run(&operations(), |operations| {
        // New ids for each example, so that examples are independent.
        let sessions = std::array::from_fn(|_| any_session());
        let mut client = Client { subject: &subject, sessions, last_seen: HashMap::new() };
        let mut model = Model::default();
        for (step, (route, who, id, operation)) in operations.iter().enumerate() {
            let expected = model.apply(*who, *id, operation);
            let seen = runtime.block_on(client.apply(*route, *who, *id, operation));
            prop_assert_eq!(
                seen,
                expected,
                "step {}: {:?} {:?} on session {}: {:?}",
                step,
                route,
                who,
                id,
                operation
            );
        }
        Ok(())
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
}

#[test]
fn the_memory_store_matches_the_model() {
    compare_with_model(256, async || Subject::memory(LIFETIME).await);
}

#[test]
fn the_redis_store_matches_the_model() {
    compare_with_model(48, async || Subject::redis(LIFETIME).await);
}

#[test]
fn two_hybrid_stores_on_one_redis_match_the_model() {
    compare_with_model(48, async || Subject::hybrids(2, LIFETIME).await);
}
