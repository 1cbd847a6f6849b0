//! Invitations: imported users set their first password.

use anyhow::{Context as _, Result, ensure};
use local_stack::{Builds, Stack};
use proto_contracts::accounts::User;
use proto_contracts::{ErrorCode, Role};
use reqwest::Method;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use super::users::{USERS, grant, patch, token_of};
use super::{AUTH, PASSWORD, database, log_in, register, tokens, with_token};
use crate::api::Api;
use crate::response::Response;
use crate::small_stack;

const OTHER: &str = "four unrelated bicycle words";

#[tokio::test]
async fn invitations() -> Result<()> {
    let stack = small_stack().stateless(2).start().await?;
    let api = Api::on_gateway(&stack)?;
    let admin = token_of(&stack, &api, "root", Role::Admin).await?;
    let database = database(&stack).await?;
    // As an import leaves them.
    let sql = "INSERT INTO users (id, name, role, password_hash) \
               SELECT 'guest-' || n, 'Guest ' || n, 'instructor', '' FROM generate_series(1, 9) n";
    database.execute(sql, &[]).await?;
    a_user_sets_its_first_password(&api, &admin, &database).await?;
    a_code_is_used_once(&api, &admin).await?;
    codes_that_cannot_be_used_look_alike(&api, &admin, &database).await?;
    a_weak_password_leaves_the_code(&api, &admin).await?;
    nobody_with_a_password_is_invited(&stack, &api, &admin).await?;
    the_command_line_invites(&stack, &api).await?;
    the_code_is_stored_nowhere(&stack, &api, &admin, &database).await?;
    stack.shutdown().await;
    Ok(())
}

async fn invite(api: &Api, admin: &str, user: &str) -> Result<Response> {
    with_token(api, Method::POST, &format!("{USERS}/{user}/invitation"), admin).await
}

async fn code(api: &Api, admin: &str, user: &str) -> Result<String> {
    let invited = invite(api, admin, user).await?;
    ensure!(invited.header("cache-control") == Some("no-store"), "{invited}");
    let invited = invited.object(201, &["code", "expires_at"]);
    Ok(invited["code"].as_str().context("a code")?.to_owned())
}

async fn accept(api: &Api, code: &str, password: &str) -> Result<Response> {
    let body = json!({"code": code, "password": password});
    api.post(&format!("{AUTH}/invitation"), &body).await
}

async fn a_user_sets_its_first_password(
    api: &Api,
    admin: &str,
    database: &tokio_postgres::Client,
) -> Result<()> {
    let code = code(api, admin, "guest-1").await?;
    log_in(api, "guest-1", PASSWORD).await?.problem(ErrorCode::InvalidCredentials);
    let accepted = accept(api, &code, PASSWORD).await?;
    ensure!(accepted.status == 200, "{accepted}");
    let user: User = accepted.json();
    assert_eq!((user.id.as_str(), user.role), ("guest-1", Role::Instructor));
    ensure!(log_in(api, "guest-1", PASSWORD).await?.status == 200);
    let page = "/api/v1/audit?object=guest-1&limit=100";
    let page: Value = with_token(api, Method::GET, page, admin).await?.json();
    let entries = page["entries"].as_array().context("entries")?;
    let found = |action: &str| entries.iter().find(|entry| entry["action"] == action).cloned();
    assert_eq!(found("user_invited").context("invited")?["actor"], "root");
    assert_eq!(found("invitation_accepted").context("accepted")?["actor"], "guest-1");
    let left = database.query("SELECT FROM invitations", &[]).await?;
    assert_eq!(left.len(), 0);
    Ok(())
}

async fn a_code_is_used_once(api: &Api, admin: &str) -> Result<()> {
    let code = code(api, admin, "guest-2").await?;
    let passwords = [PASSWORD, OTHER];
    let (one, other) =
        tokio::try_join!(accept(api, &code, passwords[0]), accept(api, &code, passwords[1]))?;
    let mut statuses = [one.status, other.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 401], "{one} {other}");
    // With a key the first response is repeated, and without one there is no invitation any more.
    let (code, key) =
        (self::code(api, admin, "guest-3").await?, "9b1deb4d-3b7d-4bad-9bdd-2b0d7b3dcb6d");
    let body = json!({"code": code, "password": PASSWORD});
    let request = || {
        let request = api.request(Method::POST, &format!("{AUTH}/invitation"));
        request.header("idempotency-key", key).json(&body)
    };
    let first: User = Response::to(request()).await?.json();
    let again = Response::to(request()).await?;
    ensure!(again.header("idempotency-replayed") == Some("true"), "{again}");
    assert_eq!(again.json::<User>(), first);
    accept(api, &code, OTHER).await?.problem(ErrorCode::InvalidInvitation);
    ensure!(log_in(api, "guest-3", PASSWORD).await?.status == 200);
    Ok(())
}

