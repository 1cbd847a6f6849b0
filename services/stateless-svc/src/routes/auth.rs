//! `/auth`: registration, logins, tokens.

use std::net::{IpAddr, Ipv4Addr};

use actix_web::http::StatusCode;
use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use actix_web::{HttpMessage as _, HttpRequest, HttpResponse, web};
use jiff::Timestamp;
use proto_contracts::ErrorCode;
use proto_contracts::accounts as wire;
use proto_contracts::accounts::ACCESS_TOKEN_S;
use proto_contracts::error::FieldError;
use service_kit::body::{Json, NoQuery};
use service_kit::problem::ApiError;
use service_kit::response;

use super::acknowledged::LoggedIn;
use super::idempotency::Repetitions;
use super::identity::{self, CalledBy};
use super::initiator::RequestedBy;
use super::refresh_cookie;
use super::replies::{replay_account, store_failed, to_wire, without_body};
use crate::auth_metrics::{AuthMetrics, LoginOutcome};
use crate::domain::account::{Account, DisplayName, Password, Username, WeakPassword};
use crate::domain::audit::{Action, Actor, Initiator};
use crate::domain::refresh_token::RefreshToken;
use crate::issuer::{Identity, IssueError, Issuer};
use crate::passwords::{HashError, PasswordHasher};
use crate::store::accounts::{Accounts, Credentials, Refreshed, RegisterError};
use crate::store::attempts::SharedAttempts;
use crate::store::audit::{AuditLog, Refusals};

/// What the handlers of accounts share.
pub struct Auth {
    /// The users.
    pub accounts: Accounts,
    /// Hashes passwords.
    pub passwords: PasswordHasher,
    /// Issues access tokens.
    pub issuer: Issuer,
    /// Failed logins.
    pub attempts: SharedAttempts,
    /// Counts logins.
    pub metrics: AuthMetrics,
    /// Who changed what.
    pub audit: AuditLog,
    /// Sums refused requests for the audit log.
    pub refusals: Refusals,
    /// Recognizes repeated requests.
    pub repetitions: Repetitions,
}

/// How a refresh token reaches the client.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Delivery {
    Body,
    Cookie,
}

pub(super) async fn register(
    _: NoQuery,
    request: HttpRequest,
    RequestedBy(initiator): RequestedBy,
    Json(given): Json<wire::Register>,
    auth: web::Data<Auth>,
) -> Result<HttpResponse, ApiError> {
    let execute = async |by: &Initiator| register_once(&auth, given.clone(), by).await;
    auth.repetitions
        .once(&request, initiator, "register", &given, replay_account(StatusCode::CREATED), execute)
        .await
}

async fn register_once(
    auth: &Auth,
    given: wire::Register,
    initiator: &Initiator,
) -> Result<HttpResponse, ApiError> {
    let wire::Register { username, name, password } = given;
    let mut errors = Vec::new();
    let mut collect = |pointer: &'static str, error: &dyn std::fmt::Display| {
        errors.push(FieldError::in_body(pointer, error.to_string()));
    };
    let id = username.parse::<Username>().inspect_err(|error| collect("/username", error));
    let name = name.parse::<DisplayName>().inspect_err(|error| collect("/name", error));
    let (Ok(id), Ok(name)) = (id, name) else {
        return Err(ApiError::invalid(ErrorCode::InvalidBody, errors));
    };
    let password = Password::chosen(&password, &id, name.as_str())
        .map_err(|error| weak(&error, "/password"))?;
    let hash = auth.passwords.hash(password).await.map_err(hash_failed)?;
    let registered = auth.accounts.register(&id, &name, &hash, initiator).await;
    let account = registered.map_err(|error| match error {
        RegisterError::Taken => {
            ApiError::new(ErrorCode::UsernameTaken, format!("The username {id} is taken."))
                .with_errors([FieldError::in_body("/username", "is taken")])
        }
        RegisterError::Store(error) => store_failed(error),
    })?;
    auth.metrics.registered();
    response::no_store(StatusCode::CREATED, &to_wire(account))
}

pub(super) async fn log_in(
    _: NoQuery,
    request: HttpRequest,
    RequestedBy(initiator): RequestedBy,
    Json(given): Json<wire::Login>,
    auth: web::Data<Auth>,
) -> Result<HttpResponse, ApiError> {
    let result = auth.log_in(given, &initiator, &request).await;
    auth.metrics.login(match &result {
        Ok(_) => LoginOutcome::Accepted,
        Err(error) if error.code() == ErrorCode::InvalidCredentials => LoginOutcome::Rejected,
        Err(error) if error.code() == ErrorCode::RateLimited => LoginOutcome::MustWait,
        Err(_) => LoginOutcome::Failed,
    });
    result
}

