//! The reference model: sessions in a map, without concurrency.

use std::collections::HashMap;

use serde_json::{Map, Value};
use stateful_svc::domain::conversation;
use stateful_svc::domain::conversation::{ClientName, Earlier, Quote};

use super::{Act, LIFETIME, Refusal, Seen, Wanted, Who};

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
    said: Vec<(u64, String, String)>,
    kept: HashMap<u64, (String, Seen, ModelTag)>,
}

fn may_use(who: Who, owner: Who) -> bool {
    owner == Who::Anybody || owner == who
}

impl Model {
    pub(super) fn act(&mut self, who: Who, id: usize, act: &Act) -> Seen {
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

/// The part of a request that repetitions share.
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

    /// Patches in this test are flat.
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
