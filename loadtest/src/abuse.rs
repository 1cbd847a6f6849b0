//! `loadtest abuse`: one anonymous client does all that it can, and no other client notices.
//!
//! `Load` sends good requests at fixed times, first undisturbed and then beside the abuser, whose `tricks` each stand for
//! a way to make an instance look bad or to take what others need. Nothing of that may eject an instance or fail a
//! good request.

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

use crate::abuse::tricks::{Abuser, Trick};
use crate::cli::AbuseArgs;
use crate::client::Client;
use crate::rollout::latency::Stage;
use crate::rollout::load::Load;
use crate::rollout::report::LoadReport;
use crate::target::{Reach, Target};

mod tricks;

/// Instances of each pool.
const INSTANCES: u16 = 2;
/// Time between two health checks.
const HEALTH_INTERVAL: Duration = Duration::from_millis(250);
/// How long the load goes on before it is measured.
const WARM_UP: Duration = Duration::from_secs(2);
/// How long it goes on after the abuse: an ejection comes when a timeout has passed.
const SETTLE: Duration = Duration::from_secs(5);

/// How often a trick was tried, and what came back.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Tried {
    /// How often.
    pub times: u64,
    /// The statuses of the responses that were read.
    pub responses: BTreeMap<u16, u64>,
}

/// What `loadtest abuse` found.
#[derive(Debug, Serialize)]
pub struct AbuseReport {
    /// What the abuser did, by the trick's name.
    pub tricks: BTreeMap<&'static str, Tried>,
    /// How often an instance was ejected.
    pub ejections: u64,
    /// Instances that were not healthy in the end.
    pub not_healthy: Vec<String>,
    /// The 99th percentile of the good requests' latencies while they were undisturbed, milliseconds.
    pub p99_quiet_ms: Option<f64>,
    /// The same beside the abuser.
    pub p99_abused_ms: Option<f64>,
    /// How many times as long it may be; `None` for any.
    pub max_p99_ratio: Option<f64>,
    /// What came of the good requests.
    #[serde(flatten)]
    pub load: LoadReport,
}

impl AbuseReport {
    /// Whether the abuser hurt nobody.
    pub fn is_clean(&self) -> bool {
        self.load.is_clean() && self.ejections == 0 && self.not_healthy.is_empty() && self.is_quick()
    }

    fn ratio(&self) -> Option<f64> {
        let (quiet, abused) = self.p99_quiet_ms.zip(self.p99_abused_ms)?;
        (quiet > 0.0).then(|| abused / quiet)
    }

    /// A bound that is set needs a measurement.
    fn is_quick(&self) -> bool {
        self.max_p99_ratio.is_none_or(|most| self.ratio().is_some_and(|ratio| ratio <= most))
    }
}

impl fmt::Display for AbuseReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tricks, ejections, not_healthy, p99_quiet_ms, p99_abused_ms, load, .. } = self;
        writeln!(f, "{:<24}{:>8}  responses", "one client's tricks", "tried")?;
        for (name, Tried { times, responses }) in tricks {
            let responses: Vec<_> = responses.iter().map(|(status, count)| format!("{status}: {count}")).collect();
            writeln!(f, "{name:<24}{times:>8}  {}", responses.join(", "))?;
        }
        writeln!(f, "\nof the others")?;
        let mut row = |name: &str, value: &dyn fmt::Display| writeln!(f, "{name:<32}{value}");
        row("instances ejected", ejections)?;
        row("instances not healthy", &not_healthy.len())?;
        row("good requests", &load.requests)?;
        row("good requests that failed", &load.failed)?;
        for (name, p99) in [("p99 undisturbed, ms", p99_quiet_ms), ("p99 beside the abuser, ms", p99_abused_ms)] {
            p99.map_or(Ok(()), |p99| row(name, &format_args!("{p99:.2}")))?;
        }
        self.ratio().map_or(Ok(()), |ratio| row("the second over the first", &format_args!("{ratio:.2}")))?;
        load.failed_by_kind.iter().try_for_each(|(kind, count)| row(&format!("failed {kind}"), count))?;
        writeln!(f, "{}", if self.is_clean() { "nobody was hurt" } else { "NOT KEPT" })
    }
}

/// Does it and reports.
///
/// # Errors
/// When the system does not start or cannot be looked at. What the abuser achieves is in the report.
pub async fn abuse(args: &AbuseArgs) -> Result<AbuseReport> {
    let stack = Stack::for_tests().stateless(INSTANCES).stateful(INSTANCES).health_interval(HEALTH_INTERVAL);
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
    let mut tricks: BTreeMap<&'static str, Tried> = Trick::ALL.map(|trick| (trick.name(), Tried::default())).into();
    for (trick, status) in abusers.join_all().await.into_iter().flatten() {
        let tried = tricks.entry(trick.name()).or_default();
        tried.times += 1;
        if let Some(status) = status {
            *tried.responses.entry(status).or_default() += 1;
        }
    }
    tokio::time::sleep(SETTLE).await;
    let (p99_quiet_ms, p99_abused_ms) = (load.latencies().p99(Stage::Quiet), load.latencies().p99(Stage::Abused));
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

/// How often the gateway has ejected an instance, whatever the reason.
async fn ejections(stack: &Stack) -> Result<u64> {
    let control = Arc::new(Target::resolve(&stack.urls().control, None, Reach::ThisMachine).await?);
    let request = http::Request::get("/metrics").body(Full::default()).context("no request")?;
    let metrics = Client::new(control).send(request).await.context("the gateway tells no metrics")?;
    let text = String::from_utf8_lossy(&metrics.body);
    let counts = text.lines().filter(|line| line.starts_with("gateway_upstream_ejections_total{"));
    let counts: Vec<u64> = counts.filter_map(|line| line.rsplit(' ').next()?.parse().ok()).collect();
    anyhow::ensure!(!counts.is_empty(), "the gateway counts no ejections: {}", metrics.status);
    Ok(counts.into_iter().sum())
}

async fn not_healthy(stack: &Stack) -> Result<Vec<String>> {
    let pools = stack.control().pools().await?;
    let instances = pools.into_iter().flat_map(|pool| pool.instances);
    let ill = instances.filter(|instance| instance.state != InstanceState::Healthy);
    Ok(ill.map(|instance| format!("{} is {}", instance.addr, instance.state)).collect())
}
