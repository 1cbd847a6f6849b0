//! Revocations: users are disabled under load, and none of what they had works soon after, on any
//! instance, also on one that was stopped meanwhile.
//!
//! `make revocation-test` disables 100 users and requires that it takes a second at most. The test
//! in CI disables a few and prints the time, since the machine may be busy.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use futures_util::stream::FuturesUnordered;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use local_stack::{Builds, Stack};
use proto_contracts::ErrorCode;
use proto_contracts::accounts::Tokens;
use reqwest::{Method, StatusCode};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout_at;

use crate::api::{Api, Created, SESSIONS};
use crate::response::Response;
use crate::small_stack;

const PASSWORD: &str = "correct horse battery staple";
const INSTANCES: [&str; 2] = ["stateful-1", "stateful-2"];
/// Users that are prepared, disabled and observed at a time.
const AT_ONCE: usize = 8;
/// Pause between two looks at what a disabled user had.
const STEP: Duration = Duration::from_millis(60);
/// Bounds a failing test.
const TIMEOUT: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_of_a_disabled_user_works_on_any_instance() -> Result<()> {
    let worst = disable_users(6).await?;
    eprintln!("the last request that worked was sent {worst:?} after the response");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures time: make revocation-test"]
async fn nothing_of_a_hundred_disabled_users_works_after_a_second() -> Result<()> {
    let worst = disable_users(100).await?;
    eprintln!(
        "100 users disabled under load: the last request that worked was sent, and the last stream \
         ended, {worst:?} after the response"
    );
    ensure!(worst <= Duration::from_secs(1), "it took {worst:?}");
    Ok(())
}

/// Disables half of the users while both instances run, and half while one is stopped. Returns the
/// longest time after the response at which a request of a user was sent that worked.
async fn disable_users(count: usize) -> Result<Duration> {
    let stack = Arc::new(small_stack().stateless(2).stateful(2).start().await?);
    let api = Api::on_gateway(&stack)?;
    let admin = make_admin(&stack, &api).await?;
    let users = stream::iter(0..count).map(|number| User::prepare(&stack, &api, number));
    let users = users.buffer_unordered(AT_ONCE).try_collect::<Vec<_>>().await?;
    let others = stream::iter(0..4).map(|number| User::prepare(&stack, &api, count + number));
    let others = others.buffer_unordered(AT_ONCE).try_collect::<Vec<_>>().await?;
    let load = Load::start(&stack, &users, &others)?;

    let (running, stopped) = users.split_at(count / 2);
    let while_running = disable(&api, &admin, running, &INSTANCES).await?;
    stack.pause(INSTANCES[1])?;
    let while_stopped = disable(&api, &admin, stopped, &INSTANCES[..1]).await;
    stack.resume(INSTANCES[1])?;
    let while_stopped = while_stopped?;
    eprintln!("worst: {while_running:?}; while an instance was stopped: {while_stopped:?}");
    // The first response of the instance that was stopped is a refusal.
    for user in stopped {
        ensure!(user.is_refused(INSTANCES[1]).await?, "{} is served after the stop", user.name);
    }
    for user in &users {
        user.await_ended_streams(&INSTANCES).await?;
    }
    load.stop().await?;
    for user in &others {
        ensure!(!user.is_refused(INSTANCES[0]).await?, "{} was not disabled", user.name);
    }
    drop((users, others));
    Arc::into_inner(stack).context("no other user of the stack")?.shutdown().await;
    Ok(while_running.max(while_stopped))
}

/// Disables these users and observes what they had on these instances.
async fn disable(
    api: &Api,
    admin: &str,
    users: &[User],
    instances: &[&'static str],
) -> Result<Duration> {
    let all = stream::iter(users).map(async |user| {
        let path = format!("/api/v1/users/{}", user.name);
        let request = api.request(Method::PATCH, &path).bearer_auth(admin);
        let disabled = Response::to(request.json(&json!({"disabled": true}))).await?;
        ensure!(disabled.status == 200, "{disabled}");
        let begin = Instant::now();
        user.await_refused(instances, begin).await
    });
    let times = all.buffer_unordered(AT_ONCE).try_collect::<Vec<_>>().await?;
    times.into_iter().max().context("users")
}

/// A user who is logged in, with a session on each instance, each with two streams and a ticket.
struct User {
    name: String,
    tokens: Tokens,
    sessions: Vec<UserSession>,
    gateway: Api,
}

struct UserSession {
    instance: &'static str,
    api: Api,
    path: String,
    ticket: String,
    stream: JoinHandle<()>,
    has_ended: watch::Receiver<Option<Instant>>,
}

impl User {
    async fn prepare(stack: &Stack, gateway: &Api, number: usize) -> Result<Self> {
        let name = format!("user-{number}");
        let tokens = log_in(gateway, &name).await?;
        let mut sessions = Vec::new();
        for instance in INSTANCES {
            let api = Api::on_instance(stack, instance)?;
            sessions.push(UserSession::open(instance, api, &tokens.access_token).await?);
        }
        Ok(Self { name, tokens, sessions, gateway: gateway.clone() })
    }

    /// Waits until nothing works. Returns when the last request was sent that worked, and the last
    /// stream ended, since `begin`. Looks don't wait for each other: one that is sent before the
    /// revocation takes effect may have to wait for the stopped instance.
    async fn await_refused(&self, instances: &[&'static str], begin: Instant) -> Result<Duration> {
        let body = json!({"refresh_token": self.tokens.refresh_token});
        let refreshed = self.gateway.post("/api/v1/auth/refresh", &body).await?;
        // In the transaction of the change.
        refreshed.problem(ErrorCode::InvalidRefreshToken);
        let mut last = Duration::ZERO;
        for instance in instances {
            let (mut looks, mut is_refused) = (FuturesUnordered::new(), false);
            while !is_refused || !looks.is_empty() {
                ensure!(begin.elapsed() < TIMEOUT, "{} is still served", self.name);
                if !is_refused {
                    let sent = begin.elapsed();
                    looks.push(async move { anyhow::Ok((self.is_refused(instance).await?, sent)) });
                }
                let next = Instant::now() + STEP;
                while let Ok(Some(look)) = timeout_at(next.into(), looks.next()).await {
                    match look? {
                        (true, _) => is_refused = true,
                        (false, sent) => last = last.max(sent),
                    }
                }
                tokio::time::sleep_until(next.into()).await;
            }
        }
        let ended = self.await_ended_streams(instances).await?;
        Ok(ended.map_or(last, |ended| last.max(ended.saturating_duration_since(begin))))
    }

    /// Whether an instance refuses all sessions of the user, reads, writes and tickets, and a new
    /// session.
    async fn is_refused(&self, instance: &str) -> Result<bool> {
        let token = &self.tokens.access_token;
        let api = &self.sessions.iter().find(|of| of.instance == instance).context("one")?.api;
        let mut statuses = Vec::new();
        for session in &self.sessions {
            let path = &session.path;
            let get = api.request(Method::GET, path).bearer_auth(token);
            statuses.push(get.send().await?.status());
            let post = api.request(Method::POST, &format!("{path}/messages")).bearer_auth(token);
            statuses.push(post.json(&json!({"message": "hi"})).send().await?.status());
            let ticket = format!("{path}/events?ticket={}", session.ticket);
            statuses.push(api.request(Method::GET, &ticket).send().await?.status());
        }
        for method in [Method::POST, Method::GET] {
            let request = api.request(method.clone(), SESSIONS).bearer_auth(token);
            let request = if method == Method::POST { request.json(&json!({})) } else { request };
            statuses.push(request.send().await?.status());
        }
        Ok(statuses.iter().all(|status| *status == StatusCode::UNAUTHORIZED))
    }

    /// Waits for the ends of the streams on these instances; returns the last.
    async fn await_ended_streams(&self, instances: &[&'static str]) -> Result<Option<Instant>> {
        let mut last = None;
        for session in self.sessions.iter().filter(|of| instances.contains(&of.instance)) {
            let mut has_ended = session.has_ended.clone();
            let ended = tokio::time::timeout(TIMEOUT, has_ended.wait_for(Option::is_some)).await;
            let ended = *ended.context("a stream stays open")??;
            last = last.max(ended);
        }
        Ok(last)
    }
}

impl UserSession {
    async fn open(instance: &'static str, api: Api, token: &str) -> Result<Self> {
        let create = api.request(Method::POST, SESSIONS).bearer_auth(token);
        let path = Created::by(create).await?.path();
        let ticket = api.request(Method::POST, &format!("{path}/tickets")).bearer_auth(token);
        let ticket: Value = Response::to(ticket.json(&json!({}))).await?.json();
        let ticket = ticket["ticket"].as_str().context("a ticket")?.to_owned();
        let events = api.request(Method::GET, &format!("{path}/events")).bearer_auth(token);
        let mut events = events.send().await?;
        ensure!(events.status() == 200, "{events:?}");
        let (ended, has_ended) = watch::channel(None);
        let stream = tokio::spawn(async move {
            while let Ok(Some(_)) = events.chunk().await {}
            ended.send_replace(Some(Instant::now()));
        });
        Ok(Self { instance, api, path, ticket, stream, has_ended })
    }
}

impl Drop for UserSession {
    fn drop(&mut self) {
        self.stream.abort();
    }
}

/// Requests of all users through the gateway. Those who are not disabled must get no refusal.
struct Load {
    stop: Arc<AtomicBool>,
    served: Arc<AtomicU64>,
    clients: Vec<JoinHandle<Result<()>>>,
}

impl Load {
    fn start(stack: &Stack, disabled: &[User], others: &[User]) -> Result<Self> {
        let (stop, served) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let client = |user: &User, must_succeed: bool| -> Result<_> {
            let api = Api::on_gateway(stack)?;
            let (stop, served) = (Arc::clone(&stop), Arc::clone(&served));
            let token = user.tokens.access_token.clone();
            let paths = user.sessions.iter().map(|of| of.path.clone()).collect::<Vec<_>>();
            Ok(tokio::spawn(async move {
                for path in paths.iter().cycle() {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    let read = api.request(Method::GET, path).bearer_auth(&token).send().await?;
                    if must_succeed && read.status() == StatusCode::UNAUTHORIZED {
                        bail!("a user who was not disabled is refused");
                    }
                    served.fetch_add(u64::from(read.status() == StatusCode::OK), Ordering::Relaxed);
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                Ok(())
            }))
        };
        let mut clients = Vec::new();
        // A few clients load two cores.
        for user in disabled.iter().step_by((disabled.len() / 4).max(1)) {
            clients.push(client(user, false)?);
        }
        for user in others {
            clients.push(client(user, true)?);
        }
        Ok(Self { stop, served, clients })
    }

    async fn stop(self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        for client in self.clients {
            client.await??;
        }
        ensure!(self.served.load(Ordering::Relaxed) > 0, "there was load");
        Ok(())
    }
}

async fn log_in(api: &Api, username: &str) -> Result<Tokens> {
    let body = json!({"username": username, "name": username, "password": PASSWORD});
    let registered = api.post("/api/v1/auth/register", &body).await?;
    ensure!(registered.status == 201, "{registered}");
    let body = json!({"username": username, "password": PASSWORD});
    let response = api.post("/api/v1/auth/login", &body).await?;
    ensure!(response.status == 200, "{response}");
    Ok(response.json())
}

/// The access token of a new admin.
async fn make_admin(stack: &Stack, api: &Api) -> Result<String> {
    let before = log_in(api, "root").await?;
    let granted =
        tokio::process::Command::new(Builds::beside_current_exe()?.binary("stateless-svc")?)
            .args(["user", "grant", "root", "admin"])
            .env("DATABASE_URL", stack.database_url().expose_secret())
            .output()
            .await?;
    ensure!(granted.status.success(), "{granted:?}");
    let body = json!({"refresh_token": before.refresh_token});
    let refreshed = api.post("/api/v1/auth/refresh", &body).await?;
    Ok(refreshed.json::<Tokens>().access_token)
}
