//! Conversions between the domain's types and the arguments and results of scripts.

use std::fmt::Write as _;

use jiff::Timestamp;
use proto_contracts::SessionDigest;
use redis::ScriptInvocation;

use super::entry;
use crate::domain::caller::{Caller, Credentials, IssuedAt};
use crate::domain::client_data::ClientData;
use crate::domain::conversation::{self, Quote};
use crate::domain::digest::ShortDigest;
use crate::domain::keyed::Keyed;
use crate::domain::message::Message;
use crate::domain::session::Session;
use crate::domain::session_tag::Expected;
use crate::domain::tickets::TicketUse;
use crate::store::StoreFault;

/// `created, active, count, version, revision, nonce, data, expires`, as `read.lua` returns them.
pub(super) type Record = (i64, i64, u64, u64, u64, String, String, i64);
/// `created, active, count, version, expires, nonce, data`, as `read.lua` returns them for a
/// repeated patch.
pub(super) type RepeatedPatch = (i64, i64, u64, u64, i64, String, String);
/// `created, active, count, version, expires`, as `patch.lua` returns them.
pub(super) type Patched = (i64, i64, u64, u64, i64);
/// `now, number, version, name, first, previous`, as `append.lua` returns them.
pub(super) type Appended = (i64, u64, u64, String, Option<String>, Option<String>);
/// `number, version, nonce, first, entries, own`, as `append.lua` returns them for a repetition.
pub(super) type RepeatedAppend = (u64, u64, String, String, Vec<String>, bool);
/// `created, expires`, as `create.lua` returns them.
pub(super) type Created = (i64, i64);
/// `created, expires, nonce`, as `create.lua` returns them for a repetition.
pub(super) type RepeatedCreate = (i64, i64, String);

pub(super) fn session(fields: RepeatedPatch) -> Result<Session, StoreFault> {
    let (created, active, message_count, version, expires, nonce, data) = fields;
    Ok(Session {
        client_data: ClientData::restore(data).map_err(damaged)?,
        created_at: time(created)?,
        last_activity: time(active)?,
        expires_at: time(expires)?,
        message_count,
        version,
        nonce: nonce.parse().map_err(damaged)?,
    })
}

/// The messages after the `after`-th, with their replies; the entries start with the `after`-th
/// itself.
pub(super) fn replay(
    first: Option<String>,
    entries: Vec<String>,
    skipped: u64,
) -> Result<Vec<Message>, StoreFault> {
    let page: Result<Vec<_>, _> = entries.into_iter().map(entry::parse).collect();
    let mut page = page.map_err(damaged)?.into_iter();
    let previous = if skipped == 0 { None } else { page.next() };
    let previous = previous.map(|before| Quote::of(before.text.as_str()));
    let first = first.map_or(Quote::of(""), |first| Quote::of(&first));
    Ok(conversation::replay(&first, previous, skipped + 1, page))
}

/// The key of the session's record, and the name of the channel of its changes.
pub(super) fn record_key(session: SessionDigest) -> String {
    format!("session:{{{session}}}:meta")
}

/// The key that exists while a ticket is in use.
pub(super) fn ticket_key(ticket: TicketUse) -> String {
    let TicketUse { session, id } = ticket;
    format!("session:{{{session}}}:ticket:{id}")
}

/// The session of a record's key.
pub(super) fn session_of_record(key: &[u8]) -> Option<SessionDigest> {
    SessionDigest::parse_bytes(key.strip_prefix(b"session:{")?.strip_suffix(b"}:meta")?)
}

/// The key of the session's message list. The braces place it on the record's node of a Cluster.
pub(super) fn messages_key(session: SessionDigest) -> String {
    format!("session:{{{session}}}:messages")
}

/// The key of the index of an owner's sessions.
pub(super) fn owned_key(owner: ShortDigest) -> String {
    format!("owned:{{{owner}}}")
}

/// The key of an owner's `not_before`, on the node of its index.
pub(super) fn not_before_key(owner: ShortDigest) -> String {
    format!("not_before:{{{owner}}}")
}

/// The key of a reserved session id.
pub(super) fn reservation_key(name: ShortDigest) -> String {
    format!("reserved:{{{name}}}")
}

/// Adds key and fingerprint, or two empty arguments.
pub(super) fn add_key(call: &mut ScriptInvocation<'_>, keyed: Option<Keyed>) {
    match keyed {
        Some(Keyed { key, fingerprint }) => call.arg(key.to_string()).arg(fingerprint.to_string()),
        None => call.arg("").arg(""),
    };
}

/// A precondition on the session's tag, as `allows` in `session.lua` parses it.
pub(super) fn condition_field(expected: &Expected) -> String {
    let (sign, tags) = match expected {
        Expected::Any => return String::new(),
        Expected::OneOf(tags) => ('=', tags),
        Expected::NoneOf(tags) => ('!', tags),
    };
    let mut field = format!("{sign} ");
    for tag in tags {
        let _infallible = write!(field, "{tag} ");
    }
    field
}

pub(super) fn caller_field(credentials: Credentials) -> String {
    let Credentials { caller, issued_at } = credentials;
    match caller {
        Caller::Anonymous => String::new(),
        Caller::Subject(subject) if issued_at == IssuedAt::NEVER_REVOKED => subject.to_string(),
        // Never negative: before 1970 no token was issued.
        Caller::Subject(subject) => format!("{subject}@{}", issued_at.seconds().max(0)),
    }
}

/// The name in the record; empty for none, as Lua's nil cannot be stored.
pub(super) fn name_field(client_data: &ClientData) -> String {
    client_data.name().map(|name| name.as_str().to_owned()).unwrap_or_default()
}

pub(super) fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

pub(super) fn time(millis: i64) -> Result<Timestamp, StoreFault> {
    Timestamp::from_millisecond(millis).map_err(damaged)
}

pub(super) fn damaged(cause: impl std::error::Error + Send + Sync + 'static) -> StoreFault {
    StoreFault::Damaged(cause.into())
}
