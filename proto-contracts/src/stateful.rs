//! Bodies of the stateful service's endpoints.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::affinity::AffinityKey;
use crate::ids::MessageId;
use crate::session_id::SessionId;
use crate::timestamp::Timestamp;

/// The longest message, in bytes of UTF-8.
pub const MAX_MESSAGE_BYTES: usize = 16 * 1024;
/// The largest client data, in bytes of compact JSON.
pub const MAX_CLIENT_DATA_BYTES: usize = 64 * 1024;
/// The deepest client data: levels of nested objects and arrays, including the outermost.
pub const MAX_CLIENT_DATA_DEPTH: usize = 32;
/// The most messages of one session.
pub const MAX_MESSAGES: u64 = 10_000;
/// The most messages that a new session may bring. All of them are in one body, of at most 1 MiB.
pub const MAX_RESTORED_MESSAGES: usize = 1_000;
/// The most messages on one page of history.
pub const MAX_HISTORY_PAGE: u32 = 200;
/// The messages on a page when the client names no `limit`.
pub const DEFAULT_HISTORY_PAGE: u32 = 50;

/// The most live sessions of one user.
pub const MAX_OWNED_SESSIONS: usize = 1000;
/// The most sessions on one page of a user's list.
pub const MAX_SESSIONS_PAGE: u32 = 100;
/// The sessions on a page when the client names no `limit`.
pub const DEFAULT_SESSIONS_PAGE: u32 = 50;

/// Any JSON object from the client. Replies greet its `name` if that is a string.
pub type ClientData = Map<String, Value>;

/// `POST /sessions`.
//
// The service uses raw JSON for `D`, to keep the client's text.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(rename = "CreateSession", bound = "D: Default + Serialize + JsonSchema")]
pub struct CreateSession<D = ClientData> {
    /// Any JSON object of at most 64 KiB, 32 levels deep; empty by default. Replies greet its
    /// `name`.
    pub client_data: D,
    /// Messages of an earlier session that the client kept, oldest first: at most 1,000. They are
    /// numbered from 1, and get no other replies. The next message follows them.
    #[schemars(length(max = 1_000))]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub messages: Vec<KeptMessage>,
}

/// A message of an earlier session, as its client kept it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KeptMessage {
    /// 1 to 16,384 bytes of UTF-8.
    #[schemars(length(min = 1, max = 16_384))]
    pub message: String,
    /// The reply that it got: 1 to 16,384 bytes of UTF-8.
    #[schemars(length(min = 1, max = 16_384))]
    pub reply: String,
}

/// `PATCH /sessions/{session_id}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "PatchSession")]
pub struct PatchSession<D = ClientData> {
    /// An RFC 7396 merge patch of the client data: `null` removes a member.
    pub client_data: D,
}

/// A session. The response's `ETag` identifies the write that produced this state; it does not
/// cover `expires_at`, which moves with each use.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Session")]
pub struct Session<D = ClientData> {
    /// The bearer secret.
    pub session_id: SessionId,
    /// The client's JSON object.
    pub client_data: D,
    /// When it was created.
    pub created_at: Timestamp,
    /// The time of the last write.
    pub last_activity: Timestamp,
    /// When it expires. Each read and write extends it, up to 24 hours after the creation.
    pub expires_at: Timestamp,
    /// Number of messages.
    pub message_count: u64,
    /// Incremented by each write.
    pub version: u64,
}

/// Query of `GET /sessions`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct SessionsQuery {
    /// Page size, 1 to 100; 50 by default.
    #[schemars(range(min = 1, max = 100))]
    pub limit: Option<u32>,
    /// The `next_cursor` of the page before.
    #[schemars(regex(pattern = "^[A-Za-z0-9._~-]+$"))]
    pub cursor: Option<String>,
}

/// Query of `DELETE /sessions`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct EndSessionsQuery {
    /// The `handle` of the one session to end.
    #[schemars(regex(pattern = "^[0-9a-f]{32}$"))]
    pub handle: Option<String>,
}

/// One of the caller's sessions. Its id is not shown: the service knows it only while it serves a
/// request with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OwnedSession {
    /// Names the session to end it; it does not open it. Logs name the session by the same digest.
    #[schemars(regex(pattern = "^[0-9a-f]{32}$"))]
    pub handle: String,
    /// The beginning of its id, which tells its home.
    pub affinity_key: AffinityKey,
    /// When it was created.
    pub created_at: Timestamp,
    /// The time of the last write.
    pub last_activity: Timestamp,
    /// When it expires unless it is used before. Being listed is no use.
    pub expires_at: Timestamp,
    /// Number of messages.
    pub message_count: u64,
    /// Incremented by each write.
    pub version: u64,
}

/// Response to `POST …/claim`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ClaimedSession {
    /// The session's id from now on.
    pub session_id: SessionId,
}

/// One page of the caller's sessions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SessionPage {
    /// Newest first.
    pub sessions: Vec<OwnedSession>,
    /// The cursor of the next page; `null` on the last one.
    pub next_cursor: Option<String>,
}

/// `POST /sessions/{session_id}/messages`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PostMessage {
    /// 1 to 16,384 bytes of UTF-8.
    #[schemars(length(min = 1, max = 16_384))]
    pub message: String,
}

/// `POST /conversations`: a message, with the session's id in the body.
//
// The service uses text for `I`, to report a malformed id as such.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "PostConversation")]
pub struct PostConversation<I = SessionId> {
    /// The session.
    pub session_id: I,
    /// 1 to 16,384 bytes of UTF-8.
    #[schemars(length(min = 1, max = 16_384))]
    pub message: String,
}

/// Response to both forms of posting a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MessagePosted {
    /// The session.
    pub session_id: SessionId,
    /// The message's id.
    pub message_id: MessageId,
    /// Its position in the session, from 1.
    pub number: u64,
    /// As posted.
    pub message: String,
    /// Computed from the session's state, so that lost state becomes visible.
    pub reply: String,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// Messages in the session, including this one.
    pub message_count: u64,
    /// The session's version after the write.
    pub version: u64,
}

/// Query of `GET …/history`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct HistoryQuery {
    /// Page size, 1 to 200; 50 by default.
    #[schemars(range(min = 1, max = 200))]
    pub limit: Option<u32>,
    /// The `next_cursor` of the page before, in the same order.
    #[schemars(regex(pattern = "^[A-Za-z0-9._~-]+$"))]
    pub cursor: Option<String>,
    /// `asc`, oldest first, by default.
    pub order: Option<HistoryOrder>,
}

/// The order of a history's messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HistoryOrder {
    /// Oldest first.
    #[default]
    Asc,
    /// Newest first.
    Desc,
}

/// One page of a session's messages.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HistoryPage {
    /// The session.
    pub session_id: SessionId,
    /// In the requested order.
    pub messages: Vec<HistoryMessage>,
    /// The cursor of the next page; `null` on the last one.
    pub next_cursor: Option<String>,
}

/// One message of the history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HistoryMessage {
    /// The message's id.
    pub message_id: MessageId,
    /// Its position in the session, from 1.
    pub number: u64,
    /// As posted.
    pub message: String,
    /// The service's reply.
    pub reply: String,
    /// When it was accepted; of a restored one, when its session was created.
    pub created_at: Timestamp,
    /// Present and true if the session's creation brought the message and its reply.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub restored: bool,
}
