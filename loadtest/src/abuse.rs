//! `loadtest abuse`: one hostile client beside normal load, which must stay unaffected.
//!
//! `Load` sends normal requests at a constant rate, first undisturbed and then beside the abuser.
//! Each of its `tricks` tries to get an instance ejected or to exhaust a resource. No instance may
//! be ejected, and no normal request may fail.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use http_body_util::Full;
use local_stack::Stack;
use proto_contracts::control::InstanceState;
use serde::Serialize;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::abuse::args::AbuseArgs;
use crate::abuse::tricks::{Abuser, Trick};
use crate::client::Client;
use crate::rollout::latency::Stage;
use crate::rollout::load::Load;
use crate::rollout::report::LoadReport;
use crate::target::{Reach, Target};

pub mod args;

mod tricks;

/// Instances of each pool.
const INSTANCES: u16 = 2;
/// Interval of health checks.
const HEALTH_INTERVAL: Duration = Duration::from_millis(250);
/// Warm-up of the load before it is measured.
const WARM_UP: Duration = Duration::from_secs(2);
/// How long the load continues after the abuse: an ejection may follow a timeout.
const SETTLE: Duration = Duration::from_secs(5);

/// Attempts of a trick, and their responses.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Tried {
    /// Attempts.
    pub times: u64,
    /// Count of each response status.
    pub responses: BTreeMap<u16, u64>,
}

/// The result of `loadtest abuse`.
#[derive(Debug, Serialize)]
pub struct AbuseReport {
    /// By the trick's name.
    pub tricks: BTreeMap<&'static str, Tried>,
    /// Ejections of instances.
    pub ejections: u64,
    /// Unhealthy instances at the end.
    pub not_healthy: Vec<String>,
    /// 99th percentile of the load's latencies while undisturbed, milliseconds.
    pub p99_quiet_ms: Option<f64>,
    /// 99th percentile beside the abuser, milliseconds.
    pub p99_abused_ms: Option<f64>,
    /// Maximum ratio of the two; `None` for no limit.
    pub max_p99_ratio: Option<f64>,
    /// The normal load.
    #[serde(flatten)]
    pub load: LoadReport,
}

impl AbuseReport {
    /// Whether the load was unaffected.
    pub fn is_clean(&self) -> bool {
        self.load.is_clean()
            && self.ejections == 0
            && self.not_healthy.is_empty()
            && self.is_within_limit()
    }

    fn ratio(&self) -> Option<f64> {
        let (quiet, abused) = self.p99_quiet_ms.zip(self.p99_abused_ms)?;
        (quiet > 0.0).then(|| abused / quiet)
    }

    /// A limit without a measurement is a failure.
    fn is_within_limit(&self) -> bool {
        self.max_p99_ratio.is_none_or(|most| self.ratio().is_some_and(|ratio| ratio <= most))
    }
}

impl fmt::Display for AbuseReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tricks, ejections, not_healthy, p99_quiet_ms, p99_abused_ms, load, .. } = self;
        writeln!(f, "{:<24}{:>8}  responses", "tricks of the abuser", "attempts")?;
        for (name, Tried { times, responses }) in tricks {
            let responses: Vec<_> =
                responses.iter().map(|(status, count)| format!("{status}: {count}")).collect();
            writeln!(f, "{name:<24}{times:>8}  {}", responses.join(", "))?;
        }
        writeln!(f, "\nload beside it")?;
        let mut row = |name: &str, value: &dyn fmt::Display| writeln!(f, "{name:<32}{value}");
        row("instances ejected", ejections)?;
        row("instances not healthy", &not_healthy.len())?;
        row("requests", &load.requests)?;
        row("failed requests", &load.failed)?;
        for (name, p99) in
            [("p99 undisturbed, ms", p99_quiet_ms), ("p99 beside the abuser, ms", p99_abused_ms)]
        {
            p99.map_or(Ok(()), |p99| row(name, &format_args!("{p99:.2}")))?;
        }
        self.ratio().map_or(Ok(()), |ratio| row("ratio", &format_args!("{ratio:.2}")))?;
        load.failed_by_kind
            .iter()
            .try_for_each(|(kind, count)| row(&format!("failed {kind}"), count))?;
        writeln!(f, "{}", if self.is_clean() { "the load was unaffected" } else { "FAILED" })
    }
}

