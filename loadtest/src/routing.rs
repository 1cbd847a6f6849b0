//! `loadtest routing`: the same sessions under two routing strategies, side by side.
//!
//! Both loads run at once against the same instances. Each request demands its strategy by a header
//! that a gateway with an open lab obeys, so no pool is switched.

use std::fmt;

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use http::StatusCode;
use jiff::Timestamp;
use proto_contracts::Endpoint;
use proto_contracts::control::Strategy;
use serde::Serialize;

use crate::client::Client;
use crate::compare;
use crate::output::{Page, ReportFiles, ToPage};
use crate::plan::{Kind, LoadArgs, Order, Phase, Plan};
use crate::report::{KindReport, page, table};
use crate::request;
use crate::scenario::with_strategy;
use crate::target::InvalidTarget;

/// No strategy has this name.
const NO_STRATEGY: &str = "none";

/// Options of `loadtest routing`.
#[derive(Debug, Args)]
pub struct RoutingArgs {
    /// The load
    #[command(flatten)]
    pub load: LoadArgs,

    /// The report
    #[command(flatten)]
    pub files: ReportFiles,
}

/// A checked plan.
pub struct RoutingPlan(Plan);

impl RoutingPlan {
    /// Checks the options.
    ///
    /// # Errors
    /// When the target is invalid.
    pub async fn from_args(args: &RoutingArgs) -> Result<Self, InvalidTarget> {
        let pacing = args.load.pacing(None);
        let phases = [Strategy::Sticky, Strategy::RoundRobin].map(|strategy| Phase {
            kind: Kind::Stateful,
            pacing,
            strategy: Some(strategy),
        });
        Plan::new(&args.load, phases.to_vec(), Order::Together).await.map(Self)
    }
}

/// The result of `loadtest routing`.
#[derive(Debug, Serialize)]
pub struct RoutingReport {
    /// Start of the run.
    pub timestamp: Timestamp,
    /// The system under load.
    pub target: String,
    /// Duration, seconds.
    pub duration_s: f64,
    /// Connections of each load.
    pub connections: usize,
    /// Sessions that stay at their home.
    pub sticky: KindReport,
    /// Sessions whose requests go to the instances in turn.
    pub round_robin: KindReport,
}

/// Runs both loads.
///
/// # Errors
/// When the target does not respond, or its lab is closed.
pub async fn routing(RoutingPlan(plan): &RoutingPlan) -> Result<RoutingReport> {
    require_open_lab(plan).await?;
    let timestamp = Timestamp::now();
    let mut finished = compare::run(plan).await?.into_iter().zip(&plan.phases);
    let mut report = || {
        let (finished, phase) = finished.next().context("a load is missing")?;
        anyhow::Ok(KindReport::new(phase.pacing, &finished))
    };
    Ok(RoutingReport {
        timestamp,
        target: plan.target.url().to_owned(),
        duration_s: plan.duration.as_secs_f64(),
        connections: plan.connections.get(),
        sticky: report()?,
        round_robin: report()?,
    })
}

/// A closed lab ignores the header, so it would not reject a strategy that does not exist.
async fn require_open_lab(plan: &Plan) -> Result<()> {
    let request = with_strategy(request::get(Endpoint::Info.templates().canonical), NO_STRATEGY);
    let mut client = Client::new(plan.target.clone().into());
    let response = client
        .send(request)
        .await
        .with_context(|| format!("{} does not respond; is the system up?", plan.target.url()))?;
    ensure!(
        response.status == StatusCode::BAD_REQUEST,
        "the gateway ignores X-Routing-Strategy, since its lab is closed; `[lab] enabled = true` \
         in its configuration opens it, as `make up LAB=1` does"
    );
    Ok(())
}

impl RoutingReport {
    /// Failed requests of both loads.
    pub fn errors(&self) -> u64 {
        self.sticky.total.errors + self.round_robin.total.errors
    }

    fn loads(&self) -> [(&'static str, &KindReport); 2] {
        [("sticky", &self.sticky), ("round robin", &self.round_robin)]
    }
}

impl fmt::Display for RoutingReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        table(f, &self.loads())?;
        for (name, load) in self.loads() {
            writeln!(f, "\n{name}")?;
            if let Some(share) = load.reads_from_memory {
                writeln!(f, "  reads from memory {:>13.1} %", 100.0 * share)?;
            }
            for (what, counts) in [
                ("served by", load.instances.iter().map(|(k, v)| (k.as_str(), *v)).collect()),
                ("verdict", load.verdicts.iter().map(|(k, v)| (*k, *v)).collect::<Vec<_>>()),
            ] {
                let all = counts.iter().map(|(_, count)| count).sum::<u64>().max(1);
                for (name, count) in counts {
                    let percent = 100.0 * count as f64 / all as f64;
                    writeln!(f, "  {what:<10}{name:<14}{percent:>7.1} %")?;
                }
            }
        }
        Ok(())
    }
}

impl ToPage for RoutingReport {
    fn page(&self) -> Result<Page> {
        let Self { target, connections, duration_s, timestamp, .. } = self;
        let about = format!(
            "{target}, {connections} connections of each, at the same time, {duration_s} s, \
             {timestamp:.0}"
        );
        let mut page = Page::new("Sticky routing beside round robin", &about);
        match self.errors() {
            0 => page
                .verdict(true, "Every request succeeded, with the state that its client expected."),
            errors => page.verdict(false, &format!("{errors} requests failed.")),
        }
        let shares = self.loads().into_iter().filter_map(|(name, load)| {
            let share = load.reads_from_memory?;
            Some((format!("reads from memory, {name}"), format!("{:.1} %", 100.0 * share)))
        });
        page.facts(shares);
        page::write(&mut page, &self.loads())?;
        Ok(page)
    }
}
