//! A session as a store holds it.

use jiff::Timestamp;

use super::client_data::ClientData;

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
}