/// Runs the abuse and reports.
///
/// # Errors
/// When the system does not start or its state cannot be read. Damage by the abuser is in the
/// report.
pub async fn abuse(args: &AbuseArgs) -> Result<AbuseReport> {
    let stack = Stack::for_tests()
        .stateless(INSTANCES)
        .stateful(INSTANCES)
        .health_interval(HEALTH_INTERVAL);
    let stack = stack.start().await.context("the system does not start")?;
    let report = run(args, &stack).await;
    stack.shutdown().await;
    report
}

async fn run(args: &AbuseArgs, stack: &Stack) -> Result<AbuseReport> {
    let target = Arc::new(Target::resolve(&stack.urls().gateway, None, Reach::ThisMachine).await?);
    let abuser = Arc::new(Abuser::prepare(Arc::clone(&target)).await?);
    let load = Load::start(&args.load, &target);
    tokio::time::sleep(WARM_UP).await;
    load.latencies().begin(Stage::Quiet);
    tokio::time::sleep(args.quiet).await;

    let (stop, stopped) = watch::channel(false);
    let mut abusers = JoinSet::new();
    for number in 0..args.abusive_connections.get() {
        abusers.spawn(Arc::clone(&abuser).work(number, stopped.clone()));
    }
    load.latencies().begin(Stage::Abused);
    tokio::time::sleep(args.duration).await;
    load.latencies().begin(Stage::Other);
    stop.send_replace(true);
    let mut tricks: BTreeMap<&'static str, Tried> =
        Trick::ALL.map(|trick| (trick.name(), Tried::default())).into();
    for (trick, status) in abusers.join_all().await.into_iter().flatten() {
        let tried = tricks.entry(trick.name()).or_default();
        tried.times += 1;
        if let Some(status) = status {
            *tried.responses.entry(status).or_default() += 1;
        }
    }
    tokio::time::sleep(SETTLE).await;
    let (p99_quiet_ms, p99_abused_ms) =
        (load.latencies().p99(Stage::Quiet), load.latencies().p99(Stage::Abused));
    let load = load.stop().await;
    Ok(AbuseReport {
        tricks,
        ejections: ejections(stack).await?,
        not_healthy: not_healthy(stack).await?,
        p99_quiet_ms,
        p99_abused_ms,
        max_p99_ratio: (args.max_p99_ratio > 0.0).then_some(args.max_p99_ratio),
        load,
    })
}

/// The gateway's count of ejections, for all reasons.
async fn ejections(stack: &Stack) -> Result<u64> {
    let control = Arc::new(Target::resolve(&stack.urls().control, None, Reach::ThisMachine).await?);
    let request = http::Request::get("/metrics").body(Full::default()).context("no request")?;
    let metrics =
        Client::new(control).send(request).await.context("cannot read the gateway's metrics")?;
    let text = String::from_utf8_lossy(&metrics.body);
    let counts = text.lines().filter(|line| line.starts_with("gateway_upstream_ejections_total{"));
    let counts: Vec<u64> =
        counts.filter_map(|line| line.rsplit(' ').next()?.parse().ok()).collect();
    anyhow::ensure!(!counts.is_empty(), "no metric of ejections: {}", metrics.status);
    Ok(counts.into_iter().sum())
}

async fn not_healthy(stack: &Stack) -> Result<Vec<String>> {
    let pools = stack.control().pools().await?;
    let instances = pools.into_iter().flat_map(|pool| pool.instances);
    let unhealthy = instances.filter(|instance| instance.state != InstanceState::Healthy);
    Ok(unhealthy.map(|instance| format!("{} is {}", instance.addr, instance.state)).collect())
}
