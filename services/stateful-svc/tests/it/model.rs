//! Every store against a model that is too simple to be wrong.

use std::collections::HashMap;
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use serde_json::{Map, Value, json};
use stateful_svc::domain::client_data::ClientData;
use stateful_svc::domain::conversation;
use stateful_svc::domain::conversation::{ClientName, Earlier, Quote};
use stateful_svc::domain::cursor::{Cursor, PageSize};
use stateful_svc::domain::keyed::Keyed;
use stateful_svc::domain::lifetime::Lifetime;
use stateful_svc::domain::message::Message;
use stateful_svc::domain::session::Session;
use stateful_svc::domain::session_tag::{Expected, SessionTag};
use stateful_svc::store::{Access, AppendError, CreateError, DeleteError, Done, PatchError, ReadError, Routing};

use crate::subject::{Subject, any_session, as_subject, data, key, message, patch};

/// Times pass in hundreds of seconds, so that no limit is met to the second: Redis's clock also runs by itself.
const LIFETIME: Lifetime = Lifetime { idle: Duration::from_secs(250), absolute: Duration::from_secs(950) };
/// How many sessions an example plays with.
const SESSIONS: usize = 3;

/// Who acts: nobody in particular, or one of two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    Anybody,
    Ada,
    Bob,
}

/// How a request comes to the store: through which instance, and why through that one.
#[derive(Clone, Copy, Debug)]
struct Way {
    instance: usize,
    routing: Routing,
}

#[derive(Clone, Debug)]
enum Act {
    Create(Value, Option<u64>),
    Read,
    Append(String, Wanted, Option<u64>),
    Patch(Value, Wanted, Option<u64>),
    Delete(Wanted),
    History(u64, u32),
    Wait(u64),
}

/// For which state a write is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    Any,
    /// The one that the last answer with a tag showed.
    LastSeen,
    /// Any but that one.
    Another,
}

impl Wanted {
    fn allows(self, is_last_seen: bool) -> bool {
        match self {
            Self::Any => true,
            Self::LastSeen => is_last_seen,
            Self::Another => !is_last_seen,
        }
    }
}

/// What a client can see of an answer, but for ids and times.
#[derive(Clone, Debug, PartialEq)]
enum Seen {
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
    /// The answer to an earlier request of the same key.
    Again(Box<Seen>),
    Refused(Refusal),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Refusal {
    NotFound,
    Exists,
    Deleted,
    KeyReused,
    Overtaken,
}

#[derive(Default)]
struct Model {
    now: u64,
    sessions: HashMap<usize, ModelSession>,
    deleted: HashMap<usize, (Who, u64)>,
    created: u64,
    last_seen: HashMap<usize, ModelTag>,
}

/// Which session of all that ever had this id, and its version.
type ModelTag = (u64, u64);

struct ModelSession {
    owner: Who,
    created: u64,
    used: u64,
    data: Map<String, Value>,
    tag: ModelTag,
    said: Vec<(u64, String, String)>,
    kept: HashMap<u64, (String, Seen, ModelTag)>,
}

fn may_use(who: Who, owner: Who) -> bool {
    owner == Who::Anybody || owner == who
}

impl Model {
    fn act(&mut self, who: Who, id: usize, act: &Act) -> Seen {
        let now = self.now;
        let (idle, absolute) = (LIFETIME.idle.as_secs(), LIFETIME.absolute.as_secs());
        self.sessions.retain(|_, s| now < s.used + idle && now < s.created + absolute);
        self.deleted.retain(|_, (_, at)| now < *at + absolute);
        match act {
            Act::Wait(seconds) => {
                self.now += seconds;
                return Seen::Nothing;
            }
            Act::Create(data, key) if !self.sessions.contains_key(&id) => return self.create(who, id, data, *key),
            Act::Delete(wanted) => return self.delete(who, id, *wanted),
            _ => {}
        }
        let is_create = matches!(act, Act::Create(..));
        let session = match self.sessions.get_mut(&id) {
            Some(session) if may_use(who, session.owner) => session,
            _ if is_create => return Seen::Refused(Refusal::Exists),
            _ => return Seen::Refused(Refusal::NotFound),
        };
        session.used = now;
        let request = request(act);
        let before = session.kept.get(&key_of(act).unwrap_or(u64::MAX));
        let (seen, tag) = match before {
            Some((other, ..)) if *other != request => return Seen::Refused(Refusal::KeyReused),
            Some((_, seen, tag)) => (Seen::Again(Box::new(seen.clone())), *tag),
            None if is_create => return Seen::Refused(Refusal::Exists),
            None => {
                let expected = self.last_seen.get(&id).is_some_and(|seen| *seen == session.tag);
                if !wanted_of(act).allows(expected) {
                    return Seen::Refused(Refusal::Overtaken);
                }
                let seen = session.act(act);
                session.keep(act, &seen);
                (seen, session.tag)
            }
        };
        if matches!(act, Act::Create(..) | Act::Read | Act::Append(..) | Act::Patch(..)) {
            self.last_seen.insert(id, tag);
        }
        seen
    }

