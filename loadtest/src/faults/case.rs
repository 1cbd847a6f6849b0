//! The cases of the table: faults of components, and what clients see.

use std::fmt;
use std::time::Duration;

use local_stack::Gateways;
use proto_contracts::ErrorCode;

/// A part that a system depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// One of two stateful instances: the home of the sessions in the requests.
    StatefulInstance,
    /// One of two stateless instances.
    StatelessInstance,
    /// The only gateway.
    OnlyGateway,
    /// A gateway of two behind Nginx.
    OneOfTwoGateways,
    /// The only Nginx.
    Nginx,
    /// The Redis that holds the sessions, without replicas.
    RedisSessions,
    /// The Redis that holds the cache.
    RedisCache,
    /// The only PostgreSQL.
    Postgres,
}

impl Part {
    /// What the local stack calls it.
    pub(super) const fn component(self) -> &'static str {
        match self {
            Self::StatefulInstance => "stateful-1",
            Self::StatelessInstance => "stateless-1",
            Self::OnlyGateway => "gateway",
            Self::OneOfTwoGateways => "gateway-2",
            Self::Nginx => "nginx",
            Self::RedisSessions => "redis-sessions",
            Self::RedisCache => "redis-cache",
            Self::Postgres => "postgres",
        }
    }

    /// What the table calls it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::StatefulInstance => "stateful instance",
            Self::StatelessInstance => "stateless instance",
            Self::OnlyGateway => "the only gateway",
            Self::OneOfTwoGateways => "one of two gateways",
            Self::Nginx => "Nginx",
            Self::RedisSessions => "Redis, sessions",
            Self::RedisCache => "Redis, cache",
            Self::Postgres => "PostgreSQL",
        }
    }
}

/// What is done to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// SIGKILL, and it is not started again.
    Killed,
    /// SIGSTOP: it takes connections and does nothing.
    Hung,
    /// It is paused for nine tenths of the time, for 450 ms at a time.
    Slow,
    /// It has no memory left for more data.
    Full,
}

impl Fault {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Killed => "killed",
            Self::Hung => "hung",
            Self::Slow => "slow",
            Self::Full => "full",
        }
    }
}

/// A kind of request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// A GET that needs no database.
    Stateless,
    /// A GET of products that no cache has.
    Products,
    /// A GET of a session.
    Read,
    /// A POST of a message with an `Idempotency-Key`.
    Keyed,
    /// The same without.
    Unkeyed,
}

impl Request {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Stateless, Self::Products, Self::Read, Self::Keyed, Self::Unkeyed];

    /// What the table calls it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Stateless => "stateless GET",
            Self::Products => "GET of products",
            Self::Read => "GET of a session",
            Self::Keyed => "write with a key",
            Self::Unkeyed => "write without a key",
        }
    }
}

/// What comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A success.
    Served,
    /// A problem document of this code.
    Problem(ErrorCode),
    /// Another status, without one.
    Status(u16),
    /// The connection is refused, or not completed.
    NoConnection,
    /// The connection ends without a response.
    Broken,
    /// Nothing within the 20 s that the test's client waits.
    NoResponse,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Served => f.write_str("served"),
            Self::Problem(code) => write!(f, "{} `{code}`", code.status()),
            Self::Status(status) => write!(f, "{status}"),
            Self::NoConnection => f.write_str("no connection"),
            Self::Broken => f.write_str("the connection breaks"),
            Self::NoResponse => f.write_str("no response"),
        }
    }
}

/// What may come back, and within which time.
#[derive(Clone, Copy, Debug)]
pub struct Sees {
    /// Any of these, and nothing else.
    pub outcomes: &'static [Outcome],
    /// In words. It is measured and not judged.
    pub after: &'static str,
}

impl fmt::Display for Sees {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let outcomes: Vec<String> = self.outcomes.iter().map(Outcome::to_string).collect();
        write!(f, "{}, {}", outcomes.join(" or "), self.after)
    }
}

/// What some kinds of requests meet in a case.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Which.
    pub requests: &'static [Request],
    /// When the fault has just begun.
    pub at_first: Sees,
    /// Once the system knows of it.
    pub then: Sees,
    /// Whether the client may repeat what failed.
    pub repeat: &'static str,
}

/// A fault of a part.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// To what it is done.
    pub part: Part,
    /// What is done.
    pub fault: Fault,
    /// After which time the system knows of it.
    pub known_after: Duration,
    /// What comes of it.
    pub rows: &'static [Row],
}

impl Case {
    /// Such as `redis-sessions-hung`; of the two gateways, `gateway-2-killed`.
    pub(super) fn name(&self) -> String {
        format!("{}-{}", self.part.component(), self.fault.name())
    }

    pub(super) fn needs(&self) -> Gateways {
        if self.part == Part::OneOfTwoGateways { Gateways::Two } else { Gateways::One }
    }

    pub(super) fn sees(&self, request: Request) -> Option<&Row> {
        self.rows.iter().find(|row| row.requests.contains(&request))
    }
}
