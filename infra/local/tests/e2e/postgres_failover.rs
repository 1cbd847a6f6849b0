//! PostgreSQL of the overlay `ha` fails over by itself: its primary is killed, hung, frozen or left
//! without its Patroni under changes of accounts, and what was acknowledged is compared with the
//! audit log. Users read their own writes meanwhile, through the standby where it has them.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use futures_util::future::try_join_all;
use nix::sys::signal::Signal;
use proto_contracts::{ErrorCode, Role};
use reqwest::Method;
use serde_json::json;
use tokio::sync::watch;
use tokio_postgres::Client;

use crate::accounts::kills::{Acknowledged, compare, writers};
use crate::accounts::{register, tokens};
use crate::api::Api;
use crate::replica::{count, next_price, served};
use crate::response::Response;
use crate::small_stack;
use crate::until::until;

mod cluster;

use cluster::Cluster;

const PRODUCTS: &str = "/api/v1/stateless/products";
/// The longest time without an acknowledged write that the overlay promises.
const LIMIT: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(20);

/// What happens to the primary.
#[derive(Clone, Copy, Debug)]
enum Fault {
    /// `kill -9` of the server alone: its Patroni notices.
    Postgres,
    /// `kill -9` of both, as when its container ends. It is started when the other leads.
    Container,
    /// The server is stopped (`SIGSTOP`), its Patroni is not. It goes on when the other leads.
    Hung,
    /// Both are stopped, like a paused machine. They go on when the other leads.
    Frozen,
    /// `kill -9` of Patroni alone: the server does not know that it has lost its lease.
    Patroni,
    /// None: `patronictl switchover`.
    Switchover,
}

/// `make postgres-failover-test` has more.
fn faults() -> Result<(Vec<Fault>, bool)> {
    let Ok(kills) = std::env::var("TANDEM_TEST_FAILOVERS") else {
        return Ok((vec![Fault::Postgres, Fault::Patroni], false));
    };
    let kills: usize = kills.parse().context("TANDEM_TEST_FAILOVERS")?;
    let killed = [Fault::Postgres, Fault::Container].into_iter().cycle().take(kills);
    let others = [Fault::Hung, Fault::Frozen, Fault::Patroni, Fault::Switchover];
    Ok((killed.chain(others).collect(), true))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_takes_over_and_nothing_acknowledged_is_lost() -> Result<()> {
    let (faults, is_measured) = faults()?;
    let mut cluster = Cluster::start().await?;
    let plan = small_stack()
        .stateless(2)
        .env("stateless-svc", "DATABASE_URL", &cluster.url)
        .env("stateless-svc", "DATABASE_REPLICA_URL", &cluster.replica_url)
        // Longer than a failover, so that the check of positions alone prevents a stale read.
        .env("stateless-svc", "DATABASE_REPLICA_MAX_LAG_S", "60");
    let stack = plan.start().await?;
    let api = Api::on_gateway(&stack)?;
    let instances = ["stateless-1", "stateless-2"].map(|name| Api::on_instance(&stack, name));
    let instances = instances.into_iter().collect::<Result<Vec<_>>>()?;
    until("the schema is current", async || {
        Ok((instances[0].get("/readyz").await?.status == 200).then_some(()))
    })
    .await?;
    let reader = Reader::new(&cluster, &api, &instances).await?;

    let (stop, stopped) = watch::channel(());
    let acknowledged = Acknowledged::default();
    let mut writers = writers(&api, &acknowledged, &stopped, true).await?;
    let course = async {
        for &fault in &faults {
            acknowledged.some_more().await?;
            let begin = Instant::now();
            let led = strike(&mut cluster, fault, begin).await?;
            let whole = begin.elapsed();
            acknowledged.some_more().await?;
            let gap = acknowledged.longest_gap(begin);
            eprintln!(
                "{fault:?}: another primary after {:.1} s, {:.1} s without a write, the former \
                 primary a synchronous standby after {:.1} s",
                led.as_secs_f64(),
                gap.as_secs_f64(),
                whole.as_secs_f64()
            );
            ensure!(!is_measured || gap <= LIMIT, "no write for {gap:?}");
        }
        stop.send(())?;
        anyhow::Ok(())
    };
    let running = try_join_all(writers.iter_mut().map(|writer| writer.run()));
    let (written, own_writes, ()) = tokio::try_join!(running, reader.run(stopped.clone()), course)?;
    eprintln!("{own_writes} products were written and found, none was missing");
    compare(&cluster.database().await?, &api, &writers, &written).await?;
    the_replica_serves_again(&cluster, &instances).await?;
    assert!(own_writes > 0);
    stack.shutdown().await;
    Ok(())
}

/// Strikes the primary, and waits until the other one leads and has it as its standby. Returns how
/// long the other took to lead.
async fn strike(cluster: &mut Cluster, fault: Fault, begin: Instant) -> Result<Duration> {
    let former = cluster.until_whole().await?;
    let before = cluster.timeline(former).await?;
    match fault {
        Fault::Postgres => cluster.servers[former].signal_postgres(Signal::SIGKILL),
        Fault::Container => cluster.servers[former].kill(),
        Fault::Hung => cluster.servers[former].signal_postgres(Signal::SIGSTOP),
        Fault::Frozen => {
            cluster.servers[former].signal_patroni(Signal::SIGSTOP);
            cluster.servers[former].signal_postgres(Signal::SIGSTOP);
        }
        Fault::Patroni => cluster.servers[former].kill_patroni(),
        Fault::Switchover => cluster.switch_over(former).await?,
    }
    cluster.until_primary(1 - former).await?;
    let led = begin.elapsed();
    match fault {
        Fault::Postgres | Fault::Switchover => {}
        Fault::Container => cluster.servers[former].start()?,
        Fault::Hung => cluster.servers[former].signal_postgres(Signal::SIGCONT),
        Fault::Frozen => {
            // The server first: it still believes that it is the primary.
            cluster.servers[former].signal_postgres(Signal::SIGCONT);
            let attempt = tokio::spawn(write_at(cluster.servers[former].database().await?));
            cluster.servers[former].signal_patroni(Signal::SIGCONT);
            ensure!(attempt.await?.is_err(), "the former primary acknowledged a write");
        }
        Fault::Patroni => {
            let attempt = tokio::spawn(write_at(cluster.servers[former].database().await?));
            cluster.servers[former].start()?;
            ensure!(attempt.await?.is_err(), "the former primary acknowledged a write");
        }
    }
    // Not at once: it is promoted a moment before its timeline is seen.
    let primary = cluster.until_whole().await?;
    assert!(cluster.timeline(primary).await? > before, "{fault:?} made no new timeline");
    Ok(led)
}

/// Commits something at a server that has lost its lease. It must never return success.
async fn write_at(former: Client) -> Result<()> {
    let primary = former.query_one("SELECT pg_is_in_recovery()", &[]).await?;
    // Else the attempt would show nothing.
    assert!(!primary.try_get::<_, bool>(0)?, "the former primary knows already");
    former.batch_execute("CREATE TABLE written_twice (x int)").await?;
    Ok(())
}

/// Lists are read from the new standby, as soon as it has a restart point of the new timeline:
/// within a minute or two by itself.
async fn the_replica_serves_again(cluster: &Cluster, instances: &[Api]) -> Result<()> {
    let primary = cluster.until_whole().await?;
    let (primary, standby) = (&cluster.servers[primary], &cluster.servers[1 - primary]);
    let database = primary.database().await?;
    let twice = database.query_one("SELECT to_regclass('written_twice') IS NULL", &[]).await?;
    assert!(twice.try_get::<_, bool>(0)?, "a write of a former primary came through");
    database.batch_execute("CHECKPOINT").await?;
    let standby = standby.database().await?;
    let metric = served("products", "replica");
    until("the new standby is read", async || {
        standby.batch_execute("CHECKPOINT").await?;
        let before = count(&instances[0], &metric).await?;
        instances[0].get(&format!("{PRODUCTS}?min_price={}", next_price())).await?;
        Ok((count(&instances[0], &metric).await? > before).then_some(()))
    })
    .await
}

/// An admin that creates products by one instance, and searches for them by the other.
struct Reader<'a> {
    instances: &'a [Api],
    token: String,
}