pub(super) async fn refresh(
    _: NoQuery,
    request: HttpRequest,
    RequestedBy(initiator): RequestedBy,
    Json(given): Json<wire::Refresh>,
    auth: web::Data<Auth>,
) -> Result<HttpResponse, ApiError> {
    let (token, delivery) = match given.refresh_token {
        Some(token) => (token, Delivery::Body),
        None => {
            let sent = auth.cookie(&request, &initiator)?;
            (sent.ok_or_else(no_refresh_token)?, Delivery::Cookie)
        }
    };
    let token = token.parse::<RefreshToken>().map_err(|_| invalid_refresh())?;
    match auth.accounts.refresh(&token, &initiator).await.map_err(store_failed)? {
        Refreshed::Next(account, next, issued_at) => {
            auth.tokens(&account, &next, issued_at, delivery)
        }
        Refreshed::Invalid => Err(invalid_refresh()),
        Refreshed::Reused(user) => {
            auth.metrics.reused();
            tracing::warn!(%user, "a refresh token was used twice: its login was ended");
            Err(invalid_refresh())
        }
    }
}

pub(super) async fn log_out(
    _: NoQuery,
    request: HttpRequest,
    caller: Option<CalledBy>,
    RequestedBy(initiator): RequestedBy,
    Json(mut given): Json<wire::Logout>,
    auth: web::Data<Auth>,
) -> Result<HttpResponse, ApiError> {
    let has_cookie = given.refresh_token.is_none() && {
        given.refresh_token = auth.cookie(&request, &initiator)?;
        given.refresh_token.is_some()
    };
    let execute = async |by: &Initiator| log_out_once(&auth, caller, given.clone(), by).await;
    let replay = replay_account(StatusCode::NO_CONTENT);
    let done = auth.repetitions.once(&request, initiator, "log_out", &given, replay, execute);
    let mut response = done.await?;
    if has_cookie {
        refresh_cookie::clear(&mut response)?;
    }
    Ok(response)
}

async fn log_out_once(
    auth: &Auth,
    caller: Option<CalledBy>,
    given: wire::Logout,
    initiator: &Initiator,
) -> Result<HttpResponse, ApiError> {
    let wire::Logout { refresh_token, everywhere } = given;
    if refresh_token.is_none() && !everywhere {
        let fault = "must have `refresh_token` or `everywhere: true`, or the cookie must be sent";
        let fault = FieldError::in_body("", fault);
        return Err(ApiError::invalid(ErrorCode::InvalidBody, vec![fault]));
    }
    // An unknown token has no login that could be ended.
    let token = refresh_token.and_then(|token| token.parse().ok());
    if everywhere {
        let CalledBy(identity) = caller.ok_or_else(identity::unauthorized)?;
        // The last change keeps the request's key.
        let keyed = initiator.keyed.filter(|_| token.is_none());
        let initiator = Initiator { keyed, ..initiator.clone() };
        let ended = auth.accounts.end_logins_of(&identity.user, &initiator).await;
        ended.map_err(store_failed)?;
    }
    if let Some(token) = token {
        auth.accounts.end_login(&token, initiator).await.map_err(store_failed)?;
    }
    Ok(without_body())
}

pub(super) async fn change_password(
    _: NoQuery,
    request: HttpRequest,
    RequestedBy(initiator): RequestedBy,
    CalledBy(identity): CalledBy,
    Json(given): Json<wire::ChangePassword>,
    auth: web::Data<Auth>,
) -> Result<HttpResponse, ApiError> {
    let execute = async |by: &Initiator| change_password_once(&auth, &identity, &given, by).await;
    let replay = replay_account(StatusCode::NO_CONTENT);
    auth.repetitions.once(&request, initiator, "change_password", &given, replay, execute).await
}

async fn change_password_once(
    auth: &Auth,
    identity: &Identity,
    given: &wire::ChangePassword,
    initiator: &Initiator,
) -> Result<HttpResponse, ApiError> {
    let verified = auth.verified(&identity.user, &given.current_password, initiator).await?;
    let account = verified.account;
    let new = Password::chosen(&given.new_password, &account.id, &account.name)
        .map_err(|error| weak(&error, "/new_password"))?;
    let hash = auth.passwords.hash(new).await.map_err(hash_failed)?;
    let changed = auth.accounts.set_password(&account.id, &hash, initiator).await;
    changed.map_err(store_failed)?;
    Ok(without_body())
}

pub(super) async fn me(
    _: NoQuery,
    CalledBy(identity): CalledBy,
    auth: web::Data<Auth>,
) -> Result<HttpResponse, ApiError> {
    let found = auth.accounts.find(&identity.user).await.map_err(store_failed)?;
    // The token outlives its user by at most a quarter of an hour.
    let found = found.ok_or_else(identity::unauthorized)?;
    response::no_store(StatusCode::OK, &to_wire(found.account))
}

pub(super) async fn jwks(_: NoQuery, auth: web::Data<Auth>) -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, HeaderValue::from_static("application/json")))
        // Shorter than a new key is published before it signs.
        .insert_header((CACHE_CONTROL, HeaderValue::from_static("public, max-age=30")))
        .body(auth.issuer.jwks())
}

impl Auth {
    /// The refresh token of the request's cookie.
    fn cookie(&self, request: &HttpRequest, by: &Initiator) -> Result<Option<String>, ApiError> {
        let sent = refresh_cookie::sent(request.headers());
        sent.inspect_err(|_| self.refusals.note(Action::Forbidden, by, None))
    }

