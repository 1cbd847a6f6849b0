//! Revocations of access tokens.

use jiff::Timestamp;
use uuid::Uuid;

use super::account::Username;

/// All access tokens of a user that were issued before a moment are revoked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revocation {
    pub id: Uuid,
    pub user: Username,
    /// In whole seconds.
    pub not_before: Timestamp,
}
