//! The audit log: one entry for each change, sums of refusals, and no secret.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use local_stack::Stack;
use proto_contracts::accounts::REFRESH_COOKIE;
use proto_contracts::audit::{AuditAction, AuditEntry, AuditPage};
use proto_contracts::{ErrorCode, Role};
use reqwest::Method;
use serde_json::{Value, json};
use tokio_postgres::Client;

use super::users::{USERS, grant, patch, token_of};
use super::{AUTH, PASSWORD, database, log_in, post, refresh, register, tokens, with_token};
use crate::api::{Api, Created, SESSIONS};
use crate::response::Response;
use crate::small_stack;
use crate::until::{until, until_within};

const AUDIT: &str = "/api/v1/audit";
const NEW_PASSWORD: &str = "four unrelated bicycle words";

#[tokio::test]
async fn audit_log() -> Result<()> {
    let stack = small_stack().with_nginx().start().await?;
    let api = Api::through_nginx(&stack)?;
    let admin = token_of(&stack, &api, "root", Role::Admin).await?;
    let log = Log { api: &api, admin, database: database(&stack).await? };
    let mut secrets = vec![log.admin.clone()];
    secrets.extend(each_change_has_one_entry(&stack, &log).await?);
    secrets.extend(refusals_are_summed(&stack, &log).await?);
    entries_are_filtered_and_paged(&log).await?;
    hostile_queries_are_rejected(&log).await?;
    no_secret_is_in_the_log(&log, &secrets).await?;
    changes_outlive_their_partition(&stack, &log).await?;
    stack.shutdown().await;
    Ok(())
}

struct Log<'a> {
    api: &'a Api,
    admin: String,
    database: Client,
}

impl Log<'_> {
    async fn page(&self, query: &str) -> Result<Response> {
        with_token(self.api, Method::GET, &format!("{AUDIT}?{query}"), &self.admin).await
    }

    /// All entries that a filter lets through, the newest first.
    async fn entries(&self, filter: &str) -> Result<Vec<AuditEntry>> {
        let mut entries = Vec::new();
        let mut cursor = String::new();
        loop {
            let response = self.page(&format!("limit=7&{filter}{cursor}")).await?;
            ensure!(response.status == 200, "{response}");
            let page: AuditPage = response.json();
            entries.extend(page.entries);
            match page.next_cursor {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return Ok(entries),
            }
        }
    }

    /// The only entry of a request.
    async fn entry_of(&self, response: &Response) -> Result<AuditEntry> {
        let id = response.request_id();
        let mut entries = self.entries("").await?;
        entries.retain(|entry| entry.request_id == Some(id));
        ensure!(entries.len() == 1, "one entry for {response}: {entries:?}");
        entries.pop().context("an entry")
    }

    async fn rows(&self, query: &str) -> Result<i64> {
        Ok(self.database.query_one(query, &[]).await?.try_get(0)?)
    }
}

/// Who did what to whom.
fn shown(entry: &AuditEntry) -> (&str, &str, Option<&str>, Option<&str>) {
    (&entry.action, &entry.actor_kind, entry.actor.as_deref(), entry.object.as_deref())
}

