//! Accounts: registration, logins, refresh tokens, and sessions that belong to a user.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use local_stack::Stack;
use proto_contracts::ErrorCode;
use proto_contracts::accounts::{Tokens, User};
use reqwest::Method;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use crate::api::{Api, Created, SESSIONS};
use crate::response::Response;
use crate::small_stack;

mod audit;
mod claims;
mod cookies;
mod hostile_text;
mod invitations;
mod keyed;
pub(crate) mod kills;
mod lost_commits;
mod matrix;
mod pgbouncer;
pub(crate) mod users;

const AUTH: &str = "/api/v1/auth";
const PASSWORD: &str = "correct horse battery staple";

#[tokio::test]
async fn accounts() -> Result<()> {
    let stack = small_stack().stateless(2).with_nginx().start().await?;
    let api = Api::through_nginx(&stack)?;
    a_user_registers_and_logs_in(&api).await?;
    bad_input_is_rejected_and_changes_nothing(&api).await?;
    a_wrong_password_and_an_unknown_user_look_alike(&api).await?;
    whoever_fails_waits_and_nobody_else_does(&stack, &api).await?;
    a_refresh_token_is_used_once(&api).await?;
    a_lost_response_of_a_refresh_is_repeated(&api).await?;
    concurrent_refreshes_of_one_token_have_one_successor(&api).await?;
    a_login_ends_when_it_was_long_enough(&stack, &api).await?;
    a_logout_ends_one_login_or_all(&api).await?;
    a_new_password_ends_all_logins(&api).await?;
    a_session_belongs_to_its_user(&api).await?;
    a_session_is_claimed_listed_and_ended(&api).await?;
    the_keys_are_published(&api).await?;
    no_secret_is_in_a_log(&stack).await?;
    stack.shutdown().await;
    Ok(())
}