    async fn log_in(
        &self,
        given: wire::Login,
        initiator: &Initiator,
        request: &HttpRequest,
    ) -> Result<HttpResponse, ApiError> {
        // No user has a malformed name: the response is that of an unknown one, after the same
        // work.
        let Ok(user) = given.username.parse::<Username>() else {
            let password = Password::given(&given.password);
            self.passwords.verify(password, None).await.map_err(hash_failed)?;
            self.refusals.note(Action::LoginRejected, initiator, None);
            return Err(invalid_credentials());
        };
        let Credentials { account, password_hash } =
            self.verified(&user, &given.password, initiator).await?;
        let password_hash = password_hash.ok_or_else(invalid_credentials)?;
        let delivery = if given.cookie { Delivery::Cookie } else { Delivery::Body };
        let token = RefreshToken::generate();
        let initiator = initiator.acting_as(&account.id);
        let begun =
            self.accounts.begin_login(&account.id, &password_hash, &token, &initiator).await;
        // Disabled or changed since the password was verified.
        let issued_at = begun.map_err(store_failed)?.ok_or_else(invalid_credentials)?;
        request.extensions_mut().insert(LoggedIn(account.id.clone()));
        self.tokens(&account, &token, issued_at, delivery)
    }

    /// The user, if the password is right and this address need not wait.
    async fn verified(
        &self,
        user: &Username,
        password: &str,
        initiator: &Initiator,
    ) -> Result<Credentials, ApiError> {
        let address = initiator.address.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        if let Some(wait) = self.attempts.wait(user, address).await {
            self.refusals.note(Action::LoginDelayed, initiator, Some(user));
            let seconds = wait.as_secs() + 1;
            let detail = format!("Too many failed logins; wait {seconds} s.");
            return Err(ApiError::new(ErrorCode::RateLimited, detail)
                .with_header(RETRY_AFTER, HeaderValue::from(seconds)));
        }
        let found = self.accounts.find(user).await.map_err(store_failed)?;
        let hash = found.as_ref().and_then(|found| found.password_hash.clone());
        let matches = self.passwords.verify(Password::given(password), hash).await;
        match found.filter(|_| matches.as_ref().is_ok_and(|matches| *matches)) {
            Some(found) => {
                self.attempts.succeeded(user, address).await;
                Ok(found)
            }
            None => {
                matches.map_err(hash_failed)?;
                self.attempts.failed(user, address).await;
                let rejected = match initiator.actor {
                    Actor::Anonymous | Actor::Operator => Action::LoginRejected,
                    Actor::User(_) => Action::PasswordRejected,
                };
                self.refusals.note(rejected, initiator, Some(user));
                Err(invalid_credentials())
            }
        }
    }

    fn tokens(
        &self,
        account: &Account,
        refresh: &RefreshToken,
        issued_at: Timestamp,
        delivery: Delivery,
    ) -> Result<HttpResponse, ApiError> {
        let access_token = self.issuer.issue(account, issued_at).map_err(|error| match error {
            IssueError::NoKey => {
                let detail = "This installation issues no tokens; its operator can set \
                              AUTH_KEYS_DIR.";
                ApiError::new(ErrorCode::LoginsUnavailable, detail)
            }
            IssueError::Claims(error) => ApiError::internal(error),
        })?;
        let tokens = wire::Tokens {
            access_token,
            token_type: wire::TokenType::Bearer,
            expires_in: ACCESS_TOKEN_S,
            refresh_token: match delivery {
                Delivery::Body => refresh.expose(),
                Delivery::Cookie => String::new(),
            },
        };
        let mut response = response::no_store(StatusCode::OK, &tokens)?;
        if delivery == Delivery::Cookie {
            refresh_cookie::set(&mut response, refresh)?;
        }
        Ok(response)
    }
}

pub(super) fn weak(error: &WeakPassword, pointer: &'static str) -> ApiError {
    let detail = "is too weak, too short or too long";
    ApiError::new(ErrorCode::WeakPassword, error.to_string())
        .with_errors([FieldError::in_body(pointer, detail)])
}

fn invalid_credentials() -> ApiError {
    ApiError::new(ErrorCode::InvalidCredentials, "The username or the password is wrong.")
}

fn invalid_refresh() -> ApiError {
    let detail = "The refresh token is unknown, expired or used, or its login was ended; log in \
                  again.";
    ApiError::new(ErrorCode::InvalidRefreshToken, detail)
}

fn no_refresh_token() -> ApiError {
    let fault = "must have `refresh_token`, or the cookie must be sent";
    ApiError::invalid(ErrorCode::InvalidBody, vec![FieldError::in_body("", fault)])
}

pub(super) fn hash_failed(error: HashError) -> ApiError {
    match error {
        HashError::Busy => {
            let detail = "Too many logins at once; nothing was done. Repeat the request shortly.";
            ApiError::new(ErrorCode::Overloaded, detail)
        }
        HashError::Failed(_) => ApiError::internal(error),
    }
}