/// Returns the secrets that the requests had.
async fn each_change_has_one_entry(stack: &Stack, log: &Log<'_>) -> Result<Vec<String>> {
    let Log { api, admin, .. } = log;
    let body = json!({"username": "ada", "name": "Ada", "password": PASSWORD});
    let registered = log.entry_of(&post(api, "register", body).await?).await?;
    assert_eq!(shown(&registered), ("user_registered", "anonymous", None, Some("ada")));
    let plain = json!({"name": "Ada", "role": "user", "disabled": false});
    assert_eq!((&registered.before, &registered.after), (&None, &Some(plain.clone())));
    assert_eq!((registered.address.as_deref(), registered.count), (Some("127.0.0.1"), 1));

    let logged_in = log_in(api, "ada", PASSWORD).await?;
    let login: proto_contracts::accounts::Tokens = logged_in.json();
    let entry = log.entry_of(&logged_in).await?;
    assert_eq!(shown(&entry), ("logged_in", "user", Some("ada"), Some("ada")));

    let promoted = patch(api, "ada", admin, json!({"role": "instructor"})).await?;
    let entry = log.entry_of(&promoted).await?;
    assert_eq!(shown(&entry), ("user_changed", "user", Some("root"), Some("ada")));
    let instructor = json!({"name": "Ada", "role": "instructor", "disabled": false});
    assert_eq!((entry.before, entry.after), (Some(plain.clone()), Some(instructor)));
    // What changes nothing is no change.
    let again = patch(api, "ada", admin, json!({"role": "instructor"})).await?;
    assert_eq!(again.status, 200, "{again}");
    assert!(log.entry_of(&again).await.is_err());
    // Nor is what was rejected.
    let rejected = patch(api, "root", admin, json!({"disabled": true})).await?;
    rejected.problem(ErrorCode::LastAdmin);
    assert!(log.entry_of(&rejected).await.is_err());

    assert!(grant(stack, "ada", "user")?.status.success());
    let newest = log.entries("object=ada").await?;
    assert_eq!(shown(&newest[0]), ("user_changed", "operator", None, Some("ada")));
    assert_eq!((newest[0].request_id, &newest[0].address), (None, &None));
    assert_eq!(newest[0].after, Some(plain.clone()));

    let body = json!({"current_password": PASSWORD, "new_password": NEW_PASSWORD});
    let request = api.request(Method::POST, &format!("{AUTH}/password"));
    let changed = Response::to(request.bearer_auth(&login.access_token).json(&body)).await?;
    let entry = log.entry_of(&changed).await?;
    assert_eq!(shown(&entry), ("password_changed", "user", Some("ada"), Some("ada")));
    assert_eq!(entry.after, Some(json!({"logins_ended": 1})));

    let next: proto_contracts::accounts::Tokens = log_in(api, "ada", NEW_PASSWORD).await?.json();
    let logged_out = post(api, "logout", json!({"refresh_token": next.refresh_token})).await?;
    let entry = log.entry_of(&logged_out).await?;
    assert_eq!(shown(&entry), ("logged_out", "user", Some("ada"), Some("ada")));
    let again = post(api, "logout", json!({"refresh_token": next.refresh_token})).await?;
    assert_eq!(again.status, 204, "{again}");
    assert!(log.entry_of(&again).await.is_err());

    let stolen: proto_contracts::accounts::Tokens = log_in(api, "ada", NEW_PASSWORD).await?.json();
    let second: proto_contracts::accounts::Tokens =
        refresh(api, &stolen.refresh_token).await?.json();
    let third: proto_contracts::accounts::Tokens =
        refresh(api, &second.refresh_token).await?.json();
    let reused = refresh(api, &stolen.refresh_token).await?;
    let entry = log.entry_of(&reused).await?;
    assert_eq!(shown(&entry), ("refresh_token_reused", "anonymous", None, Some("ada")));

    let path = format!("{USERS}/ada");
    let deleted = with_token(api, Method::DELETE, &path, &third.access_token).await?;
    let entry = log.entry_of(&deleted).await?;
    assert_eq!(shown(&entry), ("user_deleted", "user", Some("ada"), Some("ada")));
    assert_eq!((entry.before, entry.after), (Some(plain), None));
    Ok([login, next, stolen, second, third]
        .into_iter()
        .flat_map(|tokens| [tokens.access_token, tokens.refresh_token])
        .collect())
}

