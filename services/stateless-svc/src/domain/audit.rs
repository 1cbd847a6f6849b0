//! What the audit log records of a change.

use std::net::IpAddr;

use proto_contracts::RequestId;
use serde_json::{Value, json};

use super::account::{Account, Username};

/// Who makes a change, and by which request. Handlers take it from the request; every change of
/// the store gets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Initiator {
    pub actor: Actor,
    /// `None` at the command line.
    pub request_id: Option<RequestId>,
    /// The client's address; `None` at the command line.
    pub address: Option<IpAddr>,
}

/// Who acts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Actor {
    /// A client without a token.
    Anonymous,
    /// The user of the token.
    User(Username),
    /// Whoever runs `stateless-svc` at the command line.
    Operator,
}

impl Initiator {
    /// The operator at the command line.
    pub fn operator() -> Self {
        Self { actor: Actor::Operator, request_id: None, address: None }
    }

    /// The same request, by the user that its body proves: with a password or a refresh token.
    #[must_use]
    pub fn acting_as(&self, user: &Username) -> Self {
        Self { actor: Actor::User(user.clone()), ..self.clone() }
    }
}

impl Actor {
    /// The kind in the audit log.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Anonymous => "anonymous",
            Self::User(_) => "user",
            Self::Operator => "operator",
        }
    }

    /// The username of a user.
    pub const fn username(&self) -> Option<&Username> {
        match self {
            Self::User(user) => Some(user),
            Self::Anonymous | Self::Operator => None,
        }
    }
}

/// What was done or refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    UserRegistered,
    UserChanged,
    UserDeleted,
    PasswordChanged,
    LoggedIn,
    LoggedOut,
    /// A refresh token was used twice, which ended its login.
    RefreshTokenReused,
}

impl Action {
    /// All actions.
    pub const ALL: [Self; 7] = [
        Self::UserRegistered,
        Self::UserChanged,
        Self::UserDeleted,
        Self::PasswordChanged,
        Self::LoggedIn,
        Self::LoggedOut,
        Self::RefreshTokenReused,
    ];

    /// The name in the audit log.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::UserRegistered => "user_registered",
            Self::UserChanged => "user_changed",
            Self::UserDeleted => "user_deleted",
            Self::PasswordChanged => "password_changed",
            Self::LoggedIn => "logged_in",
            Self::LoggedOut => "logged_out",
            Self::RefreshTokenReused => "refresh_token_reused",
        }
    }
}

/// One change, as it is recorded in its transaction. It never holds a password, a token or the id
/// of a session.
#[derive(Clone, Debug)]
pub struct Entry<'a> {
    pub action: Action,
    /// The user that was changed.
    pub object: &'a Username,
    /// What was there before; `None` where nothing was.
    pub before: Option<Value>,
    /// What is there now.
    pub after: Option<Value>,
}

impl<'a> Entry<'a> {
    /// An action of which there is no more to say.
    pub const fn new(action: Action, object: &'a Username) -> Self {
        Self { action, object, before: None, after: None }
    }

    /// The end of logins.
    pub fn ends_logins(mut self, count: u64) -> Self {
        self.after = Some(json!({ "logins_ended": count }));
        self
    }
}

/// What the audit log shows of a user.
pub fn snapshot(account: &Account) -> Value {
    let Account { id: _, name, role, created_at: _, is_disabled } = account;
    json!({ "name": name, "role": role, "disabled": is_disabled })
}
