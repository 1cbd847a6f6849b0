//! A session as a store holds it.

use jiff::Timestamp;

use super::client_data::ClientData;
use super::session_tag::{SessionTag, WriteNonce};

/// The state of one session at one version.
#[derive(Clone, Debug, PartialEq)]
pub struct Session {
    /// What the client told about itself.
    pub client_data: ClientData,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it was last written to.
    pub last_activity: Timestamp,
    /// When it ends unless it is used before.
    pub expires_at: Timestamp,
    /// How many messages it holds.
    pub message_count: u64,
    /// 1 at creation, and one more with each write.
    pub version: u64,
    /// Of the last write.
    pub nonce: WriteNonce,
}

impl Session {
    /// Names the write that this state comes from. (`expires_at` moves on without one, with each use.)
    pub fn tag(&self) -> SessionTag {
        SessionTag { version: self.version, nonce: self.nonce }
    }
}
