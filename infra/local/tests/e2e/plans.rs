//! `make plans` prints how long lists of many products and many audit entries take, and the plans of
//! PostgreSQL.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use local_stack::Stack;
use proto_contracts::Role;
use reqwest::Method;
use tokio_postgres::Client;

use crate::accounts::database;
use crate::accounts::users::token_of;
use crate::api::Api;
use crate::response::Response;
use crate::small_stack;
use crate::until::until;

/// A page takes less, beside whatever else this machine does.
const LONGEST: Duration = Duration::from_secs(3);
/// PostgreSQL reads a smaller table faster than an index of it.
const LARGE: i64 = 1_000_000;
/// Actions of the generated entries, the most frequent first. The last one is rare.
const ACTIONS: [&str; 5] =
    ["product_reserved", "logged_in", "product_changed", "file_uploaded", "user_deleted"];

fn rows(variable: &str, default: i64) -> i64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[tokio::test]
#[ignore = "takes minutes: make plans"]
async fn plans_of_a_million_products() -> Result<()> {
    let many = rows("PLANS_PRODUCTS", 1_000_000);
    let stack = small_stack().stateless(1).start().await?;
    let api = Api::on_instance(&stack, "stateless-1")?;
    let database = database(&stack).await?;
    let insert = "INSERT INTO products (id, name, price, stock, created_at) \
                  SELECT 'm' || n, 'Part ' || n || ' of ' || md5(n::text), n % 100000 / 100.0, \
                         n % 7, '2026-01-01Z'::timestamptz + n * interval '1 second' \
                  FROM generate_series(1, $1::bigint) AS n";
    ensure!(database.execute(insert, &[&many]).await? == many.unsigned_abs());
    database.batch_execute("VACUUM ANALYZE products").await?;
    log_plans(&stack).await?;
    let listed = Listed { stack: &stack, table: "products", rows: many };
    let get = async |query: &str| api.get(&format!("/api/v1/stateless/products?{query}")).await;
    for query in [
        "limit=100",
        "limit=100&sort=-id",
        "limit=100&sort=name",
        "limit=100&sort=-name",
        "limit=100&sort=price",
        "limit=100&sort=-price",
        "limit=100&sort=created_at",
        "limit=100&sort=-created_at",
        "sort=price&min_price=500&in_stock=true",
        "q=part+4711&sort=price",
        "q=bell",
        "q=part",
    ] {
        listed.time_and_plan(query, get).await?;
    }
    stack.shutdown().await;
    Ok(())
}

/// Entries of a year: most of few users, whose rarest actions are the hardest to find.
#[tokio::test]
#[ignore = "takes minutes and gigabytes: make plans"]
async fn plans_of_ten_million_audit_entries() -> Result<()> {
    let many = rows("PLANS_AUDIT", 10_000_000);
    let stack = small_stack().stateless(1).start().await?;
    let api = Api::on_instance(&stack, "stateless-1")?;
    let admin = token_of(&stack, &api, "root", Role::Admin).await?;
    let database = database(&stack).await?;
    let begin = Instant::now();
    fill_audit(&database, many).await?;
    let size = "SELECT pg_size_pretty(sum(pg_total_relation_size(inhrelid))) \
                FROM pg_inherits WHERE inhparent = 'audit_log'::regclass";
    let size: String = database.query_one(size, &[]).await?.get(0);
    eprintln!("{many} entries in {:.0?}: {size} with their indexes", begin.elapsed());
    log_plans(&stack).await?;
    let listed = Listed { stack: &stack, table: "audit_log", rows: many };
    let get = async |query: &str| {
        let path = format!("/api/v1/audit?{query}");
        Response::to(api.request(Method::GET, &path).bearer_auth(&admin)).await
    };
    for query in [
        "limit=100",
        "limit=100&actor=user-7",
        "limit=100&actor=automation",
        "limit=100&actor=nobody-here",
        "limit=100&object=product:p77",
        "limit=100&action=logged_in",
        "limit=100&action=user_deleted",
        "limit=100&actor=automation&action=user_deleted",
        "limit=100&actor=user-7&action=user_deleted",
        "limit=100&object=product:p77&action=user_deleted",
        "limit=100&actor=automation&object=product:p77",
        "limit=100&from=2026-01-10T00:00:00Z&to=2026-01-11T00:00:00Z",
        "limit=100&to=2026-01-11T00:00:00Z&action=logged_in",
        "limit=100&from=2026-01-10T00:00:00Z&to=2026-03-11T00:00:00Z&action=user_deleted",
        "limit=100&from=2026-01-10T00:00:00Z&to=2026-03-11T00:00:00Z&actor=automation",
    ] {
        listed.time_and_plan(query, get).await?;
    }
    stack.shutdown().await;
    Ok(())
}