/// Returns the secrets that the requests had.
async fn refusals_are_summed(stack: &Stack, log: &Log<'_>) -> Result<Vec<String>> {
    register(log.api, "guessed").await?;
    let tokens = tokens(log.api, "guessed").await?;
    let instance = Api::on_instance(stack, "stateless-1")?;
    let from = async |address: &str, user: &str| {
        let request = instance.request(Method::POST, &format!("{AUTH}/login"));
        let body = json!({"username": user, "password": "a wrong guess"});
        Response::to(request.header("x-forwarded-for", address).json(&body)).await
    };
    // A password in the place of a username is in no entry either.
    for user in ["guessed", "hunter2-secret", "guessed", "NOT A NAME", "guessed", "guessed"] {
        assert!([401, 429].contains(&from("192.0.2.7", user).await?.status));
    }
    for host in 1..=3 {
        from(&format!("2001:db8::{host}"), "guessed").await?.problem(ErrorCode::InvalidCredentials);
    }
    for _ in 0..3 {
        with_token(log.api, Method::GET, USERS, &tokens.access_token)
            .await?
            .problem(ErrorCode::Forbidden);
    }
    let request = log.api.request(Method::POST, &format!("{AUTH}/refresh"));
    let request = request.header("cookie", format!("{REFRESH_COOKIE}={}", tokens.refresh_token));
    let foreign = request.header("origin", "https://other.example").json(&json!({}));
    Response::to(foreign).await?.problem(ErrorCode::OriginNotAllowed);
    let body = json!({"current_password": "a wrong guess", "new_password": NEW_PASSWORD});
    let request = log.api.request(Method::POST, &format!("{AUTH}/password"));
    let rejected = Response::to(request.bearer_auth(&tokens.access_token).json(&body)).await?;
    rejected.problem(ErrorCode::InvalidCredentials);

    for (action, address, requests) in [
        (AuditAction::LoginRejected, "192.0.2.7", 6),
        (AuditAction::LoginRejected, "2001:db8::/64", 3),
        (AuditAction::Forbidden, "127.0.0.1", 4),
        (AuditAction::PasswordRejected, "127.0.0.1", 1),
    ] {
        let sums = until(&format!("{action} of {address}"), async || {
            let mut sums = log.entries(&format!("action={action}")).await?;
            if action == AuditAction::LoginRejected {
                // The fourth and later ones may have had to wait.
                sums.extend(log.entries("action=login_delayed").await?);
            }
            sums.retain(|sum| sum.address.as_deref() == Some(address));
            let counted: u64 = sums.iter().map(|sum| sum.count).sum();
            ensure!(counted <= requests, "{sums:?}");
            Ok((counted == requests).then_some(sums))
        })
        .await?;
        // The minute may have ended meanwhile.
        assert!(sums.len() <= 4, "{sums:?}");
        let mut named = BTreeSet::new();
        for sum in &sums {
            let users = sum.after.as_ref().and_then(|after| after["users"].as_array());
            named.extend(users.context("users")?.iter().map(ToString::to_string));
            assert_eq!((sum.request_id, sum.actor.as_deref()), (None, None), "{sum:?}");
            assert!(sum.at.to_string().ends_with(":00.000Z"), "{sum:?}");
        }
        assert_eq!(named, BTreeSet::from(["\"guessed\"".to_owned()]), "{sums:?}");
    }
    Ok(vec!["hunter2-secret".to_owned(), tokens.access_token, tokens.refresh_token])
}

async fn entries_are_filtered_and_paged(log: &Log<'_>) -> Result<()> {
    let all = log.entries("").await?;
    assert!(all.len() > 15, "{}", all.len());
    assert!(all.is_sorted_by(|newer, older| newer.at >= older.at), "the newest first");
    let mut ids: Vec<_> = all.iter().map(|entry| &entry.id).collect();
    ids.dedup();
    assert_eq!(ids.len(), all.len(), "none twice");

    let first = log.page("limit=2&object=ada").await?;
    assert_eq!(first.header("cache-control"), Some("no-store"));
    let page: AuditPage = first.json();
    let cursor = page.next_cursor.context("a next page")?;
    let link = first.header("link").context("Link")?;
    let next = format!("<?limit=2&object=ada&cursor={cursor}>; rel=\"next\"");
    assert!(link.contains(&next), "{link}");

    let expect = async |filter: String, test: &dyn Fn(&AuditEntry) -> bool| {
        let found = log.entries(&filter).await?;
        let expected: Vec<_> = all.iter().filter(|entry| test(entry)).cloned().collect();
        assert!(!expected.is_empty(), "{filter}");
        assert_eq!(found, expected, "{filter}");
        anyhow::Ok(())
    };
    expect("actor=root".into(), &|entry| entry.actor.as_deref() == Some("root")).await?;
    expect("object=ada".into(), &|entry| entry.object.as_deref() == Some("ada")).await?;
    expect("action=logged_in".into(), &|entry| entry.action == "logged_in").await?;
    let (from, to) = (all[9].at, all[3].at);
    expect(format!("from={from}&to={to}"), &|entry| (from..to).contains(&entry.at)).await?;
    expect(format!("to={to}&object=ada&actor=ada"), &|entry| {
        entry.at < to && shown(entry).2 == Some("ada") && shown(entry).3 == Some("ada")
    })
    .await
}

