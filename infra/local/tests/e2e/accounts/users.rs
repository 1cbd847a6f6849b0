//! Users and their roles.

use std::io::Write as _;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use local_stack::{Builds, Stack};
use proto_contracts::accounts::{User, UserPage};
use proto_contracts::{ErrorCode, Role};
use reqwest::Method;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use super::{PASSWORD, log_in, me, refresh, register, tokens, with_token};
use crate::api::Api;
use crate::response::Response;
use crate::small_stack;

pub(super) const USERS: &str = "/api/v1/users";

#[tokio::test]
async fn users_and_roles() -> Result<()> {
    let stack = small_stack().with_nginx().start().await?;
    let api = Api::through_nginx(&stack)?;
    let admin = the_command_line_makes_the_first_admin(&stack, &api).await?;
    token_of(&stack, &api, "plain-user", Role::User).await?;
    token_of(&stack, &api, "teacher", Role::Instructor).await?;
    admins_list_users_page_by_page(&api, &admin).await?;
    users_see_and_change_themselves_alone(&api).await?;
    a_disabled_user_cannot_log_in(&api, &admin).await?;
    a_deleted_username_is_never_issued_again(&api, &admin).await?;
    the_last_admin_stays_one(&api, &admin).await?;
    the_command_line_creates_users(&stack, &api).await?;
    stack.shutdown().await;
    Ok(())
}

pub(super) fn grant(stack: &Stack, user: &str, role: &str) -> Result<std::process::Output> {
    let program = Builds::beside_current_exe()?.binary("stateless-svc")?;
    Command::new(program)
        .args(["user", "grant", user, role])
        .env("DATABASE_URL", stack.database_url().expose_secret())
        .output()
        .context("stateless-svc runs")
}

/// Passes the password by standard input, not by an argument, which other users could see.
fn create(stack: &Stack, user: &str, role: &str, password: &str) -> Result<std::process::Output> {
    let program = Builds::beside_current_exe()?.binary("stateless-svc")?;
    let mut child = Command::new(program)
        .args(["user", "create", user, "--role", role, "--password-file=-"])
        .env("DATABASE_URL", stack.database_url().expose_secret())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    child.stdin.take().context("piped")?.write_all(password.as_bytes())?;
    Ok(child.wait_with_output()?)
}

async fn the_command_line_creates_users(stack: &Stack, api: &Api) -> Result<()> {
    // A repetition changes nothing, or the role alone.
    for role in ["user", "instructor", "instructor"] {
        let created = create(stack, "operator", role, &format!("{PASSWORD}\n"))?;
        let printed = String::from_utf8_lossy(&created.stdout);
        assert_eq!(printed, format!("operator has the role {role} now.\n"), "{created:?}");
        let token = tokens(api, "operator").await?.access_token;
        assert_eq!(me(api, &token).await?.json::<User>().role.as_str(), role);
    }
    for (password, status, fault) in [
        ("another long passphrase", 73, "the username operator is taken"),
        ("short", 1, "fewer than 8 characters"),
        ("", 1, "fewer than 8 characters"),
    ] {
        let created = create(stack, "operator", "admin", password)?;
        let printed = String::from_utf8_lossy(&created.stderr);
        assert_eq!(created.status.code(), Some(status), "{created:?}");
        assert!(printed.contains(fault), "{printed}");
    }
    let token = tokens(api, "operator").await?.access_token;
    assert_eq!(me(api, &token).await?.json::<User>().role, Role::Instructor);
    Ok(())
}

/// Registers a user of this role, and returns an access token.
pub(crate) async fn token_of(stack: &Stack, api: &Api, user: &str, role: Role) -> Result<String> {
    register(api, user).await?;
    if role != Role::User {
        let granted = grant(stack, user, role.as_str())?;
        anyhow::ensure!(granted.status.success(), "{granted:?}");
    }
    Ok(tokens(api, user).await?.access_token)
}

async fn the_command_line_makes_the_first_admin(stack: &Stack, api: &Api) -> Result<String> {
    let unknown = grant(stack, "root", "admin")?;
    assert_eq!(unknown.status.code(), Some(1));
    assert_eq!(String::from_utf8_lossy(&unknown.stderr), "error: there is no such user\n");
    let wrong = grant(stack, "root", "king")?;
    assert_eq!(wrong.status.code(), Some(2), "{wrong:?}");
    let admin = token_of(stack, api, "root", Role::Admin).await?;
    assert_eq!(me(api, &admin).await?.json::<User>().role, Role::Admin);
    Ok(admin)
}

