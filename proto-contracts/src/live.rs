//! What live connections carry: `GET …/events` (server-sent events) and `GET …/live` (a WebSocket).
//!
//! Both tell the same [events](EventName). A stream begins with the session as it is. Then come the messages after the one
//! that the client names, or those that are posted from now on when it names none: one by one, in their order, each once.
//! A message's event has its number as its id; so a client that comes back with the last id it has seen misses nothing.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// What a server-sent event, or a frame of a WebSocket, tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventName {
    /// The session as it is: first of all, and whenever its client data changes. Data: [`Session`](crate::stateful::Session).
    Session,
    /// A message, whoever posted it. Data: [`HistoryMessage`](crate::stateful::HistoryMessage).
    Message,
    /// What became of a message that was posted over this WebSocket. Data: [`MessagePosted`](crate::stateful::MessagePosted).
    Posted,
    /// What was sent over this WebSocket was refused. Data: a [`Problem`](crate::Problem).
    Error,
    /// The session was deleted or has expired; nothing follows. Data: `{}`.
    Ended,
    /// The instance is going away, or the client reads too slowly; come back with the last id. Data: `{}`.
    GoingAway,
}

impl EventName {
    /// The name as it stands in a stream, and in metric labels.
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

/// Query of both.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LiveQuery {
    /// The number of the last message that the client has; 0 for none. The header `Last-Event-ID`, which browsers send when
    /// they come back, goes before it.
    pub last_event_id: Option<u64>,
    /// Stands for the `Authorization` header, which browsers cannot set here.
    pub ticket: Option<String>,
}

/// Answer to `POST …/tickets`: opens `…/events` and `…/live` of this session in the name of who asked for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ticket {
    /// To be sent as the query parameter `ticket`.
    pub ticket: String,
    /// Until when it opens a connection for the first time. An open one stays, and may be reopened for a while after its end.
    pub expires_at: Timestamp,
}

/// A frame of a WebSocket to the client.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServerFrame<T> {
    /// What it tells.
    pub event: EventName,
    /// The number of the message, when it tells of one that came in its order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<u64>,
    /// The `ref` of the frame that this one answers.
    #[serde(default, rename = "ref", skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// When the frame was refused because too many came: in how many seconds the next may.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_s: Option<u64>,
    /// As the event's name says.
    pub data: T,
}

/// A frame of a WebSocket from the client: a message to post.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientFrame {
    /// 1 to [`MAX_MESSAGE_BYTES`](crate::stateful::MAX_MESSAGE_BYTES) bytes.
    pub message: String,
    /// Makes the frame safe to repeat, also over another connection: a UUID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
    /// Comes back with the answer, so that the client knows which frame it belongs to. At most [`MAX_REF_BYTES`] bytes.
    #[serde(default, rename = "ref", skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
}

/// The longest `ref`, in bytes.
pub const MAX_REF_BYTES: usize = 64;
/// The largest frame from a client, in bytes: a message with every character escaped, and room for the rest.
pub const MAX_FRAME_BYTES: usize = 128 * 1024;

/// Why a WebSocket is closed: the codes of RFC 6455 and one of our own.
pub mod close {
    /// The instance is going away: come back with the last id.
    pub const GOING_AWAY: u16 = 1001;
    /// What the client sent was no WebSocket frame.
    pub const PROTOCOL_ERROR: u16 = 1002;
    /// A frame was not text.
    pub const UNSUPPORTED: u16 = 1003;
    /// A frame of text was not UTF-8.
    pub const NOT_UTF8: u16 = 1007;
    /// The client went on sending more frames than its rate allows.
    pub const RATE_LIMITED: u16 = 1008;
    /// A frame was larger than [`MAX_FRAME_BYTES`](super::MAX_FRAME_BYTES).
    pub const TOO_BIG: u16 = 1009;
    /// The client read too slowly: come back later with the last id.
    pub const TOO_SLOW: u16 = 1013;
    /// The session was deleted or has expired.
    pub const SESSION_ENDED: u16 = 4404;
}
