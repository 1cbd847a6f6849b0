//! `loadtest runbook`: every command of the runbook on a local stack, under load, with failed
//! requests counted by section.
//!
//! `document` parses sections, promises and commands. `checkout` runs a command as an operator
//! would. `not_run` lists commands that need containers or another system.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use local_stack::AgentClient;

use crate::chaos::system::System;
use crate::rollout::args::SteadyLoad;
use crate::rollout::load::Load;
use crate::target::{Reach, Target};
use args::RunbookArgs;
use checkout::{Checkout, CommandOutcome};
use document::{Command, Promise, Section};
use report::{NotRun, RunbookReport, SectionReport};

pub mod args;
pub mod report;

mod checkout;
mod document;
mod not_run;

/// Requests before the first command of a section, and after its last.
const REQUESTS_BEFORE: u64 = 30;
const REQUESTS_AFTER: u64 = 70;
/// Limit for these requests; far longer than any fault delays a request.
const SERVED_WITHIN: Duration = Duration::from_secs(60);

/// Runs the runbook's commands section by section.
///
/// # Errors
/// When the runbook cannot be read, the system does not start, or requests hang.
pub async fn runbook(args: &RunbookArgs) -> Result<RunbookReport> {
    let file =
        args.file.canonicalize().with_context(|| format!("cannot read {}", args.file.display()))?;
    let text = std::fs::read_to_string(&file)
        .with_context(|| format!("cannot read {}", file.display()))?;
    let repository = file
        .parent()
        .and_then(Path::parent)
        .context("the runbook is not in docs/ of the repository")?;
    let sections = document::sections(&text);
    let mut report = RunbookReport::default();
    let mut checkout = Checkout::start(repository).await?;
    let status = AgentClient::of_running(&checkout.state())?.status().await?;
    let https = status.urls.https.clone().context("Nginx is not part of the system")?;
    let target =
        Target::resolve(&https, Some(Path::new(&status.ca_file)), Reach::ThisMachine).await?;
    let run = async {
        let system = System::running(&https, &checkout.state()).await?;
        let mut run =
            Run { checkout: &mut checkout, system, target: Arc::new(target), load: load(args) };
        for section in &sections {
            // `export` commands set up the operator's shell, so they always run.
            let wanted = args.sections.is_empty()
                || args.sections.iter().any(|title| section.title.contains(title))
                || section.commands.iter().any(|command| command.text.starts_with("export "));
            if wanted {
                let recovered = run.section(section, &mut report).await;
                if !recovered.with_context(|| format!("section '{}'", section.title))? {
                    break;
                }
            }
        }
        Ok(())
    };
    let ended: Result<()> = tokio::select! {
        ended = run => ended,
        _interrupted = tokio::signal::ctrl_c() => Err(anyhow::anyhow!("interrupted")),
    };
    drop(checkout);
    ended.map(|()| report)
}

fn load(args: &RunbookArgs) -> SteadyLoad {
    SteadyLoad {
        rate: args.rate,
        connections: args.connections,
        streams: 2,
        timeout: args.timeout,
        seed: 1,
        idempotency_keys: true,
    }
}

struct Run<'a> {
    checkout: &'a mut Checkout,
    system: System,
    target: Arc<Target>,
    load: SteadyLoad,
}

impl Run<'_> {
    /// Runs one section; `false` if the system did not recover, so that no other section can run.
    async fn section(&mut self, section: &Section, report: &mut RunbookReport) -> Result<bool> {
        let mut commands = Vec::new();
        for command in &section.commands {
            match not_run::reason(&command.text) {
                None => commands.push(command),
                Some(reason) => {
                    report.not_run.push(NotRun {
                        line: command.line,
                        command: command.text.clone(),
                        reason,
                    });
                }
            }
        }
        if !section.commands.is_empty() && section.promise.is_none() {
            report.wrong.push(format!(
                "line {}: '{}' has commands but no promise",
                section.line, section.title
            ));
        }
        if commands.is_empty() {
            return Ok(true);
        }
        eprintln!("{}", section.title);
        for command in &section.before {
            self.command(command, report).await?;
        }
        let load = Load::start(&self.load, &self.target);
        await_requests(&load, REQUESTS_BEFORE).await?;
        for command in &commands {
            self.command(command, report).await?;
        }
        await_requests(&load, load.requests() + REQUESTS_AFTER).await?;
        let load = load.stop().await;
        for command in &section.after {
            self.command(command, report).await?;
        }
        let recovered = self.system.wait_until_recovered().await;
        if let Err(error) = &recovered {
            report.wrong.push(format!(
                "line {}: after '{}' the system did not recover: {error:#}",
                section.line, section.title
            ));
        }
        if section.promise == Some(Promise::NoRequestFails) && !load.is_clean() {
            report.wrong.push(format!(
                "line {}: '{}' promises that no request fails, but {} of {} failed: {:?}",
                section.line, section.title, load.failed, load.requests, load.failed_by_kind
            ));
        }
        report.sections.push(SectionReport {
            section: section.title.clone(),
            line: section.line,
            commands: commands.len(),
            requests: load.requests,
            failed: load.failed,
            failed_by_kind: load.failed_by_kind,
            promise: section.promise.as_ref().map(|promise| promise.as_str().to_owned()),
        });
        Ok(recovered.is_ok())
    }

    async fn command(&mut self, command: &Command, report: &mut RunbookReport) -> Result<()> {
        eprintln!("  {}", command.text);
        if let CommandOutcome::Failure(how) =
            self.checkout.run(&command.text).await.with_context(|| command.text.clone())?
        {
            report.wrong.push(format!("line {}: `{}`: {how}", command.line, command.text));
        }
        Ok(())
    }
}

/// Waits until so many requests have ended, failed or not.
async fn await_requests(load: &Load, count: u64) -> Result<()> {
    let enough = async {
        while load.requests() < count {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(SERVED_WITHIN, enough).await.context("requests hang")
}
