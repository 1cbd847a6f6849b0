//! Bodies of the stateful service's endpoints.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::ids::MessageId;
use crate::session_id::SessionId;

/// The longest message, in bytes of UTF-8.
pub const MAX_MESSAGE_BYTES: usize = 16 * 1024;
/// The largest client data, in bytes of compact JSON.
pub const MAX_CLIENT_DATA_BYTES: usize = 64 * 1024;
/// The deepest client data: how many objects and arrays may stand in each other, the data itself counted.
pub const MAX_CLIENT_DATA_DEPTH: usize = 32;
/// The most messages of one session.
pub const MAX_MESSAGES: u64 = 10_000;
/// The most messages on one page of history.
pub const MAX_HISTORY_PAGE: u32 = 200;
/// The messages on a page when the client names no `limit`.
pub const DEFAULT_HISTORY_PAGE: u32 = 50;

/// What the client told about itself: any JSON object. The reply greets `name` when it is a string.
pub type ClientData = Map<String, Value>;

/// `POST /sessions`. The service puts raw JSON in the place of `D`, to keep the text that the client sent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CreateSession<D = ClientData> {
    /// Empty by default.
    pub client_data: D,
}

/// `PATCH /sessions/{session_id}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PatchSession<D = ClientData> {
    /// An RFC 7396 merge patch of the client data: `null` removes a member.
    pub client_data: D,
}

/// A session as its owner sees it. The answer's `ETag` names the write that this state comes from; `expires_at`, which moves
/// on with each use, is not part of that state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Session<D = ClientData> {
    /// The bearer secret.
    pub session_id: SessionId,
    /// What the client told about itself.
    pub client_data: D,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it was last written to.
    pub last_activity: Timestamp,
    /// When it ends unless it is used before; each read and write moves this on, up to 24 hours after the creation.
    pub expires_at: Timestamp,
    /// How many messages it holds.
    pub message_count: u64,
    /// Grows by one with each write.
    pub version: u64,
}

/// `POST /sessions/{session_id}/messages`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PostMessage {
    /// 1 to [`MAX_MESSAGE_BYTES`] bytes.
    pub message: String,
}

/// `POST /conversations`: the same act, with the session's id in the body. The service reads text in the place of `I`, to
/// tell a malformed id from a malformed body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PostConversation<I = SessionId> {
    /// The session to speak to.
    pub session_id: I,
    /// 1 to [`MAX_MESSAGE_BYTES`] bytes.
    pub message: String,
}

/// Answer to both forms of posting a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessagePosted {
    /// The session that was spoken to.
    pub session_id: SessionId,
    /// The message's own id.
    pub message_id: MessageId,
    /// Its place in the session, from 1.
    pub number: u64,
    /// As posted.
    pub message: String,
    /// Computed from the session's state, so that a lost session shows.
    pub reply: String,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// Messages in the session, this one included.
    pub message_count: u64,
    /// The session's version after the write.
    pub version: u64,
}

/// Query of `GET …/history`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HistoryQuery {
    /// Page size, 1 to [`MAX_HISTORY_PAGE`]; [`DEFAULT_HISTORY_PAGE`] by default.
    pub limit: Option<u32>,
    /// `next_cursor` of the page before.
    pub cursor: Option<String>,
}

/// One page of a session's messages, oldest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryPage {
    /// The session.
    pub session_id: SessionId,
    /// In the order in which they were accepted.
    pub messages: Vec<HistoryMessage>,
    /// Where the next page starts; `null` when this one reached the end.
    pub next_cursor: Option<String>,
}

/// One message of the history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryMessage {
    /// The message's own id.
    pub message_id: MessageId,
    /// Its place in the session, from 1.
    pub number: u64,
    /// As posted.
    pub message: String,
    /// As answered.
    pub reply: String,
    /// When it was accepted.
    pub created_at: Timestamp,
}
