//! Who may keep a copy of a session in memory: what an act on Redis says of its sender. See `claim.lua`, and
//! `docs/adr/0005-leases-make-memory-reads-linearizable.md` for why.

use std::fmt;
use std::str::FromStr;

use redis::ParsingError;

/// Names a lease. An instance takes a new one when it starts, and whenever it may have lost the one that it had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::store) struct LeaseId(u64);

impl LeaseId {
    /// A name that no lease has had.
    pub(in crate::store) fn random() -> Self {
        Self(rand::random())
    }

    /// The lease's key in Redis, and the name of its channel. The braces make both belong to one node of a Cluster.
    pub(in crate::store) fn key(self) -> String {
        format!("lease:{{{self}}}")
    }
}

impl fmt::Display for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// Names one act of one instance, and with it the copy that the act may leave in the instance's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) struct Mark {
    pub(in crate::store) lease: LeaseId,
    /// Drawn for each act, after the instance has dropped what it had of the session; later acts draw greater ones.
    pub(in crate::store) ticket: u64,
}

impl Mark {
    /// Reads what `claim.lua` wrote: marks with blanks between them.
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
#[error("a session's record names a copy in an unknown form")]
pub(in crate::store) struct UnknownMark;

/// What an act does to the right to keep a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) enum Claim {
    /// Reads, and leaves it where it is.
    Look,
    /// Reads, and takes it.
    Take(Mark),
    /// Writes. Only a sender that has it already keeps it; else nobody has it then.
    Write(Option<Mark>),
    /// Writes, and takes it.
    TakeAndWrite(Mark),
}

impl Claim {
    /// Whether the act changes the session.
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

/// What Redis said of an act beside its outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) struct Stamp {
    /// Redis's time, in milliseconds since 1970.
    pub(in crate::store) now: i64,
    /// The sender may keep a copy of what the act left.
    pub(in crate::store) held: bool,
    /// The session belongs to somebody, who can only be the caller if the act was done.
    pub(in crate::store) is_owned: bool,
}

impl Stamp {
    pub(super) fn on<T>(self, value: T) -> Stamped<T> {
        Stamped { value, stamp: self }
    }
}

/// The outcome of an act, and what Redis said beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) struct Stamped<T> {
    pub(in crate::store) value: T,
    pub(in crate::store) stamp: Stamp,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_read_back() {
        let mark = Mark { lease: LeaseId(0xab), ticket: 12 };
        let (claim, lease, ticket) = Claim::Take(mark).fields();
        assert_eq!(claim, "take");
        assert_eq!(Mark::list(&format!("{lease}:{ticket} {lease}:7")).map(|marks| marks[0]).ok(), Some(mark));
        assert_eq!(Mark::list("").ok(), Some(Vec::new()));
        for bad in ["x", "ab", "ab:", "ab:-1", "g:1"] {
            assert!(Mark::list(bad).is_err(), "{bad}");
        }
    }
}
