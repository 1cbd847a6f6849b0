//! The right to keep a copy of a session in memory, which each operation on Redis may claim. See
//! `claim.lua`, and `docs/adr/0005-leases-make-memory-reads-linearizable.md` for the reasons.

use std::fmt;
use std::str::FromStr;

use redis::ParsingError;

/// Identifies a lease. An instance takes a new one at its start, and whenever it may have lost its
/// lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::store) struct LeaseId(u64);

impl LeaseId {
    /// A new id.
    pub(in crate::store) fn random() -> Self {
        Self(rand::random())
    }

    /// The lease's key in Redis, and the name of its channel. The braces place both on one node of
    /// a Cluster.
    pub(in crate::store) fn key(self) -> String {
        format!("lease:{{{self}}}")
    }
}

impl fmt::Display for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// Identifies one operation of one instance, and the copy that it may leave in the instance's
/// memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) struct Mark {
    pub(in crate::store) lease: LeaseId,
    /// The fencing ticket: drawn for each operation after the instance has dropped its earlier
    /// copy, in ascending order.
    pub(in crate::store) ticket: u64,
}

impl Mark {
    /// Parses the marks that `claim.lua` wrote, separated by spaces.
    pub(super) fn list(text: &str) -> Result<Vec<Self>, ParsingError> {
        let marks = text.split_ascii_whitespace().map(str::parse);
        marks.collect::<Result<_, UnknownMark>>().map_err(|error| error.to_string().into())
    }
}

impl FromStr for Mark {
    type Err = UnknownMark;

    fn from_str(text: &str) -> Result<Self, UnknownMark> {
        let (lease, ticket) = text.split_once(':').ok_or(UnknownMark)?;
        let lease = u64::from_str_radix(lease, 16).map_err(|_| UnknownMark)?;
        Ok(Self { lease: LeaseId(lease), ticket: ticket.parse().map_err(|_| UnknownMark)? })
    }
}

/// The text is not a mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a session's record has a malformed mark")]
pub(in crate::store) struct UnknownMark;

/// How an operation affects the right to keep a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) enum Claim {
    /// A read that leaves the right unchanged.
    Look,
    /// A read that takes the right.
    Take(Mark),
    /// A write. The sender keeps the right if it has it; otherwise no instance has it afterwards.
    Write(Option<Mark>),
    /// A write that takes the right.
    TakeAndWrite(Mark),
}

impl Claim {
    /// Whether the operation changes the session.
    pub(super) fn writes(self) -> bool {
        matches!(self, Self::Write(_) | Self::TakeAndWrite(_))
    }

    /// The last three arguments of a script.
    pub(super) fn fields(self) -> (&'static str, String, u64) {
        let (claim, mark) = match self {
            Self::Look => ("look", None),
            Self::Take(mark) => ("take", Some(mark)),
            Self::Write(mark) => ("write", mark),
            Self::TakeAndWrite(mark) => ("take+write", Some(mark)),
        };
        mark.map_or((claim, String::new(), 0), |mark| (claim, mark.lease.to_string(), mark.ticket))
    }
}

/// What a script returns besides the operation's result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) struct Stamp {
    /// Redis's time, in milliseconds since 1970.
    pub(in crate::store) now: i64,
    /// The sender may keep a copy of the result.
    pub(in crate::store) held: bool,
    /// The session has an owner. After a successful operation that is the caller.
    pub(in crate::store) is_owned: bool,
    /// The earliest time of issue of a valid token of the owner, in seconds since 1970.
    pub(in crate::store) not_before: i64,
}

impl Stamp {
    pub(super) fn on<T>(self, value: T) -> Stamped<T> {
        Stamped { value, stamp: self }
    }
}

/// An operation's result with its stamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) struct Stamped<T> {
    pub(in crate::store) value: T,
    pub(in crate::store) stamp: Stamp,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_round_trip() {
        let mark = Mark { lease: LeaseId(0xab), ticket: 12 };
        let (claim, lease, ticket) = Claim::Take(mark).fields();
        assert_eq!(claim, "take");
        assert_eq!(
            Mark::list(&format!("{lease}:{ticket} {lease}:7")).map(|marks| marks[0]).ok(),
            Some(mark)
        );
        assert_eq!(Mark::list("").ok(), Some(Vec::new()));
        for bad in ["x", "ab", "ab:", "ab:-1", "g:1"] {
            assert!(Mark::list(bad).is_err(), "{bad}");
        }
    }
}
