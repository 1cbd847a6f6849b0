//! `canary`: one instance of a new release takes its share, and is put back when it is worse.
//!
//! It is a member by a lease that this command renews, so a canary whose watcher dies is taken out
//! by the gateway itself.

mod compare;
mod counts;
mod fisher;
mod watch;

use std::net::SocketAddr;
use std::time::Duration;

use clap::{Args, value_parser};
use http::Method;
use proto_contracts::control::{
    AddInstance, Instance, InstanceAdded, InstanceState, Pool, Pools, PutBack,
};
use proto_contracts::{ErrorCode, PoolName, Weight};
use serde::Serialize;
use serde_json::Value;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, sleep};

use crate::ctl::client::Client;
use crate::ctl::error::CtlError;
use crate::ctl::output::{at_all, print};
use crate::ctl::progress::Progress;
use crate::ctl::show;
use compare::{Worse, summary};
use counts::Counts;
use watch::{Ended, Look, Rule, Watch};

/// Time between two looks, and two tries of a request that must succeed.
const LOOK: Duration = Duration::from_secs(1);

/// Add an instance of a new release on trial, and put it back if it is worse than the others.
///
/// It takes its share of the requests while its errors, rejections and p99 are compared with those
/// of the other instances. If it is as good, it stays and the command succeeds. If it is worse, or
/// this command ends, it is taken out of the pool.
#[derive(Debug, Args)]
pub(super) struct Canary {
    /// The pool.
    pool: PoolName,
    /// Where it listens, such as 127.0.0.1:8204.
    addr: SocketAddr,
    /// Its weight, 1 to 256; by default the one that the instance announces.
    #[arg(long, value_name = "N")]
    weight: Option<Weight>,
    /// Seconds to watch it at least.
    #[arg(long, value_name = "S", default_value_t = 600, value_parser = value_parser!(u64).range(1..))]
    watch: u64,
    /// Seconds to watch it at most, while it or the others have fewer requests than --requests.
    #[arg(long, value_name = "S", default_value_t = 1_800)]
    at_most: u64,
    /// Requests that it needs to stay, and the others together.
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    requests: u64,
    /// Seconds at its start whose times do not count, at most half of --watch.
    #[arg(long, value_name = "S", default_value_t = 60)]
    warm_up: u64,
    /// Seconds that it stays in the pool when this command dies.
    #[arg(long, value_name = "S", default_value_t = 15, value_parser = value_parser!(u64).range(5..=300))]
    lease: u64,
}

/// What the command prints with --json.
#[derive(Serialize)]
struct Report<'a> {
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<PutBack>,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<&'a str>,
    pool: PoolName,
    instance: &'a str,
    seconds: f64,
    canary: Counts,
    others: &'a [Counts],
}

impl Canary {
    pub(super) async fn run(self, client: &Client, json: bool) -> Result<(), CtlError> {
        // Before the instance is added, so that no signal leaves it there.
        let mut signals = Signals::listen()?;
        self.check_others(client).await?;
        let added = self.add(client, Some(self.lease)).await?;
        let mut progress = Progress::default();
        progress.show(&format!("{} joins {}", show::name(&added.instance), self.pool));
        let rule = Rule {
            at_least: Duration::from_secs(self.watch),
            at_most: Duration::from_secs(self.at_most.max(self.watch)),
            warm_up: Duration::from_secs(self.warm_up.min(self.watch / 2)),
            requests: self.requests,
        };
        let mut watch = Watch::new(rule, Instant::now());
        let ended = tokio::select! {
            ended = self.watch(client, &mut watch, &mut progress) => ended,
            what = signals.next() => Ok(Ended::Worse(Worse {
                reason: PutBack::Interrupted,
                why: format!("the command got {what}"),
            })),
        };
        progress.end();
        let ended = ended.map_err(|source| CtlError::CanaryLost {
            canary: self.addr,
            source: Box::new(source),
        })?;
        let (own, others) = watch.totals();
        let name = watch.name().unwrap_or_else(|| self.addr.to_string());
        let seconds = watch.seconds();
        let report = Report {
            outcome: "promoted",
            reason: None,
            why: None,
            pool: self.pool,
            instance: &name,
            seconds,
            canary: own,
            others: &others,
        };
        match ended {
            Ended::AsGood => {
                let added: InstanceAdded =
                    self.insist(async || self.add(client, None).await).await?;
                print(json, &report, || {
                    format!("{name} stays after {seconds:.0} s: {}.\n", summary(&own, &others))
                })?;
                at_all(added.missed)
            }
            Ended::Worse(Worse { reason, why }) => {
                self.insist(async || self.remove(client, reason).await).await?;
                if json {
                    let (reason, why) = (Some(reason), Some(why.as_str()));
                    print(
                        json,
                        &Report { outcome: "put_back", reason, why, ..report },
                        String::new,
                    )?;
                }
                Err(CtlError::PutBack(format!("{name} is put back after {seconds:.0} s: {why}")))
            }
        }
    }

