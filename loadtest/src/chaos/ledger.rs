//! What the clients did and what they were told: the facts that the checker judges. Nothing here talks to anybody.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::outcome::ErrorKind;

/// Time since the run began.
pub(crate) type Moment = Duration;

/// From the moment before the first byte was sent until the whole answer was there.
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

/// Numbers the sessions of a run in the order in which their creation was tried.
pub(crate) type SessionNumber = u32;
/// Numbers the clients of a run.
pub(crate) type ClientNumber = u32;

/// One message of the run, which tells whose it is. Its text follows from it, so that a changed text shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Message {
    pub(crate) session: SessionNumber,
    pub(crate) client: ClientNumber,
    /// Counts the client's messages, from 1.
    pub(crate) sequence: u32,
}

/// How much longer than their marks the texts are, at most, in bytes: chat lines of different lengths.
const PADDING: u32 = 160;

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { session, client, sequence } = self;
        write!(f, "s{session}.c{client}.m{sequence} ")?;
        let length = sequence.wrapping_mul(37).wrapping_add(*client) % PADDING;
        "tandem ".chars().cycle().take(length as usize).try_for_each(|letter| fmt::Write::write_char(f, letter))
    }
}

/// The text is not one of a run's.
#[derive(Debug)]
pub(crate) struct StrangeMessage;

impl FromStr for Message {
    type Err = StrangeMessage;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (marks, _) = text.split_once(' ').ok_or(StrangeMessage)?;
        let mut marks = marks.split('.');
        let mut number = |letter| marks.next()?.strip_prefix(letter)?.parse().ok();
        let read = Some((number('s'), number('c'), number('m')));
        let Some((Some(session), Some(client), Some(sequence))) = read else { return Err(StrangeMessage) };
        let message = Self { session, client, sequence };
        if message.to_string() == text { Ok(message) } else { Err(StrangeMessage) }
    }
}

/// What a client tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    Create,
    Append(Message),
    /// Sets the client's own member of the client data to this number, which grows with each of its patches, from 1.
    Patch(u32),
    Read,
    History,
    Delete,
    /// Sends a write of this name again, under its key, that was acknowledged already.
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
            Self::Repeat(write) => write,
        }
    }
}

/// How it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It was acknowledged, and this was told.
    Done(Seen),
    /// There is no such session: nothing was done.
    Absent,
    /// Certainly not done.
    Refused,
    /// It may have been done, and it may yet be done, or not.
    Unknown,
}

/// What an answer showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) view: View,
    pub(crate) trust: Trust,
    pub(crate) origin: Origin,
}

/// The part of the state that an answer shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum View {
    /// The answer to a message.
    Posted { version: u64, number: u64 },
    /// A whole session, with the number of the last patch of each client.
    Session { version: u64, messages: u64, patches: Patches },
    /// All messages, oldest first.
    History(Vec<Message>),
    /// The session is deleted.
    Deleted,
    /// The answer to a repeated write, beside the first.
    Repeated(Repetition),
}

/// How a repeated write is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Repetition {
    /// As the first was, byte for byte, and marked as a repetition.
    AsTheFirst,
    Otherwise,
}

/// The last patch of each client that has patched the session.
pub(crate) type Patches = BTreeMap<ClientNumber, u32>;

/// Whether the service vouches for what it showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trust {
    Verified,
    /// It said itself that it could not ask Redis whether its copy is the latest.
    Unverified,
}

/// Whose state an answer showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// That of the session which was asked for.
    Own,
    /// Something in it belongs to another session, or to none of the run.
    Foreign,
}

/// One act of one client. A write that was repeated under its idempotency key is one act, from its first try on.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) client: ClientNumber,
    pub(crate) session: SessionNumber,
    pub(crate) time: Interval,
    pub(crate) act: Act,
    pub(crate) outcome: Outcome,
}

/// Everything that one client, or all of them, did.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) entries: Vec<Entry>,
    /// Requests that were sent, repetitions included.
    pub(crate) requests: u64,
    /// Those that failed.
    pub(crate) errors: Vec<(Interval, ErrorKind)>,
    /// Writes of unknown outcome that became known by repeating them.
    pub(crate) unknown_resolved: u64,
    /// Answers from another instance than the session's home, which was over its load bound.
    pub(crate) spilled: u64,
}

impl Ledger {
    /// Adds what another client did.
    pub(crate) fn extend(&mut self, other: Self) {
        self.entries.extend(other.entries);
        self.requests += other.requests;
        self.errors.extend(other.errors);
        self.unknown_resolved += other.unknown_resolved;
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
        for strange in ["", "hello", &text[..text.len() - 1], &format!("{text}!"), &format!(" {text}"), "s1.c2.m3"] {
            assert!(strange.parse::<Message>().is_err(), "{strange:?}");
        }
    }
}