impl<'a> Reader<'a> {
    async fn new(cluster: &Cluster, api: &'a Api, instances: &'a [Api]) -> Result<Self> {
        register(api, "reader").await?;
        let database = cluster.database().await?;
        let sql = "UPDATE users SET role = $1 WHERE id = 'reader'";
        database.execute(sql, &[&Role::Admin.as_str()]).await?;
        let token = tokens(api, "reader").await?.access_token;
        Ok(Self { instances, token })
    }

    /// Returns how many it has found.
    async fn run(&self, stopped: watch::Receiver<()>) -> Result<usize> {
        let mut number = 0;
        while !stopped.has_changed()? {
            let (writer, reader) = (&self.instances[number % 2], &self.instances[(number + 1) % 2]);
            let id = format!("own-{number}");
            let created = retried(async || {
                let request = writer.request(Method::POST, PRODUCTS).bearer_auth(&self.token);
                let request = request.header("idempotency-key", format!("key-{id}"));
                let body = json!({"id": id, "name": id, "price": "1", "stock": 1});
                Response::to(request.json(&body)).await
            })
            .await?;
            ensure!(created.status == 201, "{created}");
            let path = format!("{PRODUCTS}?q=%22{id}%22");
            let found = retried(async || reader.get(&path).await).await?;
            ensure!(found.status == 200, "{found}");
            let found: proto_contracts::products::ProductPage = found.json();
            ensure!(found.products.iter().any(|product| product.id == id), "{id} is missing");
            number += 1;
        }
        Ok(number)
    }
}

/// Repeats a request while the database is away.
async fn retried(send: impl AsyncFn() -> Result<Response>) -> Result<Response> {
    loop {
        let response = send().await?;
        if response.status != 503 {
            return Ok(response);
        }
        response.problem(ErrorCode::DatabaseUnavailable);
        tokio::time::sleep(PAUSE).await;
    }
}
