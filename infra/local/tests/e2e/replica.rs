//! Reads of a replica: a user reads its own writes although replay is paused, a replica that is
//! killed costs no request, and a build without the check of positions is caught.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use anyhow::{Context, Result, ensure};
use futures_util::future::{try_join_all, try_join3};
use local_stack::{Plan, Stack};
use proto_contracts::audit::{AuditEntry, AuditPage};
use proto_contracts::products::ProductPage;
use proto_contracts::{ErrorCode, Role};
use reqwest::Method;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use tokio_postgres::Client;

use crate::accounts::users::token_of;
use crate::accounts::with_token;
use crate::api::Api;
use crate::response::Response;
use crate::small_stack;
use crate::until::until;

const PRODUCTS: &str = "/api/v1/stateless/products";
const AUDIT: &str = "/api/v1/audit";
/// Pairs of a write and what reads it, by default.
const PAIRS: usize = 60;
/// How many writers there are at a time.
const WRITERS: usize = 4;

fn with_replica() -> Plan {
    // Longer than this test takes to notice a stale response, so that the check alone prevents it.
    small_stack().stateless(2).with_replica().env(
        "stateless-svc",
        "DATABASE_REPLICA_MAX_LAG_S",
        "60",
    )
}

/// A stack with a replica, and admins that write and read through different instances.
struct Replicated {
    stack: Stack,
    instances: Vec<Api>,
    admins: Vec<String>,
    standby: Client,
}

impl Replicated {
    async fn start(plan: Plan) -> Result<Self> {
        let stack = plan.start().await?;
        let api = Api::on_gateway(&stack)?;
        let mut admins = Vec::new();
        for number in 0..WRITERS {
            admins.push(token_of(&stack, &api, &format!("admin-{number}"), Role::Admin).await?);
        }
        let instances = ["stateless-1", "stateless-2"].map(|name| Api::on_instance(&stack, name));
        let instances = instances.into_iter().collect::<Result<Vec<_>>>()?;
        let standby = standby(&stack).await?;
        let replicated = Self { stack, instances, admins, standby };
        replicated.until_served().await?;
        Ok(replicated)
    }

    /// Waits until both instances read lists from the replica.
    async fn until_served(&self) -> Result<()> {
        for instance in &self.instances {
            for read in ["audit", "products"] {
                until(&format!("{read} is read from the replica"), async || {
                    let before = count(instance, &served(read, "replica")).await?;
                    self.log(instance, 0, "limit=1").await?;
                    // No page is cached that no request had before.
                    list(instance, &format!("min_price={}", next_price())).await?;
                    let now = count(instance, &served(read, "replica")).await?;
                    Ok((now > before).then_some(()))
                })
                .await?;
            }
        }
        Ok(())
    }

    async fn log(&self, instance: &Api, admin: usize, query: &str) -> Result<AuditPage> {
        let path = format!("{AUDIT}?{query}");
        let response = with_token(instance, Method::GET, &path, &self.admins[admin]).await?;
        ensure!(response.status == 200, "{response}");
        Ok(response.json())
    }

    async fn create(&self, instance: &Api, admin: usize, id: &str) -> Result<Response> {
        let body = json!({"id": id, "name": id, "price": "1", "stock": 1});
        let request = instance.request(Method::POST, PRODUCTS).bearer_auth(&self.admins[admin]);
        Response::to(request.json(&body)).await
    }

    /// Writes by one instance, and reads by the other: a search, and the writer's entry of the log.
    /// Returns how many of both were stale.
    async fn pairs(&self, name: &str, pairs: usize) -> Result<usize> {
        let (next, stale) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let writers = (0..WRITERS).map(|admin| {
            let (next, stale) = (&next, &stale);
            async move {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= pairs {
                        return anyhow::Ok(());
                    }
                    let (writer, reader) =
                        (&self.instances[number % 2], &self.instances[(number + 1) % 2]);
                    let id = format!("{name}-{number}");
                    let created = self.create(writer, admin, &id).await?;
                    ensure!(created.status == 201, "{created}");
                    let found = list(reader, &format!("q=%22{id}%22")).await?;
                    let is_found = found.products.iter().any(|product| product.id == id);
                    let log = self.log(reader, admin, &format!("object=product:{id}")).await?;
                    stale.fetch_add(
                        usize::from(!is_found) + usize::from(log.entries.is_empty()),
                        Ordering::Relaxed,
                    );
                }
            }
        });
        try_join_all(writers).await?;
        Ok(stale.into_inner())
    }

    async fn pause(&self) -> Result<()> {
        self.standby.batch_execute("SELECT pg_wal_replay_pause()").await?;
        until("replay is paused", async || {
            let row = self.standby.query_one("SELECT pg_get_wal_replay_pause_state()", &[]).await?;
            Ok((row.try_get::<_, &str>(0)? == "paused").then_some(()))
        })
        .await
    }

    async fn resume(&self) -> Result<()> {
        Ok(self.standby.batch_execute("SELECT pg_wal_replay_resume()").await?)
    }

    async fn sum(&self, metric: &str) -> Result<f64> {
        let counts = self.instances.iter().map(|instance| count(instance, metric));
        Ok(try_join_all(counts).await?.into_iter().sum())
    }
}

