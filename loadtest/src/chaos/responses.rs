//! Parses the session state that a response shows. `None` means that it cannot be parsed.

use http::HeaderName;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, LOCATION};
use proto_contracts::SessionId;
use proto_contracts::headers::{AFFINITY_KEY, IDEMPOTENCY_REPLAYED, SESSION_SOURCE};
use proto_contracts::stateful::{ClaimedSession, ClientData, HistoryPage, MessagePosted, Session};
use serde_json::{Value, json};

use crate::chaos::ledger::{
    ClientNumber, Message, NewId, Origin, Patches, Repetition, Seen, SessionNumber, Trust, View,
};
use crate::client::Response;

/// Member of the client data that names the session.
const OWNER: &str = "owner";
/// Placeholder for a message that this run did not send.
const NOT_OURS: Message =
    Message { session: SessionNumber::MAX, client: ClientNumber::MAX, sequence: 0 };

/// Headers that the response to a repeated write must have in common with the first response.
const LASTING: [HeaderName; 5] =
    [CACHE_CONTROL, CONTENT_TYPE, ETAG, LOCATION, HeaderName::from_static(AFFINITY_KEY)];

/// The client data of a new session.
pub(crate) fn initial_data(session: SessionNumber) -> ClientData {
    let mut data = ClientData::new();
    data.insert(OWNER.to_owned(), json!(owner(session)));
    data
}

/// The merge patch that sets a client's own member.
pub(crate) fn patch_data(client: ClientNumber, sequence: u32) -> ClientData {
    let mut data = ClientData::new();
    data.insert(format!("c{client}"), json!(sequence));
    data
}

/// The created session and its id.
pub(crate) fn created(response: &Response, number: SessionNumber) -> Option<(SessionId, Seen)> {
    let session: Session = serde_json::from_slice(&response.body).ok()?;
    let id = session.session_id.clone();
    let seen = of_session(response, session, number, &id);
    Some((id, seen))
}

/// A session that was read or patched.
pub(crate) fn session(response: &Response, number: SessionNumber, id: &SessionId) -> Option<Seen> {
    let session = serde_json::from_slice(&response.body).ok()?;
    Some(of_session(response, session, number, id))
}

/// A message that was posted.
pub(crate) fn posted(response: &Response, message: Message, id: &SessionId) -> Option<Seen> {
    let posted: MessagePosted = serde_json::from_slice(&response.body).ok()?;
    let own = posted.session_id == *id && posted.message == message.to_string();
    let view = View::Posted { version: posted.version, number: posted.number };
    (posted.number == posted.message_count).then(|| seen(response, view, own))
}

/// One page of a history. Appends its messages to those of the earlier pages.
pub(crate) fn history(
    response: &Response,
    before: Seen,
    session: SessionNumber,
    id: &SessionId,
) -> Option<(Seen, Option<String>)> {
    let page: HistoryPage = serde_json::from_slice(&response.body).ok()?;
    let View::History(mut messages) = before.view else { return None };
    let mut own = before.origin == Origin::Own && page.session_id == *id;
    for message in page.messages {
        let place = messages.len() as u64 + 1;
        let text = message.message.parse::<Message>().unwrap_or(NOT_OURS);
        own &= text.session == session;
        if message.number != place {
            return None;
        }
        messages.push(text);
    }
    let mut seen = seen(response, View::History(messages), own);
    if before.trust == Trust::Unverified {
        seen.trust = Trust::Unverified;
    }
    Some((seen, page.next_cursor))
}

/// A history without messages, to which pages are appended.
pub(crate) fn no_history() -> Seen {
    Seen { view: View::History(Vec::new()), trust: Trust::Verified, origin: Origin::Own }
}

/// A session that was deleted.
pub(crate) fn deleted() -> Seen {
    Seen { view: View::Deleted, trust: Trust::Verified, origin: Origin::Own }
}

/// The new id of a session.
pub(crate) fn claimed(response: &Response, old: &SessionId) -> Option<(SessionId, Seen)> {
    let ClaimedSession { session_id: new } = serde_json::from_slice(&response.body).ok()?;
    let kind = if new == *old {
        NewId::Unchanged
    } else if new.affinity_key() == old.affinity_key() {
        NewId::SameAffinityKey
    } else {
        NewId::OtherAffinityKey
    };
    let view = View::Claimed { new: new.digest(), kind };
    Some((new, Seen { view, trust: Trust::Verified, origin: Origin::Own }))
}

/// Compares the response to a repeated write with the response to its first attempt.
pub(crate) fn repeated(response: &Response, first: &Response) -> Seen {
    let same = response.status == first.status
        && response.body == first.body
        && LASTING.iter().all(|name| response.headers.get(name) == first.headers.get(name));
    let replayed = response.headers.get(IDEMPOTENCY_REPLAYED).is_some_and(|value| value == "true");
    let repetition = if same && replayed { Repetition::Same } else { Repetition::Different };
    Seen { view: View::Repeated(repetition), trust: Trust::Verified, origin: Origin::Own }
}

fn of_session(
    response: &Response,
    session: Session,
    number: SessionNumber,
    id: &SessionId,
) -> Seen {
    let patches = patches(&session.client_data, number);
    let own = session.session_id == *id && patches.is_some();
    let patches = patches.unwrap_or_default();
    seen(
        response,
        View::Session { version: session.version, messages: session.message_count, patches },
        own,
    )
}

/// The patches in the client data; `None` if it has anything else.
fn patches(data: &ClientData, number: SessionNumber) -> Option<Patches> {
    let mut data = data.clone();
    let owner_is_own = data.remove(OWNER).is_some_and(|found| found == owner(number).as_str());
    let member = |(name, value): (String, Value)| {
        Some((name.strip_prefix('c')?.parse().ok()?, u32::try_from(value.as_u64()?).ok()?))
    };
    let patches = data.into_iter().map(member).collect::<Option<Patches>>();
    patches.filter(|_| owner_is_own)
}

fn owner(session: SessionNumber) -> String {
    format!("s{session}")
}

fn seen(response: &Response, view: View, own: bool) -> Seen {
    let source = response
        .headers
        .get(SESSION_SOURCE)
        .and_then(|source| source.to_str().ok())
        .unwrap_or_default();
    let unverified = source.split(';').any(|part| part.trim() == "unverified");
    Seen {
        view,
        trust: if unverified { Trust::Unverified } else { Trust::Verified },
        origin: if own { Origin::Own } else { Origin::Foreign },
    }
}