    /// Adds it, renews its lease, or makes it last.
    async fn add(&self, client: &Client, lease_s: Option<u64>) -> Result<InstanceAdded, CtlError> {
        let path = format!("pools/{}/instances", self.pool);
        let wanted = AddInstance { addr: self.addr, weight: self.weight, lease_s };
        client.change(Method::POST, &path, Some(&wanted)).await
    }

    async fn remove(&self, client: &Client, reason: PutBack) -> Result<(), CtlError> {
        let (pool, addr, reason) = (self.pool, self.addr, reason.as_str());
        let path = format!("pools/{pool}/instances/{addr}?put_back={reason}");
        match client.command(Method::DELETE, &path, None::<&Value>).await {
            // Its lease has ended meanwhile.
            Err(CtlError::Refused { code: Some(ErrorCode::InstanceNotFound), .. }) => Ok(()),
            // A gateway that was missed takes it out when its lease there ends.
            done => done.map(drop),
        }
    }

    /// Repeats a request while the gateway is away for a moment.
    async fn insist<T>(&self, send: impl AsyncFn() -> Result<T, CtlError>) -> Result<T, CtlError> {
        let begin = Instant::now();
        loop {
            match send().await {
                Err(error) if error.is_transient() && begin.elapsed() < self.lease() => {
                    sleep(LOOK).await;
                }
                done => return done,
            }
        }
    }

    fn lease(&self) -> Duration {
        Duration::from_secs(self.lease)
    }

    async fn check_others(&self, client: &Client) -> Result<(), CtlError> {
        let pool = self.pool(client).await?;
        // Another canary is no measure.
        let serves = |other: &&Instance| {
            let is_other = other.addr != self.addr && other.lease_s.is_none();
            is_other && other.state == InstanceState::Healthy
        };
        match pool.instances.iter().find(serves) {
            Some(_) => Ok(()),
            None => Err(CtlError::NoPeer(self.pool)),
        }
    }

    async fn pool(&self, client: &Client) -> Result<Pool, CtlError> {
        let pools: Pools = client.get("pools").await?;
        let mut pools = pools.pools.into_iter();
        let known = pools.find(|pool| pool.name == self.pool);
        known.ok_or(CtlError::NoPeer(self.pool))
    }

    /// Looks until it is decided.
    ///
    /// # Errors
    /// When the gateway was away for as long as the lease.
    async fn watch(
        &self,
        client: &Client,
        watch: &mut Watch,
        progress: &mut Progress,
    ) -> Result<Ended, CtlError> {
        let (mut seen, mut renewed) = (Instant::now(), Instant::now());
        loop {
            sleep(LOOK).await;
            let looked = async {
                let pool = self.pool(client).await?;
                let look = Look::new(self.addr, &pool, &client.metrics().await?);
                let ended = watch.look(look, Instant::now());
                // After the look: what is gone must not be added again.
                if ended.is_none() && renewed.elapsed() >= self.lease() / 3 {
                    self.add(client, Some(self.lease)).await?;
                    renewed = Instant::now();
                    progress.show(&watch.progress());
                }
                Ok(ended)
            };
            match looked.await {
                Ok(Some(ended)) => return Ok(ended),
                Ok(None) => seen = Instant::now(),
                Err(error) if seen.elapsed() >= self.lease() => return Err(error),
                Err(_) => {}
            }
        }
    }
}

/// The signals that end the command. SIGHUP is that of a terminal which is closed.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hang_up: Signal,
}

impl Signals {
    fn listen() -> Result<Self, CtlError> {
        let listen = |kind| signal(kind).map_err(CtlError::Output);
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            hang_up: listen(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.hang_up.recv() => "SIGHUP",
        }
    }
}
