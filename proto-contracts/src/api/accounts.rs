//! The details of the operations on accounts.

use crate::accounts::{
    AcceptInvitation, ChangePassword, Invitation, Login, Logout, PatchUser, Refresh, Register,
    Role, Tokens, User, UserPage, UsersQuery,
};
use crate::audit::{AuditPage, AuditQuery};
use crate::error::ErrorCode;
use crate::live::NoMembers;
use crate::openapi::header;
use crate::openapi::{Caller, Details};

const TAG: &str = "Accounts";

const USER: &str = r#"{"id": "ada", "name": "Ada Lovelace", "role": "user",
    "created_at": "2026-11-28T17:00:00.123Z"}"#;
const TOKENS: &str = r#"{"access_token": "eyJhbGciOiJFZERTQSIsImtpZCI6IjEifQ.e30.c2ln",
    "token_type": "Bearer", "expires_in": 900,
    "refresh_token": "rt_5f0c6e1a9b7a4c358d215e0f6a7b8c9d5f0c6e1a9b7a4c358d215e0f6a7b8c9d"}"#;

/// An operation on accounts in the database.
const fn on_accounts(summary: &'static str) -> Details {
    Details::new(TAG, summary).fails_with(&[ErrorCode::DatabaseUnavailable])
}

pub(super) const REGISTER: Details = on_accounts("Register a user")
    .described_as("The new user has the role `user`. The username is never issued again.")
    .body::<Register>(
        r#"{"username": "ada", "name": "Ada Lovelace", "password": "correct horse battery staple"}"#,
    )
    .returns::<User>(201, "The user.", USER)
    .fails_with(&[ErrorCode::UsernameTaken, ErrorCode::WeakPassword])
    .keyed();

pub(super) const LOG_IN: Details = on_accounts("Log in")
    .described_as(
        "Returns an access token for `Authorization: Bearer`, valid for 15 minutes, and a refresh \
         token for the next one, valid for 30 days. An unknown user and a wrong password get the \
         same response. After failures from one address, that address waits. With `cookie`, the \
         refresh token comes as the cookie `__Secure-refresh_token`, for pages of our own origin.",
    )
    .body::<Login>(r#"{"username": "ada", "password": "correct horse battery staple"}"#)
    .returns::<Tokens>(200, "The tokens.", TOKENS)
    .fails_with(&[ErrorCode::InvalidCredentials, ErrorCode::LoginsUnavailable]);

pub(super) const REFRESH: Details = on_accounts("Get a new access token")
    .described_as(
        "Each refresh token is used once; the response has the next. The use of an old one ends \
         its login, as someone else may have it. A repetition within 10 seconds is no such use: \
         the first response may have been lost, and the repetition gets the same next token. \
         Without `refresh_token` the cookie is used, and only for a page of our own origin.",
    )
    .body::<Refresh>(
        r#"{"refresh_token":
            "rt_5f0c6e1a9b7a4c358d215e0f6a7b8c9d5f0c6e1a9b7a4c358d215e0f6a7b8c9d"}"#,
    )
    .returns::<Tokens>(200, "The tokens.", TOKENS)
    .fails_with(&[
        ErrorCode::InvalidRefreshToken,
        ErrorCode::LoginsUnavailable,
        ErrorCode::OriginNotAllowed,
    ]);

pub(super) const LOG_OUT: Details = on_accounts("Log out")
    .described_as(
        "Ends the login of `refresh_token`, or with `everywhere` all logins of the access token's \
         user, and revokes its access tokens: sessions refuse them within a second, stateless \
         operations when they expire, within 15 minutes. Without either, it ends the login of the \
         cookie.",
    )
    .called_by(Caller::Everyone { with_token: true })
    .body::<Logout>(r#"{"everywhere": true}"#)
    .returns_nothing(204, "Logged out.")
    .fails_with(&[ErrorCode::Unauthorized, ErrorCode::InvalidToken, ErrorCode::OriginNotAllowed])
    .keyed();

pub(super) const CHANGE_PASSWORD: Details = on_accounts("Change the password")
    .described_as(
        "Ends all logins of the user, and revokes its access tokens, as `logout` everywhere does.",
    )
    .called_by(Caller::User(Role::User))
    .body::<ChangePassword>(
        r#"{"current_password": "correct horse battery staple",
            "new_password": "four unrelated bicycle words"}"#,
    )
    .returns_nothing(204, "Changed.")
    .fails_with(&[ErrorCode::InvalidCredentials, ErrorCode::WeakPassword])
    .keyed();

