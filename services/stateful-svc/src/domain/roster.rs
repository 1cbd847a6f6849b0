//! The people of a class whom this instance has served.

use std::time::Duration;

use jiff::Timestamp;
use moka::sync::Cache;
use proto_contracts::{AffinityKey, SessionDigest};

use super::client_data::ClientData;
use super::nickname::Nickname;

/// A bounded map from digests to people. Each entry expires by itself, since a session may end
/// through another instance.
#[derive(Clone, Debug)]
pub struct Roster {
    people: Cache<SessionDigest, Person>,
    /// Sessions without a nickname, so that each is read once only.
    others: Cache<SessionDigest, ()>,
}

/// A session of the class, as this instance last served it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    pub nickname: Nickname,
    pub key: AffinityKey,
    pub message_count: u64,
    /// From where the state came.
    pub source: &'static str,
    pub served_at: Timestamp,
}

impl Roster {
    /// The most people: more than a lecture hall holds.
    pub const CAPACITY: u64 = 2_000;
    /// How long a person is shown after the last request.
    const IDLE: Duration = Duration::from_mins(10);
    const OTHERS: u64 = 20_000;

    /// Records that the session was served with this state.
    pub fn served(
        &self,
        session: SessionDigest,
        key: AffinityKey,
        data: &ClientData,
        message_count: u64,
        source: &'static str,
    ) {
        let Some(nickname) = data.nickname() else {
            self.people.invalidate(&session);
            self.others.insert(session, ());
            return;
        };
        let served_at = Timestamp::now();
        self.people.insert(session, Person { nickname, key, message_count, source, served_at });
    }

    /// Records a message; `false` when the session is not known, so that it must be read.
    pub fn appended(
        &self,
        session: SessionDigest,
        message_count: u64,
        source: &'static str,
    ) -> bool {
        let Some(person) = self.people.get(&session) else {
            return self.others.get(&session).is_some();
        };
        // A repetition has the number of the first request's message.
        let message_count = message_count.max(person.message_count);
        let served_at = Timestamp::now();
        self.people.insert(session, Person { message_count, source, served_at, ..person });
        true
    }

    /// Removes a session that has ended.
    pub fn ended(&self, session: SessionDigest) {
        self.people.invalidate(&session);
    }

    /// A person by the session's digest.
    pub fn get(&self, session: SessionDigest) -> Option<Person> {
        self.people.get(&session)
    }

    /// Everybody, in no order.
    pub fn people(&self) -> Vec<(SessionDigest, Person)> {
        self.people.iter().map(|(digest, person)| (*digest, person)).collect()
    }
}

impl Default for Roster {
    fn default() -> Self {
        let people = Cache::builder().max_capacity(Self::CAPACITY).time_to_live(Self::IDLE);
        let others = Cache::builder().max_capacity(Self::OTHERS).time_to_live(Self::IDLE);
        Self { people: people.build(), others: others.build() }
    }
}
