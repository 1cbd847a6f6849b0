//! `drain`, and waiting for its end.

use std::io::{self, IsTerminal as _, Write};
use std::time::{Duration, Instant};

use http::Method;
use proto_contracts::control::{Instance, InstanceState, Pools};
use serde_json::{Value, json};

use crate::ctl::client::Client;
use crate::ctl::error::CtlError;
use crate::ctl::{Target, say};

/// Between two looks at the progress.
const LOOK: Duration = Duration::from_millis(250);
/// How much longer than its deadline a drain may take: the gateway's own timers and a health check.
const MARGIN: Duration = Duration::from_secs(10);

/// Drains the instance at this path and, if asked to, waits until it has left.
pub(super) async fn run(
    client: &Client,
    json: bool,
    path: &str,
    target: &Target,
    deadline: Duration,
    wait: bool,
) -> Result<(), CtlError> {
    let body = json!({"deadline_s": deadline.as_secs()});
    let answer = client.command(Method::POST, &format!("{path}/drain"), Some(&body)).await?;
    if !wait {
        let answer: Value = serde_json::from_slice(&answer).unwrap_or_default();
        let text = || format!("{} takes no new keys; it leaves within {} s.\n", target.name, deadline.as_secs());
        return say(json, &answer, text);
    }
    let begin = Instant::now();
    let mut progress = Progress::default();
    loop {
        let pools: Pools = client.get("pools").await?;
        let Some(instance) = pools.pools.iter().filter(|pool| target.is_in(pool)).find_map(|pool| target.of(pool))
        else {
            break;
        };
        if instance.state.as_str() == "drained" {
            break;
        }
        if instance.state == InstanceState::Healthy && begin.elapsed() > LOOK * 4 {
            progress.end();
            return Err(CtlError::NotDrained(format!(
                "{} is healthy again: somebody took the drain back",
                target.name
            )));
        }
        if begin.elapsed() > deadline + MARGIN {
            progress.end();
            let left = left(instance);
            return Err(CtlError::NotDrained(format!(
                "{} has not left {} s after its deadline: {left}",
                target.name,
                MARGIN.as_secs()
            )));
        }
        if !json {
            progress.show(&format!("{}: {}, {}", target.name, instance.state, left(instance)));
        }
        tokio::time::sleep(LOOK).await;
    }
    progress.end();
    let took = begin.elapsed().as_secs_f64();
    say(json, &json!({"drained": target.name, "seconds": took}), || {
        format!("{} has left after {took:.1} s.\n", target.name)
    })
}

fn left(instance: &Instance) -> String {
    let sessions = instance.live_sessions.map(|count| format!(", {count} live sessions")).unwrap_or_default();
    format!("{} requests in flight, {} streams{sessions}", instance.in_flight, instance.streams)
}

/// One line that is written over on a terminal; elsewhere a line for each change.
#[derive(Default)]
struct Progress {
    last: String,
}

impl Progress {
    fn show(&mut self, line: &str) {
        if self.last == line {
            return;
        }
        line.clone_into(&mut self.last);
        let mut out = io::stderr().lock();
        // Progress is worth nothing to whom it cannot be shown.
        let _nobody_reads = if out.is_terminal() {
            write!(out, "\r\x1b[K{line}").and_then(|()| out.flush())
        } else {
            writeln!(out, "{line}")
        };
    }

    fn end(&self) {
        let mut out = io::stderr().lock();
        if !self.last.is_empty() && out.is_terminal() {
            let _nobody_reads = writeln!(out);
        }
    }
}
