//! Each migration of the stateless service is applied to a schema with data, and keeps it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::pin::pin;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use secrecy::ExposeSecret as _;
use tokio_postgres::{Client, NoTls};

use crate::api::Api;
use crate::small_stack;
use crate::until::until;

/// Key of the lock under which an instance migrates.
const MIGRATION_LOCK: i64 = 0x7461_6e64_656d;
/// A product takes milliseconds.
const WAITS_FOR: Duration = Duration::from_millis(500);

/// What is written once a migration is applied, so that the next ones meet it: at least one row of
/// each new table.
const DATA: [(u32, &str); 7] = [
    (
        3,
        "INSERT INTO users (id, name, password_hash) VALUES ('ada', 'Ada Ω', '$argon2id$x'); \
         INSERT INTO users (id, name, role, password_hash, disabled_at) \
             VALUES ('root', 'Root', 'admin', '$argon2id$y', now()); \
         INSERT INTO users (id, name, password_hash, deleted_at) \
             VALUES ('gone', '(deleted)', '', now()); \
         INSERT INTO logins (id, user_id, expires_at) \
             VALUES (gen_random_uuid(), 'ada', now() + interval '30 days'); \
         INSERT INTO refresh_tokens (hash, login_id) SELECT sha256('token'), id FROM logins",
    ),
    (
        4,
        "CREATE TABLE audit_log_2026_11 PARTITION OF audit_log \
             FOR VALUES FROM ('2026-11-01 00:00:00+00') TO ('2026-12-01 00:00:00+00'); \
         INSERT INTO audit_log (id, at, actor_kind, actor, action, object, before, after) VALUES \
             (gen_random_uuid(), '2026-11-28Z', 'user', 'root', 'user_changed', 'ada', \
              '{\"name\": \"A\"}', '{\"name\": \"Ada Ω\"}'), \
             (gen_random_uuid(), '2026-12-01Z', 'operator', NULL, 'user_changed', 'ada', \
              NULL, NULL)",
    ),
    (5, "INSERT INTO revocations (user_id, not_before) VALUES ('ada', now())"),
    (
        6,
        "INSERT INTO idempotency_keys (key, fingerprint, account) \
         VALUES (sha256('key'), sha256('request'), '{\"id\": \"ada\"}')",
    ),
    (
        7,
        "INSERT INTO reservations (id, product_id, user_id, quantity) \
         VALUES (gen_random_uuid(), 'p001', 'ada', 2); \
         INSERT INTO idempotency_keys (key, fingerprint, outcome) \
         VALUES (sha256('key 7'), sha256('request'), '{\"product\": {\"id\": \"p001\"}}')",
    ),
    (
        9,
        "INSERT INTO files (id, owner, state, charged, name, size, sha256, content_type) \
         VALUES (gen_random_uuid(), 'ada', 'stored', 4096, 'Ω', 0, sha256(''), 'text/plain'); \
         INSERT INTO files (id, owner, state, charged, lease_until) \
         VALUES (gen_random_uuid(), 'ada', 'uploading', 4096, now())",
    ),
    (
        10,
        "INSERT INTO invitations (user_id, hash, expires_at) \
         VALUES ('ada', sha256('code'), now() + interval '7 days')",
    ),
];

#[tokio::test]
async fn each_migration_keeps_the_data_that_is_there() -> Result<()> {
    let stack = small_stack().start().await?;
    let url = stack.database_url();
    let (client, connection) = tokio_postgres::connect(url.expose_secret(), NoTls).await?;
    tokio::spawn(connection);
    client.batch_execute("CREATE SCHEMA migrated; SET search_path = migrated").await?;

    let mut expected = BTreeMap::new();
    let migrations = migrations()?;
    for (version, sql) in &migrations {
        // As the service does: a migration is one transaction.
        let applied = client.batch_execute(&format!("BEGIN; {sql}; COMMIT")).await;
        applied.with_context(|| format!("migration {version}"))?;
        let found = rows(&client).await?;
        for (table, rows) in &expected {
            let kept = found.get(table).is_some_and(|found| found >= rows);
            ensure!(kept, "V{version} lost rows of {table}: {found:?}");
        }
        if let Some((_, data)) = DATA.iter().find(|(after, _)| after == version) {
            client.batch_execute(data).await.with_context(|| format!("data of V{version}"))?;
        }
        expected = rows(&client).await?;
        // Of a table without rows, a later migration would not be tested.
        let empty: Vec<_> = expected.iter().filter(|(_, rows)| **rows == 0).collect();
        let is_last = Some(version) == migrations.keys().last();
        ensure!(*version < 2 || is_last || empty.is_empty(), "V{version}: no data in {empty:?}");
    }
    stack.shutdown().await;
    Ok(())
}

/// The gateway does not notice an instance that restarts between two health checks, and goes on
/// sending requests to it. They wait until the tables are those of its version.
#[tokio::test]
async fn an_instance_accepts_requests_once_its_schema_is_current() -> Result<()> {
    let stack = small_stack().start().await?;
    let url = stack.database_url();
    let (mut holder, connection) = tokio_postgres::connect(url.expose_secret(), NoTls).await?;
    tokio::spawn(connection);
    let (watcher, connection) = tokio_postgres::connect(url.expose_secret(), NoTls).await?;
    tokio::spawn(connection);
    stack.kill("stateless-1").await?;
    // Another instance migrates meanwhile, as it were.
    let migrating = holder.transaction().await?;
    migrating.execute("SELECT pg_advisory_xact_lock($1)", &[&MIGRATION_LOCK]).await?;
    let api = Api::on_instance(&stack, "stateless-1")?;
    let started = stack.start_component("stateless-1");
    let request = async {
        let waits = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted";
        until("the instance waits for the lock", async || {
            let waiting: i64 = watcher.query_one(waits, &[]).await?.try_get(0)?;
            Ok((waiting > 0).then_some(()))
        })
        .await?;
        // Its listener is bound before that, so the connection is established.
        let mut response = pin!(api.get("/api/v1/stateless/products/p001"));
        let early = tokio::time::timeout(WAITS_FOR, &mut response).await;
        ensure!(early.is_err(), "a response before the schema is current: {early:?}");
        migrating.commit().await?;
        let response = response.await?;
        ensure!(response.status == 200, "{response}");
        Ok(())
    };
    let (started, requested) = tokio::join!(started, request);
    requested?;
    started?;
    stack.shutdown().await;
    Ok(())
}

/// The migrations by version.
fn migrations() -> Result<BTreeMap<u32, String>> {
    let folder =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../services/stateless-svc/migrations");
    let mut migrations = BTreeMap::new();
    for entry in fs::read_dir(&folder)? {
        let path = entry?.path();
        let name = path.file_stem().and_then(|name| name.to_str()).context("a name")?;
        let version = name.strip_prefix('V').and_then(|name| name.split_once("__"));
        let (version, _) = version.with_context(|| format!("{name} has no version"))?;
        migrations.insert(version.parse()?, fs::read_to_string(&path)?);
    }
    Ok(migrations)
}

/// The number of rows of each table; partitions count for their table.
async fn rows(client: &Client) -> Result<BTreeMap<String, i64>> {
    let sql = "SELECT relname::text FROM pg_class WHERE relkind IN ('r', 'p') \
               AND NOT relispartition AND relnamespace = 'migrated'::regnamespace";
    let mut rows = BTreeMap::new();
    for table in client.query(sql, &[]).await? {
        let table: String = table.try_get(0)?;
        let count = client.query_one(&format!("SELECT count(*) FROM {table}"), &[]).await?;
        rows.insert(table, count.try_get(0)?);
    }
    Ok(rows)
}
