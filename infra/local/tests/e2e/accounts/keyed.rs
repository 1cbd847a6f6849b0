//! `Idempotency-Key` on the operations on accounts: executed once, and no secret is stored.

use anyhow::Result;
use proto_contracts::accounts::{Tokens, User};
use proto_contracts::{ErrorCode, Role};
use reqwest::Method;
use reqwest::header::AUTHORIZATION;
use serde_json::{Value, json};

use super::users::{USERS, token_of};
use super::{AUTH, PASSWORD, database, log_in, post, refresh, register, tokens};
use crate::api::Api;
use crate::response::Response;
use crate::small_stack;

const NEW_PASSWORD: &str = "four unrelated bicycle words";
/// Sums of refused requests have no request id, and may be written at any time.
const CHANGES: &str = "SELECT count(*) FROM audit_log WHERE request_id IS NOT NULL";
const KEYS: &str = "SELECT count(*) FROM idempotency_keys";

#[tokio::test]
async fn keyed_changes_of_accounts() -> Result<()> {
    let stack = small_stack().with_nginx().stateless(2).start().await?;
    let api = Api::through_nginx(&stack)?;
    let database = database(&stack).await?;
    let count = async |query: &str| {
        let row = database.query_one(query, &[]).await?;
        anyhow::Ok(row.try_get::<_, i64>(0)?)
    };
    a_repetition_gets_the_first_response(&api, "ada").await?;
    a_key_is_for_one_request_of_one_caller(&api).await?;
    a_password_is_changed_once(&api).await?;
    a_logout_is_repeated(&api).await?;

    let admin = token_of(&stack, &api, "root", Role::Admin).await?;
    let before = count(CHANGES).await?;
    concurrent_repetitions_are_executed_once(&api, &admin).await?;
    assert_eq!(count(CHANGES).await? - before, 2);

    // A rejected request, and one without a key, keep none.
    let kept = count(KEYS).await?;
    let weak = json!({"username": "weak", "name": "x", "password": "password"});
    let call = Call { path: &format!("{AUTH}/register"), body: weak, ..POST };
    call.with_key(&api, "rejected-1").await?.problem(ErrorCode::WeakPassword);
    register(&api, "unkeyed").await?;
    assert_eq!(count(KEYS).await?, kept);
    let rows = database.query("SELECT k::text FROM idempotency_keys k", &[]).await?;
    assert!(rows.len() >= 5, "{}", rows.len());
    for row in rows {
        let row: &str = row.try_get(0)?;
        for secret in [PASSWORD, NEW_PASSWORD, "rt_", "eyJ", "$argon2", "-key-"] {
            assert!(!row.contains(secret), "{secret} is in {row}");
        }
    }
    stack.shutdown().await;
    Ok(())
}

/// A request with a body.
#[derive(Clone)]
struct Call<'a> {
    method: Method,
    path: &'a str,
    token: Option<&'a str>,
    body: Value,
}

const POST: Call<'static> = Call { method: Method::POST, path: "", token: None, body: Value::Null };

impl Call<'_> {
    async fn with_key(&self, api: &Api, key: &str) -> Result<Response> {
        let mut request = api.request(self.method.clone(), self.path);
        if let Some(token) = self.token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        Response::to(request.header("idempotency-key", key).json(&self.body)).await
    }
}

/// Asserts that it repeats the first response.
#[track_caller]
fn assert_replays(again: &Response, first: &Response) {
    assert_eq!((again.status, &again.body), (first.status, &first.body), "{again}");
    assert_eq!(again.header("idempotency-replayed"), Some("true"), "{again}");
    assert_eq!(again.header("cache-control"), Some("no-store"), "{again}");
}

pub(super) async fn a_repetition_gets_the_first_response(api: &Api, user: &str) -> Result<()> {
    let path = format!("{AUTH}/register");
    let body = json!({"username": user, "name": "Ada Ω", "password": PASSWORD});
    let call = Call { path: &path, body, ..POST };
    let first = call.with_key(api, "register-key-1").await?;
    assert_eq!((first.status, first.header("idempotency-replayed")), (201, None), "{first}");
    // Through either instance, and with the key in quotes.
    for key in ["register-key-1", "\"register-key-1\"", "register-key-1"] {
        assert_replays(&call.with_key(api, key).await?, &first);
    }
    // Another key is another request.
    call.with_key(api, "register-key-2").await?.problem(ErrorCode::UsernameTaken);

    let ada = tokens(api, user).await?.access_token;
    let path = format!("{USERS}/{user}");
    let call = Call {
        method: Method::PATCH,
        path: &path,
        token: Some(&ada),
        body: json!({"name": "Ada the First"}),
    };
    let first = call.with_key(api, "patch-key-1").await?;
    assert_eq!(first.json::<User>().name, "Ada the First");
    let other = Call { body: json!({"name": "Ada the Second"}), ..call.clone() };
    assert_eq!(other.with_key(api, "patch-key-2").await?.status, 200);
    // The first response, and the name stays the second one.
    assert_replays(&call.with_key(api, "patch-key-1").await?, &first);
    assert_eq!(super::me(api, &ada).await?.json::<User>().name, "Ada the Second");
    Ok(())
}

