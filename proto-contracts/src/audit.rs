//! Bodies of `/audit`: who changed what.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::ids::RequestId;
use crate::timestamp::Timestamp;

/// The most entries on one page.
pub const MAX_AUDIT_PAGE: u32 = 100;
/// The entries on a page when the client names no `limit`.
pub const DEFAULT_AUDIT_PAGE: u32 = 20;

macro_rules! actions {
    ($($(#[$doc:meta])* $action:ident = $name:literal,)*) => {
        /// What was done or refused.
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
            JsonSchema,
        )]
        #[serde(rename_all = "snake_case")]
        pub enum AuditAction {
            $($(#[$doc])* $action,)*
        }

        impl AuditAction {
            /// All actions.
            pub const ALL: &[Self] = &[$(Self::$action,)*];

            /// The name in the audit log.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$action => $name,)*
                }
            }
        }
    };
}

actions! {
    /// A user registered.
    UserRegistered = "user_registered",
    /// A user's name or role was changed, or it was disabled or enabled.
    UserChanged = "user_changed",
    /// A user was deleted.
    UserDeleted = "user_deleted",
    /// A user without a password got an invitation.
    UserInvited = "user_invited",
    /// A user set its first password with an invitation.
    InvitationAccepted = "invitation_accepted",
    /// A user has a new password.
    PasswordChanged = "password_changed",
    /// A login began.
    LoggedIn = "logged_in",
    /// Logins were ended.
    LoggedOut = "logged_out",
    /// A refresh token was used twice, which ended its login.
    RefreshTokenReused = "refresh_token_reused",
    /// A user was imported, without a password.
    UserImported = "user_imported",
    /// A product was added.
    ProductCreated = "product_created",
    /// A product was imported.
    ProductImported = "product_imported",
    /// A product was changed.
    ProductChanged = "product_changed",
    /// A product was deleted.
    ProductDeleted = "product_deleted",
    /// Units were taken from a product's stock.
    ProductReserved = "product_reserved",
    /// A file was uploaded.
    FileUploaded = "file_uploaded",
    /// A file was deleted.
    FileDeleted = "file_deleted",
    /// Logins with an unknown user or a wrong password.
    LoginRejected = "login_rejected",
    /// Changes of a password with a wrong present one.
    PasswordRejected = "password_rejected",
    /// Codes of invitations that cannot be used.
    InvitationRejected = "invitation_rejected",
    /// Logins of an address that must wait.
    LoginDelayed = "login_delayed",
    /// Requests that the user's role does not allow, or that a page of another origin sent.
    Forbidden = "forbidden",
}

impl fmt::Display for AuditAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Query of `GET /audit`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct AuditQuery {
    /// Page size, 1 to 100; 20 by default.
    #[schemars(range(min = 1, max = 100))]
    pub limit: Option<u32>,
    /// The `next_cursor` of the page before.
    #[schemars(regex(pattern = "^[A-Za-z0-9._~-]+$"))]
    pub cursor: Option<String>,
    /// Only what this user did.
    #[schemars(regex(pattern = "^[a-z0-9._-]{3,64}$"))]
    pub actor: Option<String>,
    /// Only changes of this user, or of a product: `product:p001`.
    #[schemars(regex(pattern = "^([a-z0-9._-]{3,64}|product:[A-Za-z0-9_-]{1,64})$"))]
    pub object: Option<String>,
    /// Only this action.
    pub action: Option<AuditAction>,
    /// Only at this time or later.
    pub from: Option<Timestamp>,
    /// Only before this time.
    pub to: Option<Timestamp>,
}

/// A change, or a sum of refused requests.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AuditEntry {
    /// Identifies the entry: a UUID.
    pub id: String,
    /// When it was done; of a sum, the minute of the requests.
    pub at: Timestamp,
    /// What was done. Later versions may have further actions.
    pub action: String,
    /// `user`, `anonymous` (without a token) or `operator` (at the command line).
    pub actor_kind: String,
    /// The username of the user who did it.
    pub actor: Option<String>,
    /// What was changed: the username of a user, or `product:` and the id of a product.
    pub object: Option<String>,
    /// The request that did it.
    pub request_id: Option<RequestId>,
    /// The client's address. In a sum, of IPv6 the /64.
    pub address: Option<String>,
    /// What the change replaced.
    pub before: Option<Value>,
    /// What the change left. In a sum, `users` has up to 20 of the users that were tried.
    pub after: Option<Value>,
    /// How many requests a sum counts; 1 of a change.
    pub count: u64,
}

/// One page of the audit log, the newest entry first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AuditPage {
    /// The entries.
    pub entries: Vec<AuditEntry>,
    /// Where the next page starts; `null` on the last one.
    pub next_cursor: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_action_has_one_name() {
        for action in AuditAction::ALL {
            let json = serde_json::to_value(action).expect("serializes");
            assert_eq!(json, action.as_str());
        }
    }
}
