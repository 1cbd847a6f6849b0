//! `drain`, with `--wait`.

use std::time::{Duration, Instant};

use http::Method;
use proto_contracts::control::{DrainInstance, Instance, InstanceChanged, InstanceState, Pools};
use serde_json::json;

use crate::ctl::client::Client;
use crate::ctl::error::CtlError;
use crate::ctl::output::{at_all, print};
use crate::ctl::progress::Progress;
use crate::ctl::target::Target;

/// Poll interval.
const LOOK: Duration = Duration::from_millis(250);
/// Tolerance after the deadline, for the gateway's timers and a health check.
const MARGIN: Duration = Duration::from_secs(10);

/// Drains the instance at this path and, with `wait`, waits until it is drained.
pub(super) async fn run(
    client: &Client,
    json: bool,
    path: &str,
    target: &Target,
    wanted: DrainInstance,
    wait: bool,
) -> Result<(), CtlError> {
    let begun: InstanceChanged =
        client.change(Method::POST, &format!("{path}/drain"), Some(&wanted)).await?;
    let InstanceChanged { instance: begun, missed } = begun;
    if !wait {
        print(json, &begun, || outcome(&target.name, &begun))?;
        return at_all(missed);
    }
    let begin = Instant::now();
    let deadline = Duration::from_secs(begun.drain.as_ref().map_or(0, |drain| drain.seconds_left));
    let mut progress = Progress::default();
    loop {
        let pools: Pools = client.get("pools").await?;
        let Some(instance) =
            pools.pools.iter().filter(|pool| target.is_in(pool)).find_map(|pool| target.of(pool))
        else {
            break;
        };
        if instance.state == InstanceState::Drained {
            break;
        }
        let failed = |why: String| {
            progress.end();
            Err(CtlError::NotDrained(why))
        };
        if instance.state == InstanceState::Healthy && begin.elapsed() > LOOK * 4 {
            return failed(format!("{} is healthy again: it was undrained", target.name));
        }
        if instance.drain.as_ref().is_some_and(|drain| drain.serves_as_the_last) {
            return failed(format!(
                "{} stays: no other instance of its pool is available, so it keeps serving past \
                 its deadline. Add or undrain another instance",
                target.name
            ));
        }
        if begin.elapsed() > deadline + MARGIN {
            let left = left(instance);
            return failed(format!(
                "{} is not drained {} s after its deadline: {left}",
                target.name,
                MARGIN.as_secs()
            ));
        }
        if !json {
            progress.show(&format!("{}: {}, {}", target.name, instance.state, left(instance)));
        }
        tokio::time::sleep(LOOK).await;
    }
    progress.end();
    let took = begin.elapsed().as_secs_f64();
    print(json, &json!({"drained": target.name, "seconds": took}), || {
        format!("{} is drained after {took:.1} s.\n", target.name)
    })?;
    at_all(missed)
}

/// The text after the request.
fn outcome(name: &str, instance: &Instance) -> String {
    let Some(drain) = &instance.drain else { return format!("{name} is {}.\n", instance.state) };
    let mut text = match instance.state {
        InstanceState::Drained => format!("{name} is drained, until it is undrained.\n"),
        _ if drain.serves_as_the_last => format!("{name} is being drained.\n"),
        _ => format!("{name} takes no new keys; it is drained within {} s.\n", drain.seconds_left),
    };
    if let Some(note) = &drain.note {
        text += note;
        text.push('\n');
    }
    text
}

fn left(instance: &Instance) -> String {
    let sessions =
        instance.live_sessions.map(|count| format!(", {count} live sessions")).unwrap_or_default();
    format!("{} requests in flight, {} streams{sessions}", instance.in_flight, instance.streams)
}