pub(crate) async fn standby(stack: &Stack) -> Result<Client> {
    let url = stack.replica_url();
    let (client, connection) =
        tokio_postgres::connect(url.expose_secret(), tokio_postgres::NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

/// Another price each time.
pub(crate) fn next_price() -> String {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let cents = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("{}.{:02}", cents / 100, cents % 100)
}

pub(crate) async fn list(api: &Api, query: &str) -> Result<ProductPage> {
    let response = api.get(&format!("{PRODUCTS}?{query}")).await?;
    ensure!(response.status == 200, "{response}");
    Ok(response.json())
}

pub(crate) fn served(read: &str, source: &str) -> String {
    format!("database_reads_total{{read=\"{read}\",source=\"{source}\"}}")
}

fn fallback(read: &str, reason: &str) -> String {
    format!("database_replica_fallbacks_total{{read=\"{read}\",reason=\"{reason}\"}}")
}

/// A value of the instance's metrics.
pub(crate) async fn count(api: &Api, metric: &str) -> Result<f64> {
    let text = Response::to(api.request(Method::GET, "/metrics")).await?.body;
    let text = String::from_utf8_lossy(text.as_ref()).into_owned();
    let line = text.lines().find_map(|line| line.strip_prefix(metric));
    Ok(line.with_context(|| format!("{metric} in {text}"))?.trim().parse()?)
}

fn pairs() -> Result<usize> {
    match std::env::var("TANDEM_TEST_PAIRS") {
        Ok(pairs) => pairs.parse().context("TANDEM_TEST_PAIRS"),
        Err(_) => Ok(PAIRS),
    }
}

/// `make replica-test n=10000` runs it with more pairs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_writer_reads_its_writes_from_a_replica_that_is_late() -> Result<()> {
    let replicated = Replicated::start(with_replica()).await?;
    let pairs = pairs()?;
    assert_eq!(replicated.pairs("fresh", pairs).await?, 0, "stale while replay runs");
    replicated.until_served().await?;

    replicated.pause().await?;
    assert_eq!(replicated.pairs("paused", pairs).await?, 0, "stale while replay is paused");
    // Else the replica would not have been asked.
    assert!(replicated.sum(&fallback("audit", "behind")).await? > 0.0);
    assert!(replicated.sum(&fallback("products", "behind")).await? > 0.0);
    a_reader_who_wrote_nothing_is_served(&replicated).await?;
    a_change_is_known_also_without_the_cache(&replicated).await?;

    replicated.resume().await?;
    replicated.until_served().await?;
    for source in ["replica", "primary"] {
        let of = async |read| replicated.sum(&served(read, source)).await;
        eprintln!(
            "{source}: {} of products, {} of audit",
            of("products").await?,
            of("audit").await?
        );
    }
    replicated.stack.shutdown().await;
    Ok(())
}

/// Others' changes may be late, up to the maximum lag: that is what the replica is for.
async fn a_reader_who_wrote_nothing_is_served(replicated: &Replicated) -> Result<()> {
    let Replicated { stack, instances, .. } = replicated;
    // Nothing is known of it, so the primary is read first.
    let reader = token_of(stack, &instances[0], "idle-admin", Role::Admin).await?;
    let read = async || {
        let path = format!("{AUDIT}?limit=1");
        with_token(&instances[1], Method::GET, &path, &reader).await
    };
    ensure!(read().await?.status == 200);
    replicated.resume().await?;
    until("the replica serves it", async || {
        let before = count(&instances[1], &served("audit", "replica")).await?;
        ensure!(read().await?.status == 200);
        Ok((count(&instances[1], &served("audit", "replica")).await? > before).then_some(()))
    })
    .await?;
    replicated.pause().await?;
    let before = count(&instances[1], &served("audit", "replica")).await?;
    ensure!(replicated.create(&instances[0], 0, "of-another").await?.status == 201);
    let page: AuditPage = read().await?.json();
    let is_other = |entry: &AuditEntry| entry.object.as_deref() == Some("product:of-another");
    assert!(!page.entries.iter().any(is_other), "{page:?}");
    assert!(count(&instances[1], &served("audit", "replica")).await? > before);
    Ok(())
}

/// A change that is recorded nowhere is acknowledged when no replica that lacks it is read any
/// more: here, when it is replayed.
async fn a_change_is_known_also_without_the_cache(replicated: &Replicated) -> Result<()> {
    let Replicated { stack, instances, .. } = replicated;
    replicated.resume().await?;
    replicated.until_served().await?;
    replicated.pause().await?;
    stack.kill("redis-cache").await?;
    let body = json!({"name": "Without the cache"});
    let path = "/api/v1/users/admin-1";
    let patch = async || {
        let request = instances[0].request(Method::PATCH, path).bearer_auth(&replicated.admins[1]);
        Response::to(request.json(&body)).await
    };
    let is_over = AtomicBool::new(false);
    let patched = async {
        let patched = patch().await?;
        is_over.store(true, Ordering::SeqCst);
        ensure!(patched.status == 200, "{patched}");
        anyhow::Ok(())
    };
    let replay = async {
        let database = crate::accounts::database(stack).await?;
        until("it is committed", async || {
            let sql = "SELECT FROM users WHERE name = 'Without the cache'";
            Ok(database.query_opt(sql, &[]).await?.map(drop))
        })
        .await?;
        // Time enough for a response that would not wait.
        for _ in 0..50 {
            instances[0].get("/health").await?;
        }
        assert!(!is_over.load(Ordering::SeqCst), "acknowledged before it was replayed");
        replicated.resume().await
    };
    tokio::try_join!(patched, replay)?;
    let log = replicated.log(&instances[1], 1, "object=admin-1&action=user_changed").await?;
    // An earlier entry is of the operator, who made it an admin.
    let last = log.entries.first().and_then(|entry| entry.after.as_ref());
    assert_eq!(last.map(|after| &after["name"]), Some(&body["name"]), "{log:?}");
    stack.start_component("redis-cache").await?;
    Ok(())
}

/// `make broken` builds the program.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_build_without_the_check_of_positions_is_caught() -> Result<()> {
    let plan = with_replica().without_stateless_guarantee("no-replay-check");
    let replicated = Replicated::start(plan).await?;
    replicated.pause().await?;
    let stale = replicated.pairs("broken", 10).await?;
    eprintln!("{stale} of 20 reads are stale");
    assert!(stale > 10, "{stale}");
    replicated.stack.shutdown().await;
    Ok(())
}