async fn admins_list_users_page_by_page(api: &Api, admin: &str) -> Result<()> {
    let list = async |query: &str| {
        let page = with_token(api, Method::GET, &format!("{USERS}?{query}"), admin).await?;
        anyhow::Ok((page.json::<UserPage>(), page))
    };
    let (all, _) = list("limit=100").await?;
    let ids: Vec<_> = all.users.iter().map(|user| user.id.as_str()).collect();
    assert_eq!(ids, ["plain-user", "root", "teacher"]);
    let (first, response) = list("limit=2").await?;
    assert_eq!(first.users, all.users[..2]);
    let cursor = first.next_cursor.context("a next page")?;
    let link = response.header("link").context("Link")?;
    assert!(link.contains(&format!("<?limit=2&cursor={cursor}>; rel=\"next\"")), "{link}");
    let (second, _) = list(&format!("limit=2&cursor={cursor}")).await?;
    assert_eq!((&second.users[..], second.next_cursor), (&all.users[2..], None));
    let (admins, _) = list("role=admin").await?;
    assert_eq!(admins.users, all.users[1..2]);
    for (query, code) in [
        ("limit=0", ErrorCode::InvalidQuery),
        ("limit=101", ErrorCode::InvalidQuery),
        ("role=king", ErrorCode::InvalidQuery),
        ("cursor=zz", ErrorCode::InvalidCursor),
        ("order=desc", ErrorCode::InvalidQuery),
    ] {
        with_token(api, Method::GET, &format!("{USERS}?{query}"), admin).await?.problem(code);
    }
    Ok(())
}

pub(super) async fn patch(api: &Api, user: &str, token: &str, body: Value) -> Result<Response> {
    let request = api.request(Method::PATCH, &format!("{USERS}/{user}"));
    Response::to(request.bearer_auth(token).json(&body)).await
}

async fn users_see_and_change_themselves_alone(api: &Api) -> Result<()> {
    let token = tokens(api, "plain-user").await?.access_token;
    let own = format!("{USERS}/plain-user");
    assert_eq!(with_token(api, Method::GET, &own, &token).await?.status, 200);
    for other in ["root", "nobody-at-all", "NOT A NAME", "%00"] {
        let path = format!("{USERS}/{}", other.replace(' ', "%20"));
        let response = with_token(api, Method::GET, &path, &token).await?;
        assert!([400, 404].contains(&response.status), "{other}: {response}");
    }
    let renamed = patch(api, "plain-user", &token, json!({"name": "Plain User"})).await?;
    assert_eq!(renamed.json::<User>().name, "Plain User");
    for body in [json!({"role": "admin"}), json!({"disabled": false})] {
        patch(api, "plain-user", &token, body).await?.problem(ErrorCode::Forbidden);
    }
    patch(api, "root", &token, json!({"name": "x"})).await?.problem(ErrorCode::UserNotFound);
    patch(api, "plain-user", &token, json!({"id": "y"})).await?.problem(ErrorCode::InvalidBody);
    patch(api, "plain-user", &token, json!({"name": ""})).await?.problem(ErrorCode::InvalidBody);
    Ok(())
}

pub(super) async fn a_disabled_user_cannot_log_in(api: &Api, admin: &str) -> Result<()> {
    let login = tokens(api, "teacher").await?;
    let disabled = patch(api, "teacher", admin, json!({"disabled": true})).await?;
    assert!(disabled.json::<User>().disabled);
    refresh(api, &login.refresh_token).await?.problem(ErrorCode::InvalidRefreshToken);
    log_in(api, "teacher", PASSWORD).await?.problem(ErrorCode::InvalidCredentials);
    let enabled = patch(api, "teacher", admin, json!({"disabled": false})).await?;
    assert_eq!(enabled.object(200, &["id", "name", "role", "created_at"])["role"], "instructor");
    assert_eq!(log_in(api, "teacher", PASSWORD).await?.status, 200);
    refresh(api, &login.refresh_token).await?.problem(ErrorCode::InvalidRefreshToken);
    Ok(())
}

async fn a_deleted_username_is_never_issued_again(api: &Api, admin: &str) -> Result<()> {
    let path = format!("{USERS}/plain-user");
    let token = tokens(api, "plain-user").await?.access_token;
    assert_eq!(with_token(api, Method::DELETE, &path, &token).await?.status, 204);
    let again = with_token(api, Method::DELETE, &path, admin).await?;
    again.problem(ErrorCode::UserNotFound);
    log_in(api, "plain-user", PASSWORD).await?.problem(ErrorCode::InvalidCredentials);
    // Its access token outlives it, and shows nothing.
    me(api, &token).await?.problem(ErrorCode::Unauthorized);
    let body = json!({"username": "plain-user", "name": "x", "password": PASSWORD});
    super::post(api, "register", body).await?.problem(ErrorCode::UsernameTaken);
    Ok(())
}

pub(super) async fn the_last_admin_stays_one(api: &Api, admin: &str) -> Result<()> {
    for body in [json!({"role": "user"}), json!({"disabled": true})] {
        patch(api, "root", admin, body).await?.problem(ErrorCode::LastAdmin);
    }
    let path = format!("{USERS}/root");
    with_token(api, Method::DELETE, &path, admin).await?.problem(ErrorCode::LastAdmin);

    // Of two admins that remove each other at the same time, one stays.
    patch(api, "teacher", admin, json!({"role": "admin"})).await?;
    let teacher = tokens(api, "teacher").await?.access_token;
    let (root, other) = tokio::try_join!(
        patch(api, "root", &teacher, json!({"role": "user"})),
        patch(api, "teacher", admin, json!({"role": "user"})),
    )?;
    let mut statuses = [root.status, other.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 409], "{root} {other}");
    Ok(())
}