async fn a_key_is_for_one_request_of_one_caller(api: &Api) -> Result<()> {
    let path = format!("{AUTH}/register");
    let body = json!({"username": "ada", "name": "Ada Ω", "password": PASSWORD});
    for (member, value) in
        [("name", "Ada"), ("username", "eve"), ("password", "another password of hers")]
    {
        let mut body = body.clone();
        body[member] = value.into();
        let call = Call { path: &path, body, ..POST };
        call.with_key(api, "register-key-1").await?.problem(ErrorCode::IdempotencyKeyReused);
    }
    let logout = format!("{AUTH}/logout");
    let call = Call { path: &logout, body: json!({"refresh_token": "rt_x"}), ..POST };
    call.with_key(api, "register-key-1").await?.problem(ErrorCode::IdempotencyKeyReused);
    for malformed in ["short", "two words", "\"open", "bestellung-ü"] {
        let call = Call { path: &path, body: body.clone(), ..POST };
        call.with_key(api, malformed).await?.problem(ErrorCode::InvalidIdempotencyKey);
    }
    // Another user's key of the same text is another key.
    register(api, "bob").await?;
    let bob = tokens(api, "bob").await?.access_token;
    let path = format!("{USERS}/bob");
    let body = json!({"name": "Bob"});
    let call = Call { method: Method::PATCH, path: &path, token: Some(&bob), body };
    let patched = call.with_key(api, "patch-key-1").await?;
    assert_eq!((patched.status, patched.header("idempotency-replayed")), (200, None));
    Ok(())
}

async fn a_password_is_changed_once(api: &Api) -> Result<()> {
    register(api, "changer").await?;
    let login = tokens(api, "changer").await?;
    let path = format!("{AUTH}/password");
    let body = json!({"current_password": PASSWORD, "new_password": NEW_PASSWORD});
    let call = Call { path: &path, token: Some(&login.access_token), body, ..POST };
    let first = call.with_key(api, "password-key-1").await?;
    assert_eq!(first.status, 204, "{first}");
    let next: Tokens = log_in(api, "changer", NEW_PASSWORD).await?.json();
    // The present password is another one by now, and the login since then does not end.
    assert_replays(&call.with_key(api, "password-key-1").await?, &first);
    assert_eq!(refresh(api, &next.refresh_token).await?.status, 200);
    call.with_key(api, "password-key-2").await?.problem(ErrorCode::InvalidCredentials);
    Ok(())
}

async fn a_logout_is_repeated(api: &Api) -> Result<()> {
    register(api, "leaver").await?;
    let login = tokens(api, "leaver").await?;
    let path = format!("{AUTH}/logout");
    let everywhere = json!({"everywhere": true});
    for (key, body) in [
        ("logout-key-1", json!({"everywhere": true, "refresh_token": login.refresh_token})),
        ("logout-key-2", everywhere.clone()),
        ("logout-key-3", json!({"refresh_token": login.refresh_token})),
    ] {
        let call = Call { path: &path, token: Some(&login.access_token), body, ..POST };
        let first = call.with_key(api, key).await?;
        assert_eq!((first.status, first.header("idempotency-replayed")), (204, None), "{first}");
        assert_replays(&call.with_key(api, key).await?, &first);
    }
    // A repetition does not end logins that began since.
    let next = tokens(api, "leaver").await?;
    let call = Call { path: &path, token: Some(&login.access_token), body: everywhere, ..POST };
    assert_eq!(call.with_key(api, "logout-key-2").await?.status, 204);
    assert_eq!(refresh(api, &next.refresh_token).await?.status, 200);
    // Login and refresh take no key: each response has secrets of its own.
    let path = format!("{AUTH}/login");
    let body = json!({"username": "leaver", "password": PASSWORD});
    let call = Call { path: &path, body, ..POST };
    let (one, two) =
        (call.with_key(api, "login-key-1").await?, call.with_key(api, "login-key-1").await?);
    assert_ne!(one.json::<Tokens>().refresh_token, two.json::<Tokens>().refresh_token);
    assert_eq!(post(api, "logout", json!({"refresh_token": "rt_"})).await?.status, 204);
    Ok(())
}

async fn concurrent_repetitions_are_executed_once(api: &Api, admin: &str) -> Result<()> {
    let register = format!("{AUTH}/register");
    let user = format!("{USERS}/twice");
    let body = json!({"username": "twice", "name": "Twice", "password": PASSWORD});
    let register = Call { path: &register, body, ..POST };
    let patch = Call {
        method: Method::PATCH,
        path: &user,
        token: Some(admin),
        body: json!({"role": "instructor", "name": "Once"}),
    };
    for (call, key) in [(register, "concurrent-key-1"), (patch, "concurrent-key-2")] {
        let all = (0..6).map(|_| call.with_key(api, key));
        let all = futures_util::future::try_join_all(all).await?;
        for response in &all {
            assert_eq!((response.status, &response.body), (all[0].status, &all[0].body));
        }
        assert!(all[0].status < 300, "{}", all[0]);
        let first = |response: &&Response| response.header("idempotency-replayed").is_none();
        assert_eq!(all.iter().filter(first).count(), 1, "one was executed");
    }
    Ok(())
}