/// Readers and writers go on while the replica is killed, started, stopped and resumed: no request
/// fails, and readiness shows what is going on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_is_gone_costs_no_request() -> Result<()> {
    let replicated = Replicated::start(with_replica()).await?;
    let Replicated { stack, instances, .. } = &replicated;
    let (is_over, requests) = (AtomicBool::new(false), AtomicUsize::new(0));
    let load = async |admin: usize| {
        let mut number = 0;
        while !is_over.load(Ordering::Relaxed) {
            let instance = &instances[number % 2];
            let id = format!("gone-{admin}-{number}");
            let created = replicated.create(instance, admin, &id).await?;
            ensure!(created.status == 201, "{created}");
            let found = list(&instances[(number + 1) % 2], &format!("q=%22{id}%22")).await?;
            ensure!(found.products.iter().any(|product| product.id == id), "{id}: {found:?}");
            replicated.log(instance, admin, "limit=3").await?;
            requests.fetch_add(3, Ordering::Relaxed);
            number += 1;
        }
        anyhow::Ok(())
    };
    let course = async {
        let course = async {
            for _ in 0..2 {
                stack.kill("postgres-replica").await?;
                until_replica_is(instances, "down").await?;
                stack.start_component("postgres-replica").await?;
                until_replica_is(instances, "up").await?;
                stack.pause("postgres-replica")?;
                until_replica_is(instances, "down").await?;
                stack.resume("postgres-replica")?;
                until_replica_is(instances, "up").await?;
            }
            anyhow::Ok(())
        };
        let done = course.await;
        is_over.store(true, Ordering::Relaxed);
        done
    };
    try_join3(load(0), load(1), course).await?;
    eprintln!("{} requests, none failed", requests.load(Ordering::Relaxed));
    assert!(requests.load(Ordering::Relaxed) > 100);
    assert!(replicated.sum(&fallback("products", "away")).await? > 0.0);

    // What needs the primary is not read from the replica.
    stack.kill("postgres").await?;
    let users = with_token(&instances[0], Method::GET, "/api/v1/users", &replicated.admins[0]);
    users.await?.problem(ErrorCode::DatabaseUnavailable);
    stack.start_component("postgres").await?;
    Ok(())
}

/// Waits until both instances see the replica so, and are ready all the same.
async fn until_replica_is(instances: &[Api], state: &str) -> Result<()> {
    for instance in instances {
        until(&format!("the replica is {state}"), async || {
            let ready = instance.get("/readyz").await?;
            ensure!(ready.status == 200, "{ready}");
            let shown = ready.json::<Value>()["dependencies"]["replica"]["status"].clone();
            Ok((shown == state).then_some(()))
        })
        .await?;
    }
    Ok(())
}