async fn hostile_queries_are_rejected(log: &Log<'_>) -> Result<()> {
    for (query, code, parameter) in [
        ("limit=0", ErrorCode::InvalidQuery, "limit"),
        ("limit=101", ErrorCode::InvalidQuery, "limit"),
        ("actor=' OR 1=1 --", ErrorCode::InvalidQuery, "actor"),
        ("actor=a%01b", ErrorCode::InvalidQuery, "actor"),
        ("object=Ada", ErrorCode::InvalidQuery, "object"),
        ("object=", ErrorCode::InvalidQuery, "object"),
        ("action=everything", ErrorCode::InvalidQuery, "action"),
        ("from=yesterday", ErrorCode::InvalidQuery, "from"),
        ("from=2026-11-28T17:00:00Z&to=2026-11-28T17:00:00Z", ErrorCode::InvalidQuery, "to"),
        ("order=asc", ErrorCode::InvalidQuery, "order"),
        ("cursor=zz", ErrorCode::InvalidCursor, "cursor"),
        // Those of other lists: the username `ada`, and a UUID without a valid time.
        ("cursor=616461", ErrorCode::InvalidCursor, "cursor"),
        (
            "cursor=66666666666666666666666666666666666666666666666666666666666666666666666666666666",
            ErrorCode::InvalidCursor,
            "cursor",
        ),
    ] {
        let problem = log.page(&query.replace(' ', "%20")).await?.problem(code);
        let named = problem.errors.first().and_then(|error| error.parameter.as_deref());
        assert_eq!(named, Some(parameter), "{query}: {problem:?}");
    }
    let far = log.page("from=-009000-01-01T00:00:00Z&to=9999-12-30T00:00:00Z&limit=1").await?;
    assert_eq!(far.status, 200, "{far}");
    Ok(())
}

async fn no_secret_is_in_the_log(log: &Log<'_>, secrets: &[String]) -> Result<()> {
    let session = Created::by(log.api.request(Method::POST, SESSIONS).bearer_auth(&log.admin));
    let session = session.await?.id;
    let fixed = [PASSWORD, NEW_PASSWORD, "a wrong guess", &session, "rt_", "eyJ", "$argon2"];
    let rows = log.database.query("SELECT audit_log::text FROM audit_log", &[]).await?;
    assert!(rows.len() > 15, "{}", rows.len());
    for row in rows {
        let row: &str = row.try_get(0)?;
        for secret in secrets.iter().map(String::as_str).chain(fixed) {
            assert!(!row.contains(secret), "{secret} is in {row}");
        }
    }
    Ok(())
}

/// A month without a partition loses nothing, and gets its rows back. Old partitions are dropped.
async fn changes_outlive_their_partition(stack: &Stack, log: &Log<'_>) -> Result<()> {
    let name = "SELECT to_char(now() AT TIME ZONE 'UTC' + interval '{} months', \
                '\"audit_log_\"YYYY_MM')";
    let partition = async |ahead: i32| {
        let query = name.replace("{}", &ahead.to_string());
        anyhow::Ok(log.database.query_one(&query, &[]).await?.try_get::<_, String>(0)?)
    };
    let (current, next, after_next) =
        (partition(0).await?, partition(1).await?, partition(2).await?);
    // On a busy machine the first attempt gives up, and the next one is half a minute later.
    let there = format!(
        "SELECT count(*) FROM pg_class WHERE relname IN ('{current}', '{next}', '{after_next}')"
    );
    until_within(Duration::from_secs(60), "each month has its partition", async || {
        Ok((log.rows(&there).await? == 3).then_some(()))
    })
    .await?;
    for present in [&current, &next, &after_next] {
        assert_eq!(
            log.rows(&format!("SELECT count(*) FROM {present}")).await? > 0,
            *present == current
        );
    }
    let in_default = "SELECT count(*) FROM audit_log_default";
    assert_eq!(log.rows(in_default).await?, 0);

    stack.stop("stateless-1").await?;
    log.database
        .batch_execute(&format!(
            "BEGIN; ALTER TABLE audit_log DETACH PARTITION {current}; \
             INSERT INTO audit_log SELECT * FROM {current}; DROP TABLE {current}; \
             CREATE TABLE audit_log_2020_02 PARTITION OF audit_log \
                 FOR VALUES FROM ('2020-02-01 00:00:00+00') TO ('2020-03-01 00:00:00+00'); \
             INSERT INTO audit_log (id, at, actor_kind, action) VALUES \
                 (gen_random_uuid(), '2020-02-07Z', 'operator', 'user_changed'), \
                 (gen_random_uuid(), '2020-01-07Z', 'operator', 'user_changed'); \
             INSERT INTO idempotency_keys (key, fingerprint, created_at) VALUES \
                 (sha256('old'), sha256('x'), now() - interval '25 hours'), \
                 (sha256('young'), sha256('x'), now() - interval '23 hours'); COMMIT"
        ))
        .await?;
    let before = log.rows("SELECT count(*) FROM audit_log WHERE at > '2021-01-01Z'").await?;
    assert_eq!(log.rows(in_default).await?, before + 1);
    assert!(grant(stack, "guessed", "instructor")?.status.success());
    assert_eq!(log.rows(in_default).await?, before + 2, "a change is recorded without a partition");

    let after = before + 1 + a_change_waits_for_its_partition(stack, log).await?;
    until("the rows are in their partition", async || {
        Ok((log.rows(in_default).await? == 0).then_some(()))
    })
    .await?;
    assert_eq!(log.rows(&format!("SELECT count(*) FROM {current}")).await?, after);
    assert_eq!(log.rows("SELECT count(*) FROM audit_log").await?, after);
    let old = "SELECT count(*) FROM pg_class WHERE relname = 'audit_log_2020_02'";
    assert_eq!(log.rows(old).await?, 0, "older than the retention");
    until("the old key is deleted", async || {
        let kept = log.rows("SELECT count(*) FROM idempotency_keys").await?;
        ensure!(kept >= 1, "the young key is kept");
        Ok((kept == 1).then_some(()))
    })
    .await?;
    let newest: Value = until("the log is read again", async || {
        let page = log.page("limit=1").await?;
        Ok((page.status == 200).then(|| page.json()))
    })
    .await?;
    assert_eq!(newest["entries"][0]["object"], "guessed");
    users_are_counted(stack, log).await
}