    fn create(&mut self, who: Who, id: usize, data: &Value, key: Option<u64>) -> Seen {
        if self.deleted.contains_key(&id) {
            return Seen::Refused(Refusal::Deleted);
        }
        self.created += 1;
        let (created, used, tag) = (self.now, self.now, (self.created, 1));
        let data = data.as_object().cloned().unwrap_or_default();
        let (said, kept) = (Vec::new(), HashMap::new());
        let mut session = ModelSession { owner: who, created, used, data: data.clone(), tag, said, kept };
        let seen = session.seen();
        session.keep(&Act::Create(Value::Object(data), key), &seen);
        self.sessions.insert(id, session);
        self.last_seen.insert(id, tag);
        seen
    }

    fn delete(&mut self, who: Who, id: usize, wanted: Wanted) -> Seen {
        let last_seen = self.last_seen.get(&id);
        if let Some(session) = self.sessions.get_mut(&id)
            && may_use(who, session.owner)
            && !wanted.allows(last_seen == Some(&session.tag))
        {
            session.used = self.now;
            return Seen::Refused(Refusal::Overtaken);
        }
        let owner = self.sessions.get(&id).map(|s| s.owner).or(self.deleted.get(&id).map(|(owner, _)| *owner));
        match owner {
            Some(owner) if may_use(who, owner) => {
                if self.sessions.remove(&id).is_some() {
                    self.deleted.insert(id, (owner, self.now));
                }
                Seen::Nothing
            }
            _ => Seen::Refused(Refusal::NotFound),
        }
    }
}

fn key_of(act: &Act) -> Option<u64> {
    match act {
        Act::Create(_, key) | Act::Append(_, _, key) | Act::Patch(_, _, key) => *key,
        _ => None,
    }
}

fn wanted_of(act: &Act) -> Wanted {
    match act {
        Act::Append(_, wanted, _) | Act::Patch(_, wanted, _) | Act::Delete(wanted) => *wanted,
        _ => Wanted::Any,
    }
}

/// What a repetition has in common with the first request.
fn request(act: &Act) -> String {
    match act {
        Act::Create(data, _) => format!("create {data}"),
        Act::Append(text, ..) => format!("append {text}"),
        Act::Patch(patch, ..) => format!("patch {patch}"),
        _ => String::new(),
    }
}

impl ModelSession {
    fn seen(&self) -> Seen {
        let data = Value::Object(self.data.clone());
        Seen::Session { data, message_count: self.said.len() as u64, version: self.tag.1 }
    }

    fn keep(&mut self, act: &Act, seen: &Seen) {
        if let Some(key) = key_of(act) {
            self.kept.insert(key, (request(act), seen.clone(), self.tag));
        }
    }

    fn act(&mut self, act: &Act) -> Seen {
        match act {
            Act::Append(text, ..) => self.append(text),
            Act::Patch(patch, ..) => self.patch(patch),
            Act::History(after, size) => {
                Seen::Messages(self.said.iter().skip(*after as usize).take(*size as usize).cloned().collect())
            }
            _ => self.seen(),
        }
    }

    fn append(&mut self, text: &str) -> Seen {
        let name = self.data.get("name").and_then(Value::as_str).and_then(ClientName::new);
        let quote = |said: &(u64, String, String)| Quote::of(&said.1);
        let (first, previous) = (self.said.first().map(quote), self.said.last().map(quote));
        let earlier = first.as_ref().zip(previous.as_ref()).map(|(first, previous)| Earlier { first, previous });
        let number = self.said.len() as u64 + 1;
        let reply = conversation::reply(number, name.as_ref(), earlier);
        self.said.push((number, text.to_owned(), reply.clone()));
        self.tag.1 += 1;
        Seen::Appended { number, reply, version: self.tag.1 }
    }

