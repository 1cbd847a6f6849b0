//! What the clients sent and received: the checker's input. No I/O here.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use proto_contracts::SessionDigest;

use crate::chaos::failed::{Ending, Sent};
use crate::outcome::ErrorKind;

/// Time since the run began.
pub(crate) type Moment = Duration;

/// From just before the first byte was sent until the whole response was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Interval {
    pub(crate) begin: Moment,
    pub(crate) end: Moment,
}

impl Interval {
    pub(crate) fn overlaps(self, other: Self) -> bool {
        self.begin <= other.end && other.begin <= self.end
    }
}

/// Numbers the sessions of a run in the order of their creates, successful or not.
pub(crate) type SessionNumber = u32;
/// Numbers the clients of a run.
pub(crate) type ClientNumber = u32;

/// Numbers the users who claim sessions.
pub(crate) type UserNumber = u32;

/// By which of its ids an act used a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum IdUsed {
    /// The one from its create.
    Original,
    /// The one from its claim.
    Claimed,
}

/// One message of the run. Its text is derived from session, client and sequence, so that a changed
/// text is detected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Message {
    pub(crate) session: SessionNumber,
    pub(crate) client: ClientNumber,
    /// Counts the client's messages, from 1.
    pub(crate) sequence: u32,
}

/// Most bytes of padding after the numbers, so that lengths vary like those of chat messages.
const PADDING: u32 = 160;

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { session, client, sequence } = self;
        write!(f, "s{session}.c{client}.m{sequence} ")?;
        let length = sequence.wrapping_mul(37).wrapping_add(*client) % PADDING;
        "tandem "
            .chars()
            .cycle()
            .take(length as usize)
            .try_for_each(|letter| fmt::Write::write_char(f, letter))
    }
}

/// The text is not a message of a run.
#[derive(Debug)]
pub(crate) struct InvalidMessage;

impl FromStr for Message {
    type Err = InvalidMessage;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (marks, _) = text.split_once(' ').ok_or(InvalidMessage)?;
        let mut marks = marks.split('.');
        let mut number = |letter| marks.next()?.strip_prefix(letter)?.parse().ok();
        let read = Some((number('s'), number('c'), number('m')));
        let Some((Some(session), Some(client), Some(sequence))) = read else {
            return Err(InvalidMessage);
        };
        let message = Self { session, client, sequence };
        if message.to_string() == text { Ok(message) } else { Err(InvalidMessage) }
    }
}

/// An operation on a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    Create,
    Append(Message),
    /// Sets the client's member of the client data to this number, which counts its patches
    /// from 1.
    Patch(u32),
    Read,
    History,
    Delete,
    /// Gives the session to this user, under a new id.
    Claim(UserNumber),
    /// Repeats an acknowledged write of this name under its key.
    Repeat(&'static str),
}

impl Act {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Append(_) => "message",
            Self::Patch(_) => "patch",
            Self::Read => "read",
            Self::History => "history",
            Self::Delete => "delete",
            Self::Claim(_) => "claim",
            Self::Repeat(write) => write,
        }
    }
}

/// How it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Acknowledged, with what the response showed.
    Done(Seen),
    /// There is no such session; nothing was executed.
    Absent,
    /// Certainly not executed.
    Refused,
    /// It may have been executed, may be executed later, or never.
    Unknown,
}

/// What a response showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) view: View,
    pub(crate) trust: Trust,
    pub(crate) origin: Origin,
}

/// The part of the state that a response shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum View {
    /// The response to a message.
    Posted { version: u64, number: u64 },
    /// A whole session, with the number of the last patch of each client.
    Session { version: u64, messages: u64, patches: Patches },
    /// All messages, oldest first.
    History(Vec<Message>),
    /// The session is deleted.
    Deleted,
    /// The session has a new id.
    Claimed { new: SessionDigest, kind: NewId },
    /// How the response to a repeated write compares with the first response.
    Repeated(Repetition),
}

/// How the id from a claim compares with the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NewId {
    /// Another id with the same affinity key.
    SameAffinityKey,
    OtherAffinityKey,
    /// The id did not change.
    Unchanged,
}

/// The response to a repeated write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Repetition {
    /// Byte for byte the first response, and marked as replayed.
    Same,
    Different,
}

/// The last patch of each client that has patched the session.
pub(crate) type Patches = BTreeMap<ClientNumber, u32>;

/// Whether the service marked the response as current.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trust {
    Verified,
    /// Marked `unverified`: the instance could not check with Redis that its copy is current.
    Unverified,
}

/// Which session's state a response showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The session in the request.
    Own,
    /// At least partly another session, or none of this run.
    Foreign,
}

/// One act of one client. A write and its retries under one idempotency key are one act, which
/// begins with the first attempt.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) client: ClientNumber,
    pub(crate) session: SessionNumber,
    pub(crate) id: IdUsed,
    pub(crate) time: Interval,
    pub(crate) act: Act,
    pub(crate) outcome: Outcome,
}

/// A request that failed.
#[derive(Clone, Debug)]
pub(crate) struct FailedRequest {
    pub(crate) time: Interval,
    pub(crate) kind: ErrorKind,
    pub(crate) request: Sent,
    pub(crate) end: Ending,
}

/// Everything that one client, or all of them, did.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) entries: Vec<Entry>,
    /// Requests that were sent, repetitions included.
    pub(crate) requests: u64,
    /// Those that failed.
    pub(crate) errors: Vec<FailedRequest>,
    /// Writes of unknown outcome that became known by repeating them.
    pub(crate) unknown_resolved: u64,
    /// Claims of unknown outcome after their first attempt.
    pub(crate) claims_unknown: u64,
    /// Responses from another instance, since the session's home was over its load bound.
    pub(crate) spilled: u64,
}

impl Ledger {
    /// Adds what another client did.
    pub(crate) fn extend(&mut self, other: Self) {
        self.entries.extend(other.entries);
        self.requests += other.requests;
        self.errors.extend(other.errors);
        self.unknown_resolved += other.unknown_resolved;
        self.claims_unknown += other.claims_unknown;
        self.spilled += other.spilled;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_reads_back_from_its_text_and_from_no_other() {
        let message = Message { session: 7, client: 12, sequence: 345 };
        let text = message.to_string();
        assert_eq!(text.parse::<Message>().ok(), Some(message));
        for strange in [
            "",
            "hello",
            &text[..text.len() - 1],
            &format!("{text}!"),
            &format!(" {text}"),
            "s1.c2.m3",
        ] {
            assert!(strange.parse::<Message>().is_err(), "{strange:?}");
        }
    }
}