/// A client of the stack's database.
pub(crate) async fn database(stack: &Stack) -> Result<tokio_postgres::Client> {
    let url = stack.database_url();
    let (client, connection) =
        tokio_postgres::connect(url.expose_secret(), tokio_postgres::NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

async fn post(api: &Api, path: &str, body: Value) -> Result<Response> {
    api.post(&format!("{AUTH}/{path}"), &body).await
}

pub(crate) async fn register(api: &Api, username: &str) -> Result<User> {
    let body = json!({"username": username, "name": username, "password": PASSWORD});
    let response = post(api, "register", body).await?;
    anyhow::ensure!(response.status == 201, "{response}");
    Ok(response.json())
}

async fn log_in(api: &Api, username: &str, password: &str) -> Result<Response> {
    post(api, "login", json!({"username": username, "password": password})).await
}

pub(crate) async fn tokens(api: &Api, username: &str) -> Result<Tokens> {
    let response = log_in(api, username, PASSWORD).await?;
    anyhow::ensure!(response.status == 200, "{response}");
    Ok(response.json())
}

async fn refresh(api: &Api, token: &str) -> Result<Response> {
    post(api, "refresh", json!({"refresh_token": token})).await
}

pub(crate) async fn with_token(
    api: &Api,
    method: Method,
    path: &str,
    token: &str,
) -> Result<Response> {
    Response::to(api.request(method, path).bearer_auth(token)).await
}

async fn me(api: &Api, token: &str) -> Result<Response> {
    with_token(api, Method::GET, &format!("{AUTH}/me"), token).await
}

async fn a_user_registers_and_logs_in(api: &Api) -> Result<()> {
    let body = json!({"username": "ada", "name": " Ada Lovelace ", "password": PASSWORD});
    let registered = post(api, "register", body).await?;
    let user = registered.object(201, &["id", "name", "role", "created_at"]);
    assert_eq!((&user["id"], &user["name"]), (&json!("ada"), &json!("Ada Lovelace")));
    assert_eq!(user["role"], "user");

    let logged_in = log_in(api, "ada", PASSWORD).await?;
    let members = ["access_token", "token_type", "expires_in", "refresh_token"];
    let tokens = logged_in.object(200, &members);
    assert_eq!((&tokens["token_type"], &tokens["expires_in"]), (&json!("Bearer"), &json!(900)));
    assert_eq!(logged_in.header("cache-control"), Some("no-store"));
    let access = tokens["access_token"].as_str().context("text")?;
    assert_eq!(me(api, access).await?.json::<Value>(), user);

    api.get(&format!("{AUTH}/me")).await?.problem(ErrorCode::Unauthorized);
    me(api, "nonsense").await?.problem(ErrorCode::InvalidToken);
    // One character of the signature.
    let mut forged = access.to_owned();
    let changed = forged.len() - 10..forged.len() - 9;
    let other = if &forged[changed.clone()] == "A" { "B" } else { "A" };
    forged.replace_range(changed, other);
    me(api, &forged).await?.problem(ErrorCode::InvalidToken);
    Ok(())
}

async fn bad_input_is_rejected_and_changes_nothing(api: &Api) -> Result<()> {
    let good = json!({"username": "grace", "name": "Grace", "password": PASSWORD});
    for (member, value, code) in [
        ("username", json!("ada"), ErrorCode::UsernameTaken),
        ("username", json!("Grace"), ErrorCode::InvalidBody),
        ("username", json!("gr"), ErrorCode::InvalidBody),
        ("username", json!("a'; DROP TABLE users; --"), ErrorCode::InvalidBody),
        ("username", json!("gra\u{0}ce"), ErrorCode::InvalidBody),
        ("username", json!("grаce"), ErrorCode::InvalidBody), // A Cyrillic letter.
        ("username", json!(7), ErrorCode::InvalidBody),
        ("name", json!(""), ErrorCode::InvalidBody),
        ("name", json!("gra\u{0}ce"), ErrorCode::InvalidBody),
        ("password", json!("short"), ErrorCode::WeakPassword),
        ("password", json!("password1234"), ErrorCode::WeakPassword),
        ("password", json!("p".repeat(129)), ErrorCode::WeakPassword),
        ("role", json!("admin"), ErrorCode::InvalidBody),
    ] {
        let mut body = good.clone();
        body[member] = value;
        let problem = post(api, "register", body).await?.problem(code);
        let pointer = problem.errors.first().and_then(|error| error.pointer.as_deref());
        assert_eq!(pointer, Some(&*format!("/{member}")), "{problem:?}");
    }
    log_in(api, "grace", PASSWORD).await?.problem(ErrorCode::InvalidCredentials);
    // SQL in a name is text.
    let name = "Robert'); DROP TABLE users;-- 李";
    let body = json!({"username": "bobby", "name": name, "password": PASSWORD});
    assert_eq!(post(api, "register", body).await?.json::<User>().name, name);
    Ok(())
}

async fn a_wrong_password_and_an_unknown_user_look_alike(api: &Api) -> Result<()> {
    register(api, "known").await?;
    let wrong = log_in(api, "known", "another password").await?;
    let unknown = log_in(api, "unknown", "another password").await?;
    let malformed = log_in(api, "NOT A USERNAME", "another password").await?;
    let shown = |response: &Response| {
        let problem = response.problem(ErrorCode::InvalidCredentials);
        (problem.title, problem.detail, problem.errors)
    };
    assert_eq!(shown(&wrong), shown(&unknown));
    assert_eq!(shown(&wrong), shown(&malformed));
    Ok(())
}

async fn whoever_fails_waits_and_nobody_else_does(stack: &Stack, api: &Api) -> Result<()> {
    register(api, "guessed").await?;
    // Asked in turn, they count together.
    let instances =
        [Api::on_instance(stack, "stateless-1")?, Api::on_instance(stack, "stateless-2")?];
    let turns = AtomicUsize::new(0);
    let from = |address: &'static str| {
        let body = |password: &str| json!({"username": "guessed", "password": password});
        let (instances, turns) = (&instances, &turns);
        async move |password: &str| {
            let turn = turns.fetch_add(1, Ordering::Relaxed);
            let request = instances[turn % 2].request(Method::POST, &format!("{AUTH}/login"));
            let request = request.header("x-forwarded-for", address).json(&body(password));
            Response::to(request).await
        }
    };
    let (attacker, user) = (from("192.0.2.1"), from("192.0.2.2"));
    let mut failures = 0;
    let (asked, seconds) = loop {
        let asked = Instant::now();
        let response = attacker("a guess").await?;
        if response.status == 401 {
            response.problem(ErrorCode::InvalidCredentials);
            failures += 1;
            // An instance that counted its own alone would wait 4 s after nine of both.
            assert!(failures <= 7, "each failure doubles the wait");
            continue;
        }
        response.problem(ErrorCode::RateLimited);
        assert!(failures >= 3, "the first two are free");
        let seconds: u64 = response.header("retry-after").context("Retry-After")?.parse()?;
        // Long enough that the next request comes before its end on any machine.
        if seconds >= 4 {
            break (asked, seconds);
        }
        tokio::time::sleep(Duration::from_secs(seconds)).await;
    };
    // The right password must wait, too: the response tells nothing about it.
    let right = attacker(PASSWORD).await?;
    let waited = asked.elapsed();
    assert!(right.status == 429 || waited >= Duration::from_secs(seconds - 1), "{right}");
    assert_eq!(user(PASSWORD).await?.status, 200);
    Ok(())
}

async fn a_refresh_token_is_used_once(api: &Api) -> Result<()> {
    register(api, "thief-victim").await?;
    let first = tokens(api, "thief-victim").await?;
    let second: Tokens = refresh(api, &first.refresh_token).await?.json();
    assert_ne!(second.refresh_token, first.refresh_token);
    let third: Tokens = refresh(api, &second.refresh_token).await?.json();
    assert_eq!(me(api, &third.access_token).await?.status, 200);
    // Its successor was used, so this is no repetition: someone else has the token.
    refresh(api, &first.refresh_token).await?.problem(ErrorCode::InvalidRefreshToken);
    // So the whole login has ended, and another login has not.
    refresh(api, &third.refresh_token).await?.problem(ErrorCode::InvalidRefreshToken);
    tokens(api, "thief-victim").await?;
    for malformed in ["", "rt_", "x", &first.refresh_token.to_uppercase(), &first.access_token] {
        refresh(api, malformed).await?.problem(ErrorCode::InvalidRefreshToken);
    }
    Ok(())
}

async fn a_lost_response_of_a_refresh_is_repeated(api: &Api) -> Result<()> {
    register(api, "unlucky").await?;
    let first = tokens(api, "unlucky").await?;
    let lost: Tokens = refresh(api, &first.refresh_token).await?.json();
    let again: Tokens = refresh(api, &first.refresh_token).await?.json();
    assert_eq!(again.refresh_token, lost.refresh_token);
    assert_eq!(refresh(api, &again.refresh_token).await?.status, 200);
    Ok(())
}

async fn concurrent_refreshes_of_one_token_have_one_successor(api: &Api) -> Result<()> {
    register(api, "hasty").await?;
    let token = tokens(api, "hasty").await?.refresh_token;
    let all = futures_util::future::try_join_all((0..8).map(|_| refresh(api, &token))).await?;
    let next: Vec<_> = all.iter().map(|response| response.json::<Tokens>().refresh_token).collect();
    assert!(next.iter().all(|token| *token == next[0]), "one successor");
    assert_eq!(refresh(api, &next[0]).await?.status, 200);
    Ok(())
}

/// 30 days without a refresh, and 90 days in all.
async fn a_login_ends_when_it_was_long_enough(stack: &Stack, api: &Api) -> Result<()> {
    let database = database(stack).await?;
    register(api, "lasting").await?;
    for (last_refresh, login, ends) in [(29, 89, false), (31, 89, true), (29, 91, true)] {
        let token = tokens(api, "lasting").await?.refresh_token;
        let older = format!(
            "UPDATE logins SET created_at = now() - interval '{login} days', \
             expires_at = expires_at - interval '{last_refresh} days' \
             WHERE user_id = 'lasting' AND ended_at IS NULL AND created_at > now() - interval '1 day'"
        );
        assert_eq!(database.execute(&older, &[]).await?, 1);
        let response = refresh(api, &token).await?;
        if ends {
            response.problem(ErrorCode::InvalidRefreshToken);
        } else {
            assert_eq!(response.status, 200, "{response}");
        }
    }
    Ok(())
}

async fn a_logout_ends_one_login_or_all(api: &Api) -> Result<()> {
    register(api, "leaver").await?;
    let (phone, desk, laptop) =
        (tokens(api, "leaver").await?, tokens(api, "leaver").await?, tokens(api, "leaver").await?);
    let body = json!({"refresh_token": phone.refresh_token});
    assert_eq!(post(api, "logout", body.clone()).await?.status, 204);
    assert_eq!(post(api, "logout", body).await?.status, 204, "a repetition changes nothing");
    refresh(api, &phone.refresh_token).await?.problem(ErrorCode::InvalidRefreshToken);
    let desk: Tokens = refresh(api, &desk.refresh_token).await?.json();

    post(api, "logout", json!({})).await?.problem(ErrorCode::InvalidBody);
    post(api, "logout", json!({"everywhere": true})).await?.problem(ErrorCode::Unauthorized);
    let everywhere = api
        .request(Method::POST, &format!("{AUTH}/logout"))
        .bearer_auth(&desk.access_token)
        .json(&json!({"everywhere": true}));
    assert_eq!(Response::to(everywhere).await?.status, 204);
    for token in [desk.refresh_token, laptop.refresh_token] {
        refresh(api, &token).await?.problem(ErrorCode::InvalidRefreshToken);
    }
    Ok(())
}

async fn a_new_password_ends_all_logins(api: &Api) -> Result<()> {
    register(api, "changer").await?;
    let (one, other) = (tokens(api, "changer").await?, tokens(api, "changer").await?);
    let change = async |current: &str, new: &str| {
        let request = api
            .request(Method::POST, &format!("{AUTH}/password"))
            .bearer_auth(&one.access_token)
            .json(&json!({"current_password": current, "new_password": new}));
        Response::to(request).await
    };
    let new = "four unrelated bicycle words";
    change("wrong", new).await?.problem(ErrorCode::InvalidCredentials);
    change(PASSWORD, "changer1").await?.problem(ErrorCode::WeakPassword);
    assert_eq!(refresh(api, &other.refresh_token).await?.status, 200);
    assert_eq!(change(PASSWORD, new).await?.status, 204);
    refresh(api, &one.refresh_token).await?.problem(ErrorCode::InvalidRefreshToken);
    log_in(api, "changer", PASSWORD).await?.problem(ErrorCode::InvalidCredentials);
    assert_eq!(log_in(api, "changer", new).await?.status, 200);
    Ok(())
}

async fn a_session_belongs_to_its_user(api: &Api) -> Result<()> {
    register(api, "owner").await?;
    register(api, "other").await?;
    let (owner, other) = (tokens(api, "owner").await?, tokens(api, "other").await?);
    let create = api.request(Method::POST, SESSIONS).bearer_auth(&owner.access_token);
    let created: Value = Response::to(create.json(&json!({}))).await?.json();
    let path = format!("{SESSIONS}/{}", created["session_id"].as_str().context("an id")?);
    assert_eq!(with_token(api, Method::GET, &path, &owner.access_token).await?.status, 200);
    let theirs = with_token(api, Method::GET, &path, &other.access_token).await?;
    theirs.problem(ErrorCode::SessionNotFound);
    api.get(&path).await?.problem(ErrorCode::SessionNotFound);
    Ok(())
}

/// A visitor's session becomes the user's at the login, and ends with the user's others.
async fn a_session_is_claimed_listed_and_ended(api: &Api) -> Result<()> {
    register(api, "claimer").await?;
    let token = tokens(api, "claimer").await?.access_token;
    let session = |id: &str| format!("{SESSIONS}/{id}");
    let old = Created::by(api.request(Method::POST, SESSIONS)).await?.id;
    let claim = format!("{}/claim", session(&old));
    let claimed = with_token(api, Method::POST, &claim, &token).await?;
    anyhow::ensure!(claimed.status == 200, "{claimed}");
    let body: Value = claimed.json();
    let new = body["session_id"].as_str().context("an id")?;
    assert!(new[..8] == old[..8] && new != old, "the same affinity key");
    let again = with_token(api, Method::POST, &claim, &token).await?;
    assert_eq!(again.json::<Value>(), body);
    for (id, status) in [(old.as_str(), 404), (new, 200)] {
        let read = with_token(api, Method::GET, &session(id), &token).await?;
        assert_eq!(read.status, status, "{read}");
    }
    let listed: Value = with_token(api, Method::GET, SESSIONS, &token).await?.json();
    assert_eq!(listed["sessions"].as_array().map(Vec::len), Some(1), "{listed}");
    let ended = with_token(api, Method::DELETE, SESSIONS, &token).await?;
    assert_eq!(ended.status, 204, "{ended}");
    let read = with_token(api, Method::GET, &session(new), &token).await?;
    assert_eq!(read.status, 404, "{read}");
    Ok(())
}

async fn the_keys_are_published(api: &Api) -> Result<()> {
    let keys: Value = api.get("/.well-known/jwks.json").await?.json();
    let [key] = &keys["keys"].as_array().context("keys")?[..] else {
        anyhow::bail!("one key: {keys}");
    };
    assert_eq!(
        (&key["kty"], &key["crv"], &key["kid"]),
        (&json!("OKP"), &json!("Ed25519"), &json!("1"))
    );
    assert!(key.get("d").is_none(), "no private part");
    Ok(())
}

async fn no_secret_is_in_a_log(stack: &Stack) -> Result<()> {
    for name in ["stateless-1", "stateful-1", "gateway"] {
        let log = std::fs::read_to_string(stack.log_path(name)?)?;
        assert!(!log.is_empty(), "{name} writes a log");
        for secret in [PASSWORD, "rt_", "eyJ"] {
            assert!(!log.contains(secret), "{secret} is in the log of {name}");
        }
    }
    Ok(())
}