/// Spreads so many entries over the months of 2026, each a partition as the service makes it. Its
/// indexes are built after the rows, as that takes a fraction of the time.
async fn fill_audit(database: &Client, many: i64) -> Result<()> {
    let indexes = "SELECT indexrelid::regclass::text, pg_get_indexdef(indexrelid) FROM pg_index \
                   WHERE indrelid = 'audit_log'::regclass AND NOT indisprimary";
    let indexes: Vec<(String, String)> =
        (database.query(indexes, &[]).await?.iter()).map(|row| (row.get(0), row.get(1))).collect();
    ensure!(indexes.len() >= 3, "{indexes:?}");
    database.batch_execute("SET synchronous_commit = off; SET statement_timeout = 0").await?;
    for (name, _) in &indexes {
        database.batch_execute(&format!("DROP INDEX {name}")).await?;
    }
    let actions = ACTIONS.map(|action| format!("'{action}'")).join(", ");
    for month in 1..=12 {
        let (year, next) = if month == 12 { (2027, 1) } else { (2026, month + 1) };
        let partition = format!(
            "CREATE TABLE IF NOT EXISTS audit_log_2026_{month:02} PARTITION OF audit_log \
             FOR VALUES FROM ('2026-{month:02}-01Z') TO ('{year}-{next:02}-01Z')"
        );
        database.batch_execute(&partition).await?;
        // A random id that begins with the time, as version 7 does.
        let insert = format!(
            "INSERT INTO audit_log (id, at, actor_kind, actor, action, object, request_id, address, \
                                    before, after) \
             SELECT (lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0') \
                        || '7' || substr(md5(n::text), 1, 3) || '8' || substr(md5(n::text), 4, 15) \
                    )::uuid, \
                    at, 'user', \
                    CASE WHEN n % 3 = 0 THEN 'automation' ELSE 'user-' || n % 10007 END, \
                    (ARRAY[{actions}])[CASE WHEN n % 1000003 = 0 THEN 5 ELSE 1 + n % 4 END], \
                    'product:p' || n % 100003, \
                    md5(n::text)::uuid, '192.0.2.1', NULL, '{{\"stock\": 1}}' \
             FROM (SELECT n, date_trunc('milliseconds', timestamptz '2026-{month:02}-01Z' \
                        + n * (interval '1 second' * (28.0 * 86400 / $1::bigint))) AS at \
                   FROM generate_series(0, $1::bigint - 1) AS n) AS entries"
        );
        database.execute(&insert, &[&(many / 12)]).await?;
    }
    for (_, definition) in &indexes {
        // As it is shown, it would leave out the partitions.
        database.batch_execute(&definition.replacen(" ON ONLY ", " ON ", 1)).await?;
    }
    Ok(database.batch_execute("VACUUM ANALYZE audit_log").await?)
}

/// A table that is listed.
struct Listed<'a> {
    stack: &'a Stack,
    table: &'static str,
    rows: i64,
}

impl Listed<'_> {
    /// Requests the first page and nine more, and prints the time of the first and the plan of the
    /// last. No page is found by reading a whole table that is large.
    async fn time_and_plan(
        &self,
        query: &str,
        get: impl AsyncFn(&str) -> Result<Response>,
    ) -> Result<()> {
        let log = self.stack.log_path("postgres")?;
        let length = std::fs::metadata(&log)?.len();
        let begin = Instant::now();
        let mut response = get(query).await?;
        let first = begin.elapsed();
        ensure!(response.status == 200, "{query}: {response}");
        let mut longest = first;
        // The tenth page, or the last one.
        for _ in 0..9 {
            let page: serde_json::Value = response.json();
            let Some(cursor) = page["next_cursor"].as_str() else { break };
            let begin = Instant::now();
            response = get(&format!("{query}&cursor={cursor}")).await?;
            longest = longest.max(begin.elapsed());
            ensure!(response.status == 200, "{query}: {response}");
        }
        eprintln!(
            "\n{query}: {first:.1?} for the first page, {longest:.1?} for the slowest of ten"
        );
        let text = std::fs::read(&log)?;
        let text = String::from_utf8_lossy(&text[usize::try_from(length)?..]).into_owned();
        let statement = format!("FROM {}", self.table);
        let plans = text.split("duration:").filter(|plan| plan.contains(&statement));
        let plans: Vec<Vec<&str>> = plans.map(executed_nodes).collect();
        let last = plans.last().with_context(|| format!("no plan of {query}"))?;
        eprintln!("{}", last.join("\n"));
        let whole = format!("Seq Scan on {}", self.table);
        // A partition without rows costs nothing, and a search for frequent words stops early.
        let is_short =
            |node: &str| node.contains("(cost=0.00..0.00 ") || node.contains(" rows=5001 loops=1)");
        let is_whole =
            |node: &&&str| self.rows >= LARGE && node.contains(&whole) && !is_short(node);
        let wholes: Vec<_> = plans.iter().flatten().filter(is_whole).collect();
        ensure!(wholes.is_empty(), "{query} reads all of a table: {wholes:?}");
        ensure!(longest < LONGEST, "{query} took {longest:?}");
        Ok(())
    }
}

/// The lines of a plan that are nodes, without those that were not needed.
fn executed_nodes(plan: &str) -> Vec<&str> {
    let nodes = plan.lines().filter(|line| line.contains("->") || line.contains("Scan"));
    nodes.filter(|line| !line.contains("never executed")).collect()
}

/// Has PostgreSQL log the plan of each statement from its next start on, and restarts it. The
/// services' role may not change that, so it is written to the server's own file.
async fn log_plans(stack: &Stack) -> Result<()> {
    let arguments = std::fs::read(format!("/proc/{}/cmdline", stack.pid_of("postgres")?))?;
    let arguments = String::from_utf8(arguments)?;
    let mut arguments = arguments.split('\0').skip_while(|argument| *argument != "-D");
    let data = arguments.nth(1).context("the folder of the data")?;
    let settings = "session_preload_libraries = 'auto_explain'\n\
                    auto_explain.log_min_duration = 0\nauto_explain.log_analyze = on\n";
    let file = Path::new(data).join("postgresql.auto.conf");
    OpenOptions::new().append(true).open(file)?.write_all(settings.as_bytes())?;
    stack.kill("postgres").await?;
    stack.start_component("postgres").await?;
    let instance = Api::on_instance(stack, "stateless-1")?;
    until("the service is ready", async || {
        Ok((instance.get("/readyz").await?.status == 200).then_some(()))
    })
    .await
}
