//! The users for whom clients claim sessions.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use http::header::{AUTHORIZATION, RETRY_AFTER};
use http::{HeaderValue, StatusCode};
use proto_contracts::Endpoint;
use proto_contracts::accounts::{Login, Register, Tokens};
use serde::Serialize;
use uuid::Uuid;

use crate::chaos::ledger::UserNumber;
use crate::client::{Client, Response, ScenarioRequest};
use crate::request;
use crate::target::Target;

pub(crate) const PASSWORD: &str = "correct horse battery staple";
/// A third of an access token's life, so that a login that fails during a fault does no harm.
const LOG_IN_EVERY: Duration = Duration::from_secs(5 * 60);
/// The pause after a failed login.
const LOG_IN_AGAIN_AFTER: Duration = Duration::from_secs(5);
/// Attempts, when the system limits how often an address may register and log in.
const ATTEMPTS: u32 = 10;
/// Fewer live sessions than a user may have (1,000), so that no claim is rejected.
const MOST_CLAIMS: u32 = 900;

/// A user of the run.
pub(crate) struct User {
    pub(crate) number: UserNumber,
    pub(crate) username: String,
    password: String,
    /// Its credentials. Never held across an await.
    authorization: RwLock<HeaderValue>,
    claims: AtomicU32,
}

impl User {
    /// One who has just logged in with the run's password.
    pub(crate) fn new(number: UserNumber, username: String, tokens: &Tokens) -> Result<Self> {
        let (password, authorization) = (PASSWORD.to_owned(), RwLock::new(bearer(tokens)?));
        Ok(Self { number, username, password, authorization, claims: AtomicU32::new(0) })
    }

    /// Adds the user's token.
    pub(crate) fn authorize(&self, request: &mut ScenarioRequest) {
        let token = self.authorization.read().unwrap_or_else(PoisonError::into_inner).clone();
        request.headers_mut().insert(AUTHORIZATION, token);
    }

    pub(crate) fn count_claim(&self) {
        self.claims.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn may_claim(&self) -> bool {
        self.claims.load(Ordering::Relaxed) < MOST_CLAIMS
    }
}

/// Registers so many users, and logs each in.
///
/// # Errors
/// When the system rejects them, although no fault was injected yet.
pub(crate) async fn register(target: &Arc<Target>, count: UserNumber) -> Result<Vec<Arc<User>>> {
    let mut client = Client::new(Arc::clone(target));
    let mut users = Vec::new();
    // A name is never issued again, and a running system may have had other runs.
    let run = Uuid::new_v4().simple().to_string();
    for number in 0..count {
        let username = format!("chaos-{run}-{number}");
        register_as(&mut client, &username).await?;
        users.push(Arc::new(known(&mut client, number, username, PASSWORD.to_owned()).await?));
    }
    Ok(users)
}

/// Registers one more user, who gets a role by `grant` before the login.
///
/// # Errors
/// When the system rejects it.
pub(crate) async fn admin(
    target: &Arc<Target>,
    grant: impl AsyncFnOnce(&str) -> Result<()>,
) -> Result<Arc<User>> {
    let mut client = Client::new(Arc::clone(target));
    let username = format!("chaos-{}-admin", Uuid::new_v4().simple());
    register_as(&mut client, &username).await?;
    grant(&username).await?;
    let number = UserNumber::MAX;
    Ok(Arc::new(known(&mut client, number, username, PASSWORD.to_owned()).await?))
}

/// Logs in a user whom somebody else made.
///
/// # Errors
/// When the system rejects the password.
pub(crate) async fn existing(
    target: &Arc<Target>,
    username: String,
    password: String,
) -> Result<Arc<User>> {
    let mut client = Client::new(Arc::clone(target));
    Ok(Arc::new(known(&mut client, UserNumber::MAX, username, password).await?))
}

async fn register_as(client: &mut Client, username: &str) -> Result<()> {
    let new = Register {
        username: username.to_owned(),
        name: "Chaos".to_owned(),
        password: PASSWORD.to_owned(),
    };
    let registered = post(client, Endpoint::Register, &new).await?;
    let status = registered.status;
    ensure!(status == StatusCode::CREATED, "cannot register a user: {status}");
    Ok(())
}

async fn known(
    client: &mut Client,
    number: UserNumber,
    username: String,
    password: String,
) -> Result<User> {
    let authorization = RwLock::new(log_in(client, &username, &password).await?);
    Ok(User { number, username, password, authorization, claims: AtomicU32::new(0) })
}

/// Replaces each user's token long before it expires. Runs until it is aborted.
pub(crate) async fn keep_logged_in(target: Arc<Target>, users: Vec<Arc<User>>) {
    let mut client = Client::new(target);
    loop {
        tokio::time::sleep(LOG_IN_EVERY).await;
        for user in &users {
            loop {
                match log_in(&mut client, &user.username, &user.password).await {
                    Ok(token) => {
                        *user.authorization.write().unwrap_or_else(PoisonError::into_inner) = token;
                        break;
                    }
                    Err(_during_a_fault) => tokio::time::sleep(LOG_IN_AGAIN_AFTER).await,
                }
            }
        }
    }
}

async fn log_in(client: &mut Client, username: &str, password: &str) -> Result<HeaderValue> {
    let (username, password) = (username.to_owned(), password.to_owned());
    let login = Login { username, password, cookie: false };
    let response = post(client, Endpoint::Login, &login).await?;
    let status = response.status;
    ensure!(status == StatusCode::OK, "cannot log in: {status}");
    bearer(&serde_json::from_slice(&response.body)?)
}

fn bearer(tokens: &Tokens) -> Result<HeaderValue> {
    Ok(HeaderValue::from_str(&format!("Bearer {}", tokens.access_token))?)
}

/// Waits as long as the response demands, and sends the request again.
async fn post(
    client: &mut Client,
    endpoint: Endpoint,
    body: &(impl Serialize + Sync),
) -> Result<Response> {
    let mut attempts = 0;
    loop {
        attempts += 1;
        let response = client.send(request::post(endpoint.templates().canonical, body)).await?;
        let Some(wait) = response.headers.get(RETRY_AFTER).filter(|_| attempts < ATTEMPTS) else {
            return Ok(response);
        };
        let seconds: u64 = wait.to_str()?.parse().context("no Retry-After in seconds")?;
        tokio::time::sleep(Duration::from_secs(seconds)).await;
    }
}
