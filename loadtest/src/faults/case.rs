//! The cases of the table: faults of components, and what clients see.

use std::fmt;
use std::time::Duration;

use local_stack::Gateways;
use proto_contracts::ErrorCode;

/// A part of the system.
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
    /// The folder with the content of users' files, which all stateless instances share.
    Files,
}

impl Part {
    /// Its name in the local stack, if it is a process.
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
            Self::Files => "files",
        }
    }

    /// Its name in the table.
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
            Self::Files => "storage of files",
        }
    }
}

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// SIGKILL, without a restart.
    Killed,
    /// SIGSTOP: the kernel accepts connections, but nothing responds.
    Hung,
    /// Paused for 450 ms of every 500 ms.
    Slow,
    /// Redis is at its memory limit, or the disk is full.
    Full,
    /// A folder can neither be read nor written.
    Unusable,
}

impl Fault {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Killed => "killed",
            Self::Hung => "hung",
            Self::Slow => "slow",
            Self::Full => "full",
            Self::Unusable => "unusable",
        }
    }
}

/// A kind of request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// A GET that needs no database.
    Stateless,
    /// A GET of products that are not cached.
    Products,
    /// A GET of a session.
    Read,
    /// A POST of a message with an `Idempotency-Key`.
    Keyed,
    /// A POST of a message without one.
    Unkeyed,
    /// A reservation of a product with an `Idempotency-Key`.
    Reserve,
    /// An upload of a file with an `Idempotency-Key`.
    Upload,
    /// A GET of a file's content.
    Download,
}

impl Request {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Stateless,
        Self::Products,
        Self::Read,
        Self::Keyed,
        Self::Unkeyed,
        Self::Reserve,
        Self::Upload,
        Self::Download,
    ];

    /// Its name in the table.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Stateless => "stateless GET",
            Self::Products => "GET of products",
            Self::Read => "GET of a session",
            Self::Keyed => "write with a key",
            Self::Unkeyed => "write without a key",
            Self::Reserve => "reservation with a key",
            Self::Upload => "upload with a key",
            Self::Download => "download",
        }
    }
}

/// The outcome of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A success.
    Served,
    /// A problem document with this code.
    Problem(ErrorCode),
    /// Another status, without a problem document.
    Status(u16),
    /// The connection is refused or not established.
    NoConnection,
    /// The connection closes before the response is complete.
    Broken,
    /// No response within the 20 s of the test client's timeout.
    NoResponse,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Served => f.write_str("served"),
            Self::Problem(code) => write!(f, "{} `{code}`", code.status()),
            Self::Status(status) => write!(f, "{status}"),
            Self::NoConnection => f.write_str("no connection"),
            Self::Broken => f.write_str("connection closed"),
            Self::NoResponse => f.write_str("no response"),
        }
    }
}

/// The allowed outcomes, and their time.
#[derive(Clone, Copy, Debug)]
pub struct Expected {
    /// Any of these, and nothing else.
    pub outcomes: &'static [Outcome],
    /// The time, as text. It is reported, but not checked.
    pub after: &'static str,
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let outcomes: Vec<String> = self.outcomes.iter().map(Outcome::to_string).collect();
        write!(f, "{}, {}", outcomes.join(" or "), self.after)
    }
}

/// What clients see of some kinds of requests in a case.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// The kinds.
    pub requests: &'static [Request],
    /// Right after the fault begins.
    pub at_first: Expected,
    /// Once the system has detected it.
    pub then: Expected,
    /// Whether the client may repeat a failed request.
    pub repeat: &'static str,
}

/// A fault of a part.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// The part.
    pub part: Part,
    /// The fault.
    pub fault: Fault,
    /// Time until the system has detected it.
    pub detected_after: Duration,
    /// What clients see.
    pub rows: &'static [Row],
}

impl Case {
    /// For example `redis-sessions-hung`, or `gateway-2-killed` with two gateways.
    pub(super) fn name(&self) -> String {
        format!("{}-{}", self.part.component(), self.fault.name())
    }

    pub(super) fn needs(&self) -> Gateways {
        if self.part == Part::OneOfTwoGateways { Gateways::Two } else { Gateways::One }
    }

    /// Whether it needs a file system of its own, which only root may mount.
    pub(super) fn needs_disk(&self) -> bool {
        self.part == Part::Files && self.fault == Fault::Full
    }

    pub(super) fn row(&self, request: Request) -> Option<&Row> {
        self.rows.iter().find(|row| row.requests.contains(&request))
    }
}
