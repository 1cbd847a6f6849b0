//! `loadtest logins`: what rejected logins show, and what many logins at once cost.
//!
//! `timing` compares the latencies of an unknown username and a wrong password: a difference
//! would tell who has an account. `rush` has many clients log in beside calls at a constant rate.

use std::fmt;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use local_stack::Stack;
use proto_contracts::Endpoint;
use serde::Serialize;
use serde_json::json;

use crate::client::Client;
use crate::logins::args::LoginsArgs;
use crate::logins::rush::Rush;
use crate::logins::subject::{INSTANCE, PASSWORD, THREADS, USERNAME};
use crate::logins::timing::Timing;
use crate::request;
use crate::target::{Reach, Target};

pub mod args;
pub mod rush;
pub mod timing;

mod subject;

/// The result of `loadtest logins`.
#[derive(Debug, Serialize)]
pub struct LoginsReport {
    /// Rejected logins.
    pub timing: Timing,
    /// Many logins at once.
    pub rush: Rush,
}

impl LoginsReport {
    /// Whether rejections look alike and all costs stayed within their bounds.
    pub fn is_clean(&self) -> bool {
        self.timing.is_within_noise() && self.rush.is_clean()
    }
}

impl fmt::Display for LoginsReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Timing { pairs, unknown_ms, wrong_ms, difference_ms, interval_ms: (low, high) } =
            &self.timing;
        writeln!(f, "rejected logins, {pairs} pairs")?;
        writeln!(f, "  unknown username, median    {unknown_ms:8.2} ms")?;
        writeln!(f, "  wrong password, median      {wrong_ms:8.2} ms")?;
        writeln!(f, "  difference within pairs     {difference_ms:8.3} ms")?;
        writeln!(f, "  99 % interval               {low:8.3} to {high:.3} ms")?;
        let alike = if self.timing.is_within_noise() { "alike" } else { "DIFFERENT" };
        writeln!(f, "  the two are                 {alike:>8}\n")?;
        let rush = &self.rush;
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        writeln!(f, "logins by {} clients at once", rush.clients)?;
        for (status, count) in &rush.logins {
            writeln!(f, "  responses {status}               {count:8}")?;
        }
        writeln!(f, "  accepted per second         {:8.1}", rush.logins_per_second)?;
        writeln!(f, "  memory before               {:8.1} MiB", mib(rush.memory_before))?;
        writeln!(f, "  memory at its peak          {:8.1} MiB", mib(rush.memory_peak))?;
        writeln!(f, "  its bound                   {:8.1} MiB", mib(rush.memory_bound))?;
        writeln!(f, "  failed calls of GET info    {:8}", rush.failed_calls)?;
        writeln!(f, "  their p99 before            {:8.2} ms", rush.p99_before_ms)?;
        writeln!(f, "  their p99 beside the logins {:8.2} ms", rush.p99_beside_ms)?;
        writeln!(f, "  ratio                       {:8.2}", rush.p99_ratio())?;
        writeln!(f, "{}", if self.is_clean() { "within all bounds" } else { "FAILED" })
    }
}

/// Measures, and reports.
///
/// # Errors
/// When the system does not start, or a login fails in a way that is not measured.
pub async fn logins(args: &LoginsArgs) -> Result<LoginsReport> {
    let stack = Stack::for_tests().stateless(1).env(
        "stateless-svc",
        "AUTH_PASSWORD_THREADS",
        THREADS.to_string(),
    );
    let stack = stack.start().await.context("the system does not start")?;
    let report = run(args, &stack).await;
    stack.shutdown().await;
    report
}

async fn run(args: &LoginsArgs, stack: &Stack) -> Result<LoginsReport> {
    let instance = format!("http://{}", stack.addr_of(INSTANCE)?);
    let instance = Arc::new(Target::resolve(&instance, None, Reach::ThisMachine).await?);
    let gateway = Arc::new(Target::resolve(&stack.urls().gateway, None, Reach::ThisMachine).await?);
    let register = json!({"username": USERNAME, "name": "x", "password": PASSWORD});
    let request = request::post(Endpoint::Register.templates().canonical, &register);
    let registered = Client::new(Arc::clone(&gateway)).send(request).await?;
    ensure!(registered.status == 201, "cannot register a user: {}", registered.status);
    Ok(LoginsReport {
        timing: timing::measure(&instance, args.pairs.get()).await?,
        rush: rush::measure(args, stack, &gateway).await?,
    })
}
