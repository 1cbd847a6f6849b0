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

const PASSWORD: &str = "correct horse battery staple";
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
    username: String,
    /// Its credentials. Never held across an await.
    authorization: RwLock<HeaderValue>,
    claims: AtomicU32,
}

impl User {
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
        let new = Register {
            username: username.clone(),
            name: "Chaos".to_owned(),
            password: PASSWORD.to_owned(),
        };
        let registered = post(&mut client, Endpoint::Register, &new).await?;
        let status = registered.status;
        ensure!(status == StatusCode::CREATED, "cannot register a user: {status}");
        let authorization = RwLock::new(log_in(&mut client, &username).await?);
        users.push(Arc::new(User { number, username, authorization, claims: AtomicU32::new(0) }));
    }
    Ok(users)
}

/// Replaces each user's token long before it expires. Runs until it is aborted.
pub(crate) async fn keep_logged_in(target: Arc<Target>, users: Vec<Arc<User>>) {
    let mut client = Client::new(target);
    loop {
        tokio::time::sleep(LOG_IN_EVERY).await;
        for user in &users {
            loop {
                match log_in(&mut client, &user.username).await {
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

async fn log_in(client: &mut Client, username: &str) -> Result<HeaderValue> {
    let login =
        Login { username: username.to_owned(), password: PASSWORD.to_owned(), cookie: false };
    let response = post(client, Endpoint::Login, &login).await?;
    let status = response.status;
    ensure!(status == StatusCode::OK, "cannot log in: {status}");
    let tokens: Tokens = serde_json::from_slice(&response.body)?;
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
