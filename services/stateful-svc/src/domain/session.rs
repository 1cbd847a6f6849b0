//! The state of a session.

use jiff::Timestamp;

use super::client_data::ClientData;
use super::message::RestoredMessage;
use super::session_tag::{SessionTag, WriteNonce};

/// What a session is created with.
#[derive(Clone, Debug, PartialEq)]
pub struct NewSession {
    pub client_data: ClientData,
    /// The session's first messages, at most
    /// [`MAX_RESTORED_MESSAGES`](proto_contracts::stateful::MAX_RESTORED_MESSAGES).
    pub messages: Vec<RestoredMessage>,
}

impl From<ClientData> for NewSession {
    fn from(client_data: ClientData) -> Self {
        Self { client_data, messages: Vec::new() }
    }
}

/// The state of one session at one version.
#[derive(Clone, Debug, PartialEq)]
pub struct Session {
    pub client_data: ClientData,
    pub created_at: Timestamp,
    /// The time of the last write.
    pub last_activity: Timestamp,
    /// The expiry unless the session is used before.
    pub expires_at: Timestamp,
    pub message_count: u64,
    /// 1 at creation; each write increments it.
    pub version: u64,
    /// The nonce of the last write.
    pub nonce: WriteNonce,
}

impl Session {
    /// The tag of the last write. (`expires_at` also changes with each use.)
    pub fn tag(&self) -> SessionTag {
        SessionTag { version: self.version, nonce: self.nonce }
    }
}
