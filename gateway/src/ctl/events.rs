//! `events`: a line per event.

use std::io::{self, Write as _};

use http_body_util::BodyExt as _;
use proto_contracts::PoolName;
use proto_contracts::control::{Event, Rates, Routed};

use crate::ctl::client::Client;
use crate::ctl::error::CtlError;
use crate::ctl::show;

/// Shows events until the gateway ends the stream.
pub(super) async fn follow(
    client: &Client,
    json: bool,
    types: Option<&str>,
    pool: Option<PoolName>,
) -> Result<(), CtlError> {
    let filters = [("types", types), ("pool", pool.map(PoolName::as_str))];
    let filters: Vec<_> =
        filters.iter().filter_map(|(name, value)| Some(format!("{name}={}", (*value)?))).collect();
    let mut stream =
        client.stream(&format!("events?{}", filters.join("&").replace(' ', ""))).await?;
    let mut bytes = Vec::new();
    while let Some(Ok(frame)) = stream.frame().await {
        bytes.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data));
        while let Some(end) = bytes.windows(2).position(|pair| pair == b"\n\n") {
            let block: Vec<u8> = bytes.drain(..end + 2).collect();
            let block = String::from_utf8_lossy(&block);
            if let Some(data) = block.lines().find_map(|line| line.strip_prefix("data: ")) {
                print(json, data).map_err(CtlError::Output)?;
            }
        }
    }
    Err(CtlError::StreamEnded)
}

fn print(json: bool, data: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match serde_json::from_str::<Event>(data) {
        Ok(event) if !json => writeln!(out, "{}", line(&event)),
        // Unknown events of a newer gateway are printed unchanged.
        _ => writeln!(out, "{data}"),
    }?;
    out.flush()
}

/// The line of an event.
fn line(event: &Event) -> String {
    match event {
        Event::Pools(pools) => show::pools(pools),
        Event::Routed(routed) => request(routed),
        Event::Rates(rates) => of_second(rates),
        Event::InstanceChanged { pool, instance, addr, state, detail, .. } => {
            let name = instance.as_ref().map_or_else(|| addr.to_string(), ToString::to_string);
            let why = detail.as_ref().map(|detail| format!(": {detail}")).unwrap_or_default();
            format!("{pool}  {name} is {state}{why}")
        }
        Event::InstanceAdded { pool, addr } => format!("{pool}  {addr} is added"),
        Event::InstanceRemoved { pool, instance, addr, .. } => {
            let name = instance.as_ref().map_or_else(|| addr.to_string(), ToString::to_string);
            format!("{pool}  {name} is removed")
        }
        Event::DrainProgressed {
            pool,
            instance,
            state,
            seconds_left,
            in_flight,
            streams,
            live_sessions,
        } => {
            let sessions =
                live_sessions.map(|count| format!(", {count} live sessions")).unwrap_or_default();
            format!(
                "{pool}  {instance} is {state}, {seconds_left} s left: {in_flight} requests in \
                 flight, {streams} streams{sessions}"
            )
        }
        Event::StrategyChanged { pool, strategy } => format!("{pool}  the strategy is {strategy}"),
        Event::OverloadChanged { pool, limit: Some(limit) } => {
            format!("{pool}  overloaded: requests beyond {limit} in flight are shed")
        }
        Event::OverloadChanged { pool, limit: None } => format!("{pool}  no longer overloaded"),
        Event::ConnectionsChanged { limit: Some(limit) } => {
            format!("the limit of {limit} client connections is reached: further ones are refused")
        }
        Event::ConnectionsChanged { limit: None } => {
            "accepting new client connections again".to_owned()
        }
        Event::DiscoveryChanged { pool, error: Some(error) } => {
            format!("{pool}  discovery failed, keeping the known instances: {error}")
        }
        Event::DiscoveryChanged { pool, error: None } => format!("{pool}  discovery works again"),
        Event::ConfigReloaded(reloaded) => match &reloaded.needs_restart[..] {
            [] => format!("the configuration was reloaded: {}", reloaded.fingerprint),
            settings => format!("the configuration was reloaded, but for {}", settings.join(", ")),
        },
        Event::ConfigRejected { detail } => {
            format!("the configuration is invalid, nothing has changed: {detail}")
        }
        Event::StateFileChanged { error: Some(error) } => {
            format!("the state file cannot be written, changes are refused: {error}")
        }
        Event::StateFileChanged { error: None } => "the state file is writable again".to_owned(),
        Event::Missed { events } => {
            format!("(this reader was too slow: {events} events were dropped)")
        }
        Event::GatewayStopping {} => "the gateway is stopping".to_owned(),
    }
}

fn of_second(rates: &Rates) -> String {
    let p99 = rates.p99_ms.map(|p99| format!(", p99 {p99:.1} ms")).unwrap_or_default();
    format!(
        "{}  {} requests in {} ms{p99}, {} failed, {} not found",
        rates.pool, rates.requests, rates.interval_ms, rates.failed, rates.not_found
    )
}

fn request(routed: &Routed) -> String {
    let instance = routed.instance.as_ref().map_or("-", |name| name.as_str());
    let verdict = routed.verdict.map_or("-", |verdict| verdict.as_str());
    let key = routed.key.map_or_else(|| "-".to_owned(), |key| key.to_string());
    let others = if routed.sample_weight > 1 {
        format!("  (1 of {})", routed.sample_weight)
    } else {
        String::new()
    };
    format!(
        "{instance:<14} {verdict:<8} {key:<8} {} {:>8.1} ms  {} {}{others}",
        routed.status, routed.duration_ms, routed.method, routed.route
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_a_line_with_its_instance_and_verdict() {
        let json = serde_json::json!({
            "type": "routed", "pool": "stateful", "instance": "stateful-2", "verdict": "home", "key": "0badcafe",
            "method": "GET", "route": "/api/v1/stateful/sessions/{session_id}", "status": 200, "duration_ms": 1.25,
            "request_id": "0190b0e4-7d1c-7a52-9c41-0123456789ab", "sample_weight": 7,
        });
        let text = line(&serde_json::from_value(json).expect("an event"));
        for expected in ["stateful-2", "home", "0badcafe", "200", "1.2 ms", "GET", "(1 of 7)"] {
            assert!(text.contains(expected), "{expected} in {text}");
        }
    }
}