pub(super) const ACCEPT_INVITATION: Details = on_accounts("Set the first password")
    .described_as(
        "Uses the invitation of a user without a password, such as an imported one, who can log in \
         then. A code is used once, and for 7 days. Codes that are unknown, expired, used or \
         replaced get the same response.",
    )
    .body::<AcceptInvitation>(
        r#"{"code": "inv_5f0c6e1a9b7a4c358d215e0f6a7b8c9d5f0c6e1a9b7a4c358d215e0f6a7b8c9d",
            "password": "correct horse battery staple"}"#,
    )
    .returns::<User>(200, "The user, who can log in now.", USER)
    .fails_with(&[ErrorCode::InvalidInvitation, ErrorCode::WeakPassword])
    .keyed();

pub(super) const GET_ME: Details = on_accounts("Show the user of the token")
    .called_by(Caller::User(Role::User))
    .returns::<User>(200, "The user.", USER);

/// An operation on one user: the caller, or any user for an admin.
const fn on_user(summary: &'static str) -> Details {
    on_accounts(summary).called_by(Caller::User(Role::User)).fails_with(&[ErrorCode::UserNotFound])
}

pub(super) const LIST_USERS: Details = on_accounts("List the users")
    .described_as("One page, ordered by username.")
    .called_by(Caller::User(Role::Admin))
    .query::<UsersQuery>()
    .returns::<UserPage>(
        200,
        "The page.",
        r#"{"users": [{"id": "ada", "name": "Ada Lovelace", "role": "user",
            "created_at": "2026-11-28T17:00:00.123Z"}], "next_cursor": "616461"}"#,
    )
    .with_headers(&[header::LINK])
    .fails_with(&[ErrorCode::InvalidCursor]);

pub(super) const GET_USER: Details = on_user("Read a user")
    .described_as("Users read themselves, admins everyone. Others get 404.")
    .returns::<User>(200, "The user.", USER);

pub(super) const PATCH_USER: Details = on_user("Change a user")
    .described_as(
        "Users change their own name. Admins also change roles, and disable users, which ends their \
         logins as `logout` everywhere does. The last admin stays one.",
    )
    .optional_body::<PatchUser>(r#"{"role": "instructor"}"#)
    .returns::<User>(200, "The user after the change.", USER)
    .fails_with(&[ErrorCode::Forbidden, ErrorCode::LastAdmin])
    .keyed();

pub(super) const DELETE_USER: Details = on_user("Delete a user")
    .described_as(
        "Final, and it ends all logins. Users delete themselves, admins everyone but the last \
         admin. The username is never issued again.",
    )
    .returns_nothing(204, "Deleted.")
    .fails_with(&[ErrorCode::LastAdmin]);

pub(super) const INVITE_USER: Details = on_accounts("Invite a user without a password")
    .described_as(
        "Returns a code, with which the user sets a password by `POST /auth/invitation`. It is shown \
         once, and only its hash is stored. Another invitation replaces it, a repetition of this \
         request, too.",
    )
    .called_by(Caller::User(Role::Admin))
    .optional_body::<NoMembers>("{}")
    .returns::<Invitation>(
        201,
        "The invitation.",
        r#"{"code": "inv_5f0c6e1a9b7a4c358d215e0f6a7b8c9d5f0c6e1a9b7a4c358d215e0f6a7b8c9d",
            "expires_at": "2026-12-05T17:00:00.123Z"}"#,
    )
    .fails_with(&[ErrorCode::UserNotFound, ErrorCode::UserHasPassword]);

pub(super) const LIST_AUDIT: Details = on_accounts("Read the audit log")
    .described_as(
        "One page, the newest entry first. An entry is a change, or the sum of the requests that \
         one address made in one minute and that were refused for the same reason. An entry is \
         part of its change: there is one exactly if the change was made.",
    )
    .called_by(Caller::User(Role::Admin))
    .query::<AuditQuery>()
    .returns::<AuditPage>(
        200,
        "The page.",
        r#"{"entries": [{"id": "019ac8f5-7a3b-7c35-8d21-5e0f6a7b8c9d",
            "at": "2026-11-28T17:00:00.123Z", "action": "user_changed", "actor_kind": "user",
            "actor": "root", "object": "ada", "request_id": "019ac8f5-7a39-7b11-9a4e-3c6d1f2e4b5a",
            "address": "192.0.2.1", "before": {"name": "Ada", "role": "user", "disabled": false},
            "after": {"name": "Ada", "role": "instructor", "disabled": false}, "count": 1}],
            "next_cursor": null}"#,
    )
    .with_headers(&[header::LINK])
    .fails_with(&[ErrorCode::InvalidCursor]);

pub(super) const GET_JWKS: Details = Details::new(TAG, "Read the public keys of access tokens")
    .described_as("A JSON Web Key Set (RFC 7517). It holds a new key before the key is used.")
    .returns_any("The keys.");
