//! Bodies of `/auth` and `/users`, and the role of a user.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::timestamp::Timestamp;

/// The fewest and the most characters of a username.
pub const USERNAME_CHARS: (usize, usize) = (3, 64);
/// The fewest and the most characters of a password.
pub const PASSWORD_CHARS: (usize, usize) = (8, 128);
/// The longest display name, in characters.
pub const MAX_NAME_CHARS: usize = 200;
/// How long an access token is valid, in seconds.
pub const ACCESS_TOKEN_S: u64 = 15 * 60;

/// How long a login lasts without being refreshed, in seconds.
pub const LOGIN_S: u64 = 30 * 24 * 60 * 60;
/// How long a login lasts in all, in seconds.
pub const LOGIN_MAX_S: u64 = 90 * 24 * 60 * 60;
/// How long an invitation can be used, in seconds.
pub const INVITATION_S: u64 = 7 * 24 * 60 * 60;
/// The cookie that holds a refresh token. Browsers accept its name only with `Secure`.
pub const REFRESH_COOKIE: &str = "__Secure-refresh_token";

/// What a user may do. Each role may do what the ones before it may.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Everyone who registers.
    #[default]
    User,
    /// May operate the classroom.
    Instructor,
    /// May see and change all users.
    Admin,
}

impl Role {
    /// All roles.
    pub const ALL: [Self; 3] = [Self::User, Self::Instructor, Self::Admin];

    /// The name in tokens and bodies.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Instructor => "instructor",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The text names no role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the roles are 'user', 'instructor' and 'admin'")]
pub struct UnknownRole;

impl FromStr for Role {
    type Err = UnknownRole;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|role| role.as_str() == text).ok_or(UnknownRole)
    }
}

/// `POST /auth/register`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Register {
    /// 3 to 64 of `a-z`, `0-9`, `.`, `_` and `-`. It is never issued again.
    #[schemars(regex(pattern = "^[a-z0-9._-]{3,64}$"))]
    pub username: String,
    /// The name that others see, 1 to 200 characters.
    #[schemars(length(min = 1, max = 200))]
    pub name: String,
    /// 8 to 128 characters, not one that is easily guessed.
    #[schemars(length(min = 8, max = 128))]
    pub password: String,
}

/// A user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct User {
    /// The username.
    pub id: String,
    /// The name that others see.
    pub name: String,
    /// What the user may do.
    pub role: Role,
    /// When the user registered.
    pub created_at: Timestamp,
    /// Present and true while the user must not log in.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub disabled: bool,
}

/// `PATCH /users/{user_id}`: what is absent stays.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct PatchUser {
    /// The name that others see, 1 to 200 characters.
    #[schemars(length(min = 1, max = 200))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What the user may do; only admins may change it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// A disabled user cannot log in, and its logins end; only admins may change it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disabled: Option<bool>,
}

/// The most users on one page.
pub const MAX_USERS_PAGE: u32 = 100;
/// The users on a page when the client names no `limit`.
pub const DEFAULT_USERS_PAGE: u32 = 20;

/// Query of `GET /users`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct UsersQuery {
    /// Page size, 1 to 100; 20 by default.
    #[schemars(range(min = 1, max = 100))]
    pub limit: Option<u32>,
    /// The `next_cursor` of the page before.
    #[schemars(regex(pattern = "^[A-Za-z0-9._~-]+$"))]
    pub cursor: Option<String>,
    /// Only users of this role.
    pub role: Option<Role>,
}

/// One page of users, ordered by username. Deleted ones are not listed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UserPage {
    /// The users.
    pub users: Vec<User>,
    /// Where the next page starts; `null` on the last one.
    pub next_cursor: Option<String>,
}

/// `POST /auth/login`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Login {
    /// The username.
    pub username: String,
    /// The password.
    pub password: String,
    /// For a page in a browser: the refresh token comes as a cookie, which no script can read.
    #[serde(default)]
    pub cookie: bool,
}

/// `POST /auth/refresh`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Refresh {
    /// The refresh token of the last response. Without it, that of the cookie is used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refresh_token: Option<String>,
}

/// Response to a login and to a refresh (RFC 6749, section 5.1).
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Tokens {
    /// A JWT for `Authorization: Bearer`.
    pub access_token: String,
    /// Always `Bearer`.
    pub token_type: TokenType,
    /// Seconds until the access token expires.
    pub expires_in: u64,
    /// For the next refresh. Each is used once. Absent when it comes as a cookie.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub refresh_token: String,
}

/// The type of an access token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TokenType {
    /// RFC 6750.
    Bearer,
}

/// `POST /auth/logout`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Logout {
    /// Ends this login. Without it, that of the cookie, or `everywhere` is required.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refresh_token: Option<String>,
    /// Ends every login of the user; needs the access token.
    pub everywhere: bool,
}

/// `POST /auth/password`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ChangePassword {
    /// The present password.
    pub current_password: String,
    /// The new one: 8 to 128 characters, not one that is easily guessed.
    #[schemars(length(min = 8, max = 128))]
    pub new_password: String,
}

/// Response to `POST /users/{user_id}/invitation`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Invitation {
    /// For the user, who sets a password with it. It is shown once.
    pub code: String,
    /// Until when it can be used: for 7 days.
    pub expires_at: Timestamp,
}

/// `POST /auth/invitation`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AcceptInvitation {
    /// The code of the invitation.
    pub code: String,
    /// 8 to 128 characters, not one that is easily guessed.
    #[schemars(length(min = 8, max = 128))]
    pub password: String,
}
