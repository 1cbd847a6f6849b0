//! Live connections: `GET …/events` (server-sent events) and `GET …/live` (a WebSocket).
//!
//! Both carry the same [events](EventName). A stream begins with the present session. Then come the
//! messages after the client's `last_event_id`, or only new ones without it: in order, each once.
//! The id of a message's event is its number, so a client that reconnects with the last id misses
//! none.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::timestamp::Timestamp;

/// The type of a server-sent event or WebSocket frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EventName {
    /// The session: first in a stream, and after each change of its client data. Data:
    /// [`Session`](crate::stateful::Session).
    Session,
    /// A message from any client. Data: [`HistoryMessage`](crate::stateful::HistoryMessage).
    Message,
    /// The result of a message sent on this WebSocket. Data:
    /// [`MessagePosted`](crate::stateful::MessagePosted).
    Posted,
    /// A frame on this WebSocket was rejected. Data: a [`Problem`](crate::Problem).
    Error,
    /// The session was deleted or has expired; the last event. Data: `{}`.
    Ended,
    /// The instance is stopping, or the client reads too slowly; reconnect with the last id. Data:
    /// `{}`.
    GoingAway,
}

impl EventName {
    /// The name in streams and metric labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::Message => "message",
            Self::Posted => "posted",
            Self::Error => "error",
            Self::Ended => "ended",
            Self::GoingAway => "going_away",
        }
    }
}

/// Query of both endpoints.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct LiveQuery {
    /// The number of the last message that the client has; 0 for none. The header `Last-Event-ID`,
    /// which browsers send when they reconnect, takes precedence.
    #[schemars(range(max = u32::MAX))]
    pub last_event_id: Option<u64>,
    /// Replaces the `Authorization` header, which browsers cannot set here.
    #[schemars(regex(pattern = "^[A-Za-z0-9._~-]+$"))]
    pub ticket: Option<String>,
}

/// Body of `POST …/tickets`, `…/claim` and `…/invitation`: an empty JSON object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NoMembers {}

/// Response to `POST …/tickets`: authorizes `…/events` and `…/live` of this session as its
/// requester.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Ticket {
    /// The value of the query parameter `ticket`.
    pub ticket: String,
    /// Until when it opens a first connection. An open connection stays, and can be reopened for a
    /// while after its end.
    pub expires_at: Timestamp,
}

/// A WebSocket frame to the client.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ServerFrame<T> {
    /// Its type.
    pub event: EventName,
    /// The message's number, for `message` events.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<u64>,
    /// The `ref` of the client's frame that this one responds to.
    #[serde(default, rename = "ref", skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// Whether a `posted` event repeats the result of an earlier write with the same key.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub replayed: bool,
    /// After a rate-limited frame: seconds until the next is accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_s: Option<u64>,
    /// The data of the event type.
    pub data: T,
}

/// The `ref` of a client's frame whose other fields may be wrong, so that the error can repeat it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct FrameReference {
    /// See [`ClientFrame::reference`].
    #[serde(default, rename = "ref")]
    pub reference: Option<String>,
}

/// A WebSocket frame from the client: a message to post.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ClientFrame {
    /// 1 to [`MAX_MESSAGE_BYTES`](crate::stateful::MAX_MESSAGE_BYTES) bytes.
    pub message: String,
    /// Makes the frame safe to retry, also on another connection: 8 to 128 visible characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
    /// Repeated in the response frame, for correlation. At most [`MAX_REF_BYTES`] bytes.
    #[serde(default, rename = "ref", skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
}

/// The longest `ref`, in bytes.
pub const MAX_REF_BYTES: usize = 64;
/// The largest frame from a client, in bytes: a message with every character escaped, and the other
/// fields.
pub const MAX_FRAME_BYTES: usize = 128 * 1024;

/// Close codes: those of RFC 6455, and one for ended sessions.
pub mod close {
    /// The instance is stopping: reconnect with the last id.
    pub const GOING_AWAY: u16 = 1001;
    /// The client violated the WebSocket protocol.
    pub const PROTOCOL_ERROR: u16 = 1002;
    /// A frame was not a text frame.
    pub const UNSUPPORTED: u16 = 1003;
    /// A text frame was not UTF-8.
    pub const NOT_UTF8: u16 = 1007;
    /// The client kept exceeding its rate limit.
    pub const RATE_LIMITED: u16 = 1008;
    /// A frame was larger than [`MAX_FRAME_BYTES`](super::MAX_FRAME_BYTES).
    pub const TOO_BIG: u16 = 1009;
    /// The client reads too slowly: reconnect later with the last id.
    pub const TOO_SLOW: u16 = 1013;
    /// The session was deleted or has expired.
    pub const SESSION_ENDED: u16 = 4404;
}
