//! The reference model: sessions in a map, without concurrency.

use std::collections::HashMap;

use serde_json::{Map, Value};
use stateful_svc::domain::conversation;
use stateful_svc::domain::conversation::{ClientName, Earlier, Quote};

use super::{LIFETIME, Observed, Operation, Precondition, Rejection, Who};

#[derive(Default)]
pub(super) struct Model {
    now: u64,
    sessions: HashMap<usize, ModelSession>,
    deleted: HashMap<usize, (Who, u64)>,
    created: u64,
    last_seen: HashMap<usize, ModelTag>,
}

/// The number of the create, and the version.
type ModelTag = (u64, u64);

struct ModelSession {
    owner: Who,
    created: u64,
    used: u64,
    data: Map<String, Value>,
    tag: ModelTag,
    messages: Vec<(u64, String, String)>,
    kept: HashMap<u64, (String, Observed, ModelTag)>,
}

fn may_use(who: Who, owner: Who) -> bool {
    owner == Who::Anonymous || owner == who
}

impl Model {
    pub(super) fn apply(&mut self, who: Who, id: usize, operation: &Operation) -> Observed {
        let now = self.now;
        let (idle, absolute) = (LIFETIME.idle.as_secs(), LIFETIME.absolute.as_secs());
        self.sessions.retain(|_, s| now < s.used + idle && now < s.created + absolute);
        self.deleted.retain(|_, (_, at)| now < *at + absolute);
        match operation {
            Operation::Wait(seconds) => {
                self.now += seconds;
                return Observed::Nothing;
            }
            Operation::Create(data, key) if !self.sessions.contains_key(&id) => {
                return self.create(who, id, data, *key);
            }
            Operation::Delete(precondition) => return self.delete(who, id, *precondition),
            _ => {}
        }
        let is_create = matches!(operation, Operation::Create(..));
        let session = match self.sessions.get_mut(&id) {
            Some(session) if may_use(who, session.owner) => session,
            _ if is_create => return Observed::Rejected(Rejection::Exists),
            _ => return Observed::Rejected(Rejection::NotFound),
        };
        session.used = now;
        let request = request(operation);
        let before = session.kept.get(&key_of(operation).unwrap_or(u64::MAX));
        let (seen, tag) = match before {
            Some((other, ..)) if *other != request => {
                return Observed::Rejected(Rejection::KeyReused);
            }
            Some((_, seen, tag)) => (Observed::Again(Box::new(seen.clone())), *tag),
            None if is_create => return Observed::Rejected(Rejection::Exists),
            None => {
                let expected = self.last_seen.get(&id).is_some_and(|seen| *seen == session.tag);
                if !precondition_of(operation).allows(expected) {
                    return Observed::Rejected(Rejection::PreconditionFailed);
                }
                let seen = session.apply(operation);
                session.keep(operation, &seen);
                (seen, session.tag)
            }
        };
        if matches!(
            operation,
            Operation::Create(..) | Operation::Read | Operation::Append(..) | Operation::Patch(..)
        ) {
            self.last_seen.insert(id, tag);
        }
        seen
    }

    fn create(&mut self, who: Who, id: usize, data: &Value, key: Option<u64>) -> Observed {
        if self.deleted.contains_key(&id) {
            return Observed::Rejected(Rejection::Deleted);
        }
        self.created += 1;
        let (created, used, tag) = (self.now, self.now, (self.created, 1));
        let data = data.as_object().cloned().unwrap_or_default();
        let (messages, kept) = (Vec::new(), HashMap::new());
        let mut session =
            ModelSession { owner: who, created, used, data: data.clone(), tag, messages, kept };
        let seen = session.seen();
        session.keep(&Operation::Create(Value::Object(data), key), &seen);
        self.sessions.insert(id, session);
        self.last_seen.insert(id, tag);
        seen
    }

    fn delete(&mut self, who: Who, id: usize, precondition: Precondition) -> Observed {
        let last_seen = self.last_seen.get(&id);
        if let Some(session) = self.sessions.get_mut(&id)
            && may_use(who, session.owner)
            && !precondition.allows(last_seen == Some(&session.tag))
        {
            session.used = self.now;
            return Observed::Rejected(Rejection::PreconditionFailed);
        }
        let owner = self
            .sessions
            .get(&id)
            .map(|s| s.owner)
            .or(self.deleted.get(&id).map(|(owner, _)| *owner));
        match owner {
            Some(owner) if may_use(who, owner) => {
                if self.sessions.remove(&id).is_some() {
                    self.deleted.insert(id, (owner, self.now));
                }
                Observed::Nothing
            }
            _ => Observed::Rejected(Rejection::NotFound),
        }
    }
}

fn key_of(operation: &Operation) -> Option<u64> {
    match operation {
        Operation::Create(_, key) | Operation::Append(_, _, key) | Operation::Patch(_, _, key) => {
            *key
        }
        _ => None,
    }
}

fn precondition_of(operation: &Operation) -> Precondition {
    match operation {
        Operation::Append(_, precondition, _)
        | Operation::Patch(_, precondition, _)
        | Operation::Delete(precondition) => *precondition,
        _ => Precondition::Any,
    }
}

/// The part of a request that repetitions share.
fn request(operation: &Operation) -> String {
    match operation {
        Operation::Create(data, _) => format!("create {data}"),
        Operation::Append(text, ..) => format!("append {text}"),
        Operation::Patch(patch, ..) => format!("patch {patch}"),
        _ => String::new(),
    }
}

impl ModelSession {
    fn seen(&self) -> Observed {
        let data = Value::Object(self.data.clone());
        Observed::Session { data, message_count: self.messages.len() as u64, version: self.tag.1 }
    }

    fn keep(&mut self, operation: &Operation, seen: &Observed) {
        if let Some(key) = key_of(operation) {
            self.kept.insert(key, (request(operation), seen.clone(), self.tag));
        }
    }

    fn apply(&mut self, operation: &Operation) -> Observed {
        match operation {
            Operation::Append(text, ..) => self.append(text),
            Operation::Patch(patch, ..) => self.patch(patch),
            Operation::History(after, size) => Observed::Messages(
                self.messages.iter().skip(*after as usize).take(*size as usize).cloned().collect(),
            ),
            _ => self.seen(),
        }
    }

    fn append(&mut self, text: &str) -> Observed {
        let name = self.data.get("name").and_then(Value::as_str).and_then(ClientName::new);
        let quote = |message: &(u64, String, String)| Quote::of(&message.1);
        let (first, previous) = (self.messages.first().map(quote), self.messages.last().map(quote));
        let earlier = first
            .as_ref()
            .zip(previous.as_ref())
            .map(|(first, previous)| Earlier { first, previous });
        let number = self.messages.len() as u64 + 1;
        let reply = conversation::reply(number, name.as_ref(), earlier);
        self.messages.push((number, text.to_owned(), reply.clone()));
        self.tag.1 += 1;
        Observed::Appended { number, reply, version: self.tag.1 }
    }

    /// Patches in this test are flat.
    fn patch(&mut self, patch: &Value) -> Observed {
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