async fn codes_that_cannot_be_used_look_alike(
    api: &Api,
    admin: &str,
    database: &tokio_postgres::Client,
) -> Result<()> {
    let replaced = code(api, admin, "guest-4").await?;
    let expired = code(api, admin, "guest-4").await?;
    let sql = "UPDATE invitations SET expires_at = now() WHERE user_id = 'guest-4'";
    database.execute(sql, &[]).await?;
    let of_disabled = code(api, admin, "guest-5").await?;
    ensure!(patch(api, "guest-5", admin, json!({"disabled": true})).await?.status == 200);
    let of_deleted = code(api, admin, "guest-6").await?;
    let deleted = with_token(api, Method::DELETE, &format!("{USERS}/guest-6"), admin).await?;
    ensure!(deleted.status == 204, "{deleted}");
    let unknown = format!("inv_{}", "0".repeat(64));
    let mut details = Vec::new();
    for code in
        ["", "inv_", "\0", "' OR 1=1 --", &replaced, &expired, &of_disabled, &of_deleted, &unknown]
    {
        // Too weak: that is not said of a code that cannot be used.
        for password in [PASSWORD, "weak"] {
            let problem = accept(api, code, password).await?.problem(ErrorCode::InvalidInvitation);
            details.push((problem.detail, problem.errors));
        }
    }
    assert!(details.iter().all(|detail| *detail == details[0]), "{details:?}");
    // The user is disabled for a time only.
    ensure!(patch(api, "guest-5", admin, json!({"disabled": false})).await?.status == 200);
    ensure!(accept(api, &of_disabled, PASSWORD).await?.status == 200);
    invite(api, admin, "guest-6").await?.problem(ErrorCode::UserNotFound);
    Ok(())
}

async fn a_weak_password_leaves_the_code(api: &Api, admin: &str) -> Result<()> {
    let code = code(api, admin, "guest-7").await?;
    for weak in ["", "short", "guest-7guest-7", "password1"] {
        accept(api, &code, weak).await?.problem(ErrorCode::WeakPassword);
    }
    ensure!(accept(api, &code, PASSWORD).await?.status == 200);
    Ok(())
}

async fn nobody_with_a_password_is_invited(stack: &Stack, api: &Api, admin: &str) -> Result<()> {
    register(api, "ada").await?;
    for user in ["ada", "root", "guest-1"] {
        invite(api, admin, user).await?.problem(ErrorCode::UserHasPassword);
        let printed = invite_by_command(stack, user)?;
        assert_eq!(printed.status.code(), Some(73), "{printed:?}");
    }
    for nobody in ["nobody-at-all", "NOT%20A%20NAME"] {
        invite(api, admin, nobody).await?.problem(ErrorCode::UserNotFound);
    }
    assert_eq!(invite_by_command(stack, "nobody-at-all")?.status.code(), Some(1));
    let user = tokens(api, "ada").await?.access_token;
    invite(api, &user, "guest-8").await?.problem(ErrorCode::Forbidden);
    Ok(())
}

fn invite_by_command(stack: &Stack, user: &str) -> Result<std::process::Output> {
    let program = Builds::beside_current_exe()?.binary("stateless-svc")?;
    let mut command = std::process::Command::new(program);
    command.args(["user", "invite", user]);
    Ok(command.env("DATABASE_URL", stack.database_url().expose_secret()).output()?)
}

async fn the_command_line_invites(stack: &Stack, api: &Api) -> Result<()> {
    let printed = invite_by_command(stack, "guest-8")?;
    ensure!(printed.status.success(), "{printed:?}");
    let code = String::from_utf8(printed.stdout)?;
    let note = String::from_utf8(printed.stderr)?;
    assert!(note.starts_with("guest-8 sets a password with this code until 2"), "{note}");
    ensure!(accept(api, code.trim_end(), PASSWORD).await?.status == 200);
    ensure!(log_in(api, "guest-8", PASSWORD).await?.status == 200);
    // It can be the last admin from now on.
    ensure!(grant(stack, "guest-8", "admin")?.status.success());
    Ok(())
}

async fn the_code_is_stored_nowhere(
    stack: &Stack,
    api: &Api,
    admin: &str,
    database: &tokio_postgres::Client,
) -> Result<()> {
    let code = code(api, admin, "guest-9").await?;
    let secret = code.strip_prefix("inv_").context("a prefix")?;
    let sql = "SELECT encode(hash, 'hex') FROM invitations WHERE user_id = 'guest-9'";
    let hash: String = database.query_one(sql, &[]).await?.try_get(0)?;
    assert_ne!(hash, secret);
    let sql = "SELECT count(*) FROM audit_log a WHERE a::text LIKE '%' || $1 || '%'";
    assert_eq!(database.query_one(sql, &[&secret]).await?.try_get::<_, i64>(0)?, 0);
    accept(api, &code, PASSWORD).await?;
    for name in ["stateless-1", "stateless-2", "gateway"] {
        let log = std::fs::read_to_string(stack.log_path(name)?)?;
        assert!(!log.contains(secret), "the code is in the log of {name}");
    }
    Ok(())
}