    /// Patches of this test are flat.
    fn patch(&mut self, patch: &Value) -> Seen {
        for (member, value) in patch.as_object().into_iter().flatten() {
            match value {
                Value::Null => drop(self.data.remove(member)),
                value => drop(self.data.insert(member.clone(), value.clone())),
            }
        }
        self.tag.1 += 1;
        self.seen()
    }
}

/// The store under test, with what a client remembers of its sessions.
struct Client<'a> {
    subject: &'a Subject,
    sessions: [Access; SESSIONS],
    last_seen: HashMap<usize, SessionTag>,
}

impl Client<'_> {
    async fn act(&mut self, way: Way, who: Who, id: usize, act: &Act) -> Seen {
        let store = self.subject.instance(way.instance);
        let session = Access { routing: way.routing, ..self.sessions[id] };
        let access = match who {
            Who::Anybody => session,
            Who::Ada => as_subject(session, "ada"),
            Who::Bob => as_subject(session, "bob"),
        };
        match act {
            Act::Create(given, given_key) => {
                let given = data(&given.to_string());
                let keyed = given_key.map(|number| Keyed::create(key(number), &given));
                match store.create(access, given, keyed).await {
                    Ok(created) => again(created.done, self.see(id, created.value)),
                    Err(CreateError::Exists) => Seen::Refused(Refusal::Exists),
                    Err(CreateError::Deleted) => Seen::Refused(Refusal::Deleted),
                    Err(CreateError::KeyReused) => Seen::Refused(Refusal::KeyReused),
                    Err(CreateError::Store(fault)) => panic!("{fault:?}"),
                }
            }
            Act::Read => match store.read(access).await {
                Ok(read) => self.see(id, read.value),
                Err(ReadError::NotFound) => Seen::Refused(Refusal::NotFound),
                Err(ReadError::Store(fault)) => panic!("{fault:?}"),
            },
            Act::Patch(change, wanted, given_key) => {
                let change = patch(&change.to_string());
                let keyed = given_key.map(|number| Keyed::patch(key(number), &change));
                let expected = self.expected(id, *wanted);
                match store.patch(access, &change, &expected, keyed).await {
                    Ok(patched) => again(patched.done, self.see(id, patched.value)),
                    Err(PatchError::NotFound) => Seen::Refused(Refusal::NotFound),
                    Err(PatchError::Overtaken) => Seen::Refused(Refusal::Overtaken),
                    Err(PatchError::KeyReused) => Seen::Refused(Refusal::KeyReused),
                    Err(error) => panic!("{error:?}"),
                }
            }
            Act::Append(text, wanted, given_key) => {
                let new = message(text);
                let keyed = given_key.map(|number| Keyed::append(key(number), &new.text));
                match store.append_if(access, new, &self.expected(id, *wanted), keyed).await {
                    Ok(appended) => {
                        self.last_seen.insert(id, appended.value.tag().expect("kept by this version"));
                        let (message, version) = (appended.value.message, appended.value.version);
                        let seen = Seen::Appended { number: message.number, reply: message.reply, version };
                        again(appended.done, seen)
                    }
                    Err(AppendError::NotFound) => Seen::Refused(Refusal::NotFound),
                    Err(AppendError::Overtaken) => Seen::Refused(Refusal::Overtaken),
                    Err(AppendError::KeyReused) => Seen::Refused(Refusal::KeyReused),
                    Err(error) => panic!("{error:?}"),
                }
            }
            Act::History(after, size) => {
                let (after, size) = (Cursor::after(*after).expect("fits"), PageSize::parse(*size).expect("a size"));
                match store.history(access, after, size).await {
                    Ok(page) => seen_messages(page.value.messages),
                    Err(ReadError::NotFound) => Seen::Refused(Refusal::NotFound),
                    Err(ReadError::Store(fault)) => panic!("{fault:?}"),
                }
            }
            Act::Delete(wanted) => match store.delete_if(access, &self.expected(id, *wanted)).await {
                Ok(_) => Seen::Nothing,
                Err(DeleteError::NotFound) => Seen::Refused(Refusal::NotFound),
                Err(DeleteError::Overtaken) => Seen::Refused(Refusal::Overtaken),
                Err(DeleteError::Store(fault)) => panic!("{fault:?}"),
            },
            Act::Wait(seconds) => {
                self.subject.advance(Duration::from_secs(*seconds)).await;
                Seen::Nothing
            }
        }
    }

    fn expected(&self, id: usize, wanted: Wanted) -> Expected {
        let last_seen = || self.last_seen.get(&id).copied().into_iter().collect();
        match wanted {
            Wanted::Any => Expected::Any,
            Wanted::LastSeen => Expected::OneOf(last_seen()),
            Wanted::Another => Expected::NoneOf(last_seen()),
        }
    }

    fn see(&mut self, id: usize, session: Session) -> Seen {
        self.last_seen.insert(id, session.tag());
        let data = json_of(&session.client_data);
        Seen::Session { data, message_count: session.message_count, version: session.version }
    }
}