/// Starts the service, which creates the missing partition, and adds an entry while it waits to do
/// so: behind it, then, so that it exists when the entry is added. Returns how many were added.
async fn a_change_waits_for_its_partition(stack: &Stack, log: &Log<'_>) -> Result<i64> {
    let mut database = database(stack).await?;
    let reader = database.transaction().await?;
    reader.query("SELECT FROM audit_log", &[]).await?;
    let waiting = "SELECT count(*) FROM pg_locks JOIN pg_class c ON c.oid = relation \
                   WHERE NOT granted AND c.relname LIKE 'audit_log%' AND mode = ";
    let service_waits = format!("{waiting} 'AccessExclusiveLock'");
    let change_waits = format!("{waiting} 'RowExclusiveLock'");
    let mut changes = 0;
    let change = loop {
        changes += 1;
        stack.start_component("stateless-1").await?;
        until("the service waits", async || {
            Ok((log.rows(&service_waits).await? == 1).then_some(()))
        })
        .await?;
        let client = super::database(stack).await?;
        let change = tokio::spawn(async move {
            let sql = "INSERT INTO audit_log (id, at, actor_kind, action, object) VALUES \
                       (gen_random_uuid(), now(), 'operator', 'user_changed', 'guessed')";
            client.execute(sql, &[]).await
        });
        let waits = until("the change waits too", async || {
            let waits = log.rows(&change_waits).await? == 1;
            Ok((waits || change.is_finished()).then_some(waits))
        });
        if waits.await? {
            break change;
        }
        // The service gave up before, as it does within a second.
        change.await??;
        stack.stop("stateless-1").await?;
    };
    reader.commit().await?;
    change.await?.context("the change that waited")?;
    Ok(changes)
}

/// By the instance that was restarted just now: each minute would be too late here.
async fn users_are_counted(stack: &Stack, log: &Log<'_>) -> Result<()> {
    let kinds = "SELECT role || ' ' || CASE WHEN disabled_at IS NULL THEN 'active' ELSE 'disabled' END, \
                 count(*) FROM users WHERE deleted_at IS NULL GROUP BY 1";
    let mut lines = Vec::new();
    for row in log.database.query(kinds, &[]).await? {
        let (kind, count): (String, i64) = (row.try_get(0)?, row.try_get(1)?);
        let (role, state) = kind.split_once(' ').context("role and state")?;
        lines.push(format!("accounts_users{{role=\"{role}\",state=\"{state}\"}} {count}"));
    }
    assert!(lines.len() >= 2, "{lines:?}");
    lines.push("accounts_users{role=\"user\",state=\"disabled\"} 0".to_owned());
    let instance = Api::on_instance(stack, "stateless-1")?;
    until("the users are counted", async || {
        let metrics = String::from_utf8(instance.get("/metrics").await?.body)?;
        Ok(lines.iter().all(|line| metrics.lines().any(|shown| shown == line)).then_some(()))
    })
    .await
}
