//! `loadtest compare`: stateless calls beside stateful ones.

use futures_util::future::try_join_all;
use jiff::Timestamp;

use crate::client::CallError;
use crate::phase::{self, Finished};
use crate::plan::{Order, Phase, Plan};
use crate::progress::Progress;
use crate::report::Report;

/// The target is unreachable.
#[derive(Debug, thiserror::Error)]
#[error("{url} does not respond; is the system up?")]
pub struct Unreachable {
    url: String,
    source: CallError,
}

/// Runs the plan's phases and reports on them. Shows progress on standard error, if that is a
/// terminal.
///
/// # Errors
/// When the target cannot be connected to at a phase's start. Requests that fail are in the report.
pub async fn compare(plan: &Plan) -> Result<Report, Unreachable> {
    let timestamp = Timestamp::now();
    let finished = run(plan).await?;
    Ok(Report::new(plan, timestamp, plan.phases.iter().zip(finished)))
}

/// Runs the plan's phases.
pub(crate) async fn run(plan: &Plan) -> Result<Vec<Finished>, Unreachable> {
    let progress = Progress::new();
    let run = async |phase: Phase| {
        let finished = phase::run(plan, phase, progress.phase(&phase, plan.duration)).await;
        finished.map_err(|source| Unreachable { url: plan.target.url().to_owned(), source })
    };
    match plan.order {
        Order::Together => try_join_all(plan.phases.iter().map(|&phase| run(phase))).await,
        Order::Sequence => {
            let mut finished = Vec::new();
            for &phase in &plan.phases {
                finished.push(run(phase).await?);
            }
            Ok(finished)
        }
    }
}