fn again(done: Done, seen: Seen) -> Seen {
    match done {
        Done::Now => seen,
        Done::Before => Seen::Again(Box::new(seen)),
    }
}

fn seen_messages(messages: Vec<Message>) -> Seen {
    Seen::Messages(messages.into_iter().map(|m| (m.number, m.text.into_string(), m.reply)).collect())
}

fn json_of(data: &ClientData) -> Value {
    serde_json::from_str(data.as_str()).expect("JSON")
}

fn acts() -> impl Strategy<Value = Vec<(Way, Who, usize, Act)>> {
    let member = || {
        prop_oneof![
            Just(Value::Null),
            Just(json!([])),
            any::<u64>().prop_map(Value::from),
            "[A-Zé:]{0,3}".prop_map(Value::from)
        ]
    };
    let object = move || {
        prop::collection::btree_map("name|[ab]", member(), 0..3).prop_map(|map| map.into_iter().collect::<Value>())
    };
    // Few different requests and keys, so that some come twice.
    let few_objects = move || prop_oneof![Just(json!({})), Just(json!({"name": "Ada"})), object()];
    let text = || prop_oneof!["[ab]", "[ -~é:\n]{1,100}"];
    let key = || prop::option::of(0..4_u64);
    let wanted = || prop_oneof![4 => Just(Wanted::Any), 4 => Just(Wanted::LastSeen), 1 => Just(Wanted::Another)];
    let act = prop_oneof![
        3 => (few_objects(), key()).prop_map(|(data, key)| Act::Create(data, key)),
        6 => Just(Act::Read),
        4 => (text(), wanted(), key()).prop_map(|(text, wanted, key)| Act::Append(text, wanted, key)),
        4 => (few_objects(), wanted(), key()).prop_map(|(patch, wanted, key)| Act::Patch(patch, wanted, key)),
        1 => wanted().prop_map(Act::Delete),
        2 => (0..6_u64, 1..4_u32).prop_map(|(after, size)| Act::History(after, size)),
        1 => (1..3_u64).prop_map(|hundreds| Act::Wait(hundreds * 100)),
    ];
    let who = prop_oneof![2 => Just(Who::Anybody), 5 => Just(Who::Ada), 1 => Just(Who::Bob)];
    let routing = prop_oneof![3 => Just(Routing::Sticky), 1 => Just(Routing::RoundRobin)];
    let way = (0..2_usize, routing).prop_map(|(instance, routing)| Way { instance, routing });
    prop::collection::vec((way, who, 0..SESSIONS, act), 1..60)
}

/// Plays random acts on a store and on the model, and compares what a client sees after each.
fn compare_with_model(cases: u32, subject: impl AsyncFnOnce() -> Subject) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let subject = runtime.block_on(subject());
    let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    let outcome = TestRunner::new(config).run(&acts(), |acts| {
        // New ids for each example: what the last one left behind is none of its business.
        let sessions = std::array::from_fn(|_| any_session());
        let mut client = Client { subject: &subject, sessions, last_seen: HashMap::new() };
        let mut model = Model::default();
        for (step, (way, who, id, act)) in acts.iter().enumerate() {
            let expected = model.act(*who, *id, act);
            let seen = runtime.block_on(client.act(*way, *who, *id, act));
            prop_assert_eq!(seen, expected, "step {}: {:?} {:?} on session {}: {:?}", step, way, who, id, act);
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

#[test]
fn two_hybrid_stores_on_one_redis_do_what_the_model_does() {
    compare_with_model(48, async || Subject::hybrids(2, LIFETIME).await);
}
