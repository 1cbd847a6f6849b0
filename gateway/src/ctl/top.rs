//! `top`: live rates of pools and instances.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use proto_contracts::control::{Instance, Pool, Pools, Strategy};
use proto_contracts::{Epoch, PoolName};
use serde::Serialize;

use crate::ctl::client::Client;
use crate::ctl::error::CtlError;
use crate::ctl::output::print;
use crate::ctl::show;
use crate::ctl::terminal::Screen;
use crate::figures::Counters;

/// Shows the rates of each interval until `q`; with `once` it ends after the first.
pub(super) async fn run(
    client: &Client,
    json: bool,
    once: bool,
    interval: Duration,
) -> Result<(), CtlError> {
    let mut before = Sample::take(client).await?;
    let mut screen = if once || json { None } else { Screen::take().map_err(CtlError::Output)? };
    if let Some(screen) = &screen {
        let waiting = format!("{}: measuring …\n", client.authority());
        screen.show(&waiting).map_err(CtlError::Output)?;
    }
    loop {
        let quit = async {
            match &mut screen {
                Some(screen) => screen.quit().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = tokio::time::sleep(interval) => {}
            () = quit => return Ok(()),
            _ = tokio::signal::ctrl_c() => return Ok(()),
        }
        let now = Sample::take(client).await?;
        let rates = Rates::between(&before, &now);
        match &screen {
            Some(screen) => {
                screen.show(&frame(client.authority(), &rates)).map_err(CtlError::Output)?
            }
            None => print(json, &rates, || frame(client.authority(), &rates))?,
        }
        if once {
            return Ok(());
        }
        before = now;
    }
}

/// Counters at one moment.
struct Sample {
    at: Instant,
    pools: Pools,
    counters: Vec<(PoolName, Counters)>,
}

impl Sample {
    async fn take(client: &Client) -> Result<Self, CtlError> {
        let pools: Pools = client.get("pools").await?;
        let text = client.metrics().await?;
        let counters =
            pools.pools.iter().map(|pool| (pool.name, Counters::read(&text, pool.name))).collect();
        Ok(Self { at: Instant::now(), pools, counters })
    }

    fn counters(&self, pool: PoolName) -> Counters {
        self.counters
            .iter()
            .find(|(name, _)| *name == pool)
            .map(|(_, counters)| counters.clone())
            .unwrap_or_default()
    }

    fn requests(&self, pool: PoolName, wanted: &Instance) -> u64 {
        let instances = self
            .pools
            .pools
            .iter()
            .filter(|known| known.name == pool)
            .flat_map(|pool| &pool.instances);
        let same = |known: &&Instance| known.addr == wanted.addr && known.name == wanted.name;
        instances.into_iter().find(same).map_or(0, |instance| instance.requests)
    }
}

/// The rates of one interval.
#[derive(Serialize)]
struct Rates {
    pools: Vec<PoolRates>,
}

#[derive(Serialize)]
struct PoolRates {
    name: PoolName,
    strategy: Strategy,
    epoch: Epoch,
    requests_per_s: f64,
    retries_per_s: f64,
    p50_ms: Option<f64>,
    p99_ms: Option<f64>,
    /// Shares in per cent.
    verdicts: Vec<(String, f64)>,
    instances: Vec<InstanceRates>,
}

#[derive(Serialize)]
struct InstanceRates {
    #[serde(flatten)]
    instance: Instance,
    requests_per_s: f64,
}

impl Rates {
    fn between(before: &Sample, now: &Sample) -> Self {
        let seconds = now.at.duration_since(before.at).as_secs_f64().max(0.001);
        Self {
            pools: now
                .pools
                .pools
                .iter()
                .map(|pool| PoolRates::of(pool, before, now, seconds))
                .collect(),
        }
    }
}

impl PoolRates {
    fn of(pool: &Pool, before: &Sample, now: &Sample, seconds: f64) -> Self {
        let counted = now.counters(pool.name).since(&before.counters(pool.name));
        let routed = counted.routed();
        let share = |(verdict, count): (&String, &f64)| (verdict.clone(), 100.0 * count / routed);
        let mut verdicts: Vec<_> =
            counted.verdicts.iter().filter(|(_, count)| **count > 0.0).map(share).collect();
        verdicts.sort_by(|(_, a), (_, b)| b.total_cmp(a));
        let instances = pool.instances.iter().map(|instance| {
            // A new instance, or one at a new address, begins at 0.
            let earlier = before.requests(pool.name, instance);
            let sent = instance.requests.checked_sub(earlier).unwrap_or(instance.requests);
            InstanceRates { instance: instance.clone(), requests_per_s: sent as f64 / seconds }
        });
        Self {
            name: pool.name,
            strategy: pool.strategy,
            epoch: pool.epoch,
            requests_per_s: routed / seconds,
            retries_per_s: counted.retries / seconds,
            p50_ms: counted.quantile_ms(0.5),
            p99_ms: counted.quantile_ms(0.99),
            verdicts,
            instances: instances.collect(),
        }
    }
}

/// The whole view, on 80 columns.
fn frame(gateway: &str, rates: &Rates) -> String {
    let mut text = format!("{:<60}{:>20}\n", show::cut(gateway, 60), "q quits");
    for pool in &rates.pools {
        let ms = |value: Option<f64>| {
            value.map_or_else(|| "-".to_owned(), |value| format!("{value:.1} ms"))
        };
        let _infallible = writeln!(
            text,
            "\n{}  {}  epoch {}  {:.0} req/s  p50 {}  p99 {}",
            pool.name,
            pool.strategy,
            pool.epoch,
            pool.requests_per_s,
            ms(pool.p50_ms),
            ms(pool.p99_ms)
        );
        let verdicts: Vec<_> =
            pool.verdicts.iter().map(|(name, share)| format!("{name} {share:.1} %")).collect();
        let verdicts =
            if verdicts.is_empty() { "no request".to_owned() } else { verdicts.join("  ") };
        let _infallible = writeln!(text, "  {verdicts}  retries {:.0}/s", pool.retries_per_s);
        let _infallible = writeln!(
            text,
            "  {:<18} {:<10} {:>8} {:>7} {:>6} {:>8} {:>7} {:>6}",
            "INSTANCE", "STATE", "REQ/S", "FLIGHT", "LIVE", "SESSIONS", "KEYS %", "FAILS"
        );
        for InstanceRates { instance, requests_per_s } in &pool.instances {
            let sessions =
                instance.live_sessions.map_or_else(|| "-".to_owned(), |count| count.to_string());
            let _infallible = writeln!(
                text,
                "  {:<18} {:<10} {requests_per_s:>8.0} {:>7} {:>6} {sessions:>8} {:>7.2} {:>6}",
                show::cut(&show::name(instance), 18),
                show::cut(instance.state.as_str(), 10),
                instance.in_flight,
                instance.streams,
                instance.key_share_percent,
                instance.connect_failures,
            );
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(at: Instant, requests: u64, home: u64) -> Sample {
        let pools = serde_json::from_value(serde_json::json!({"pools": [{
            "name": "stateful", "strategy": "sticky", "epoch": "0badcafe", "instances": [
                {"name": "stateful-1", "addr": "127.0.0.1:8201", "state": "healthy", "in_flight": 3, "streams": 2,
                 "requests": requests, "connect_failures": 0, "live_sessions": 12, "key_share_percent": 100.0},
            ],
        }]}));
        let text = format!("gateway_affinity_total{{pool=\"stateful\",verdict=\"home\"}} {home}\n");
        let counters = vec![(PoolName::Stateful, Counters::read(&text, PoolName::Stateful))];
        Sample { at, pools: pools.expect("pools"), counters }
    }

    #[test]
    fn rates_are_per_second_and_a_frame_fits_80_columns() {
        let begin = Instant::now();
        let rates = Rates::between(
            &sample(begin, 100, 90),
            &sample(begin + Duration::from_secs(2), 1_100, 890),
        );
        let pool = &rates.pools[0];
        assert_eq!((pool.requests_per_s, pool.instances[0].requests_per_s), (400.0, 500.0));
        assert_eq!(pool.verdicts, [("home".to_owned(), 100.0)]);
        let text = frame("127.0.0.1:8001", &rates);
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        assert!(
            text.contains("400 req/s")
                && text.contains("home 100.0 %")
                && text.contains("stateful-1"),
            "{text}"
        );
    }

    #[test]
    fn a_restarted_gateway_begins_at_zero() {
        let begin = Instant::now();
        let rates = Rates::between(
            &sample(begin, 1_000, 1_000),
            &sample(begin + Duration::from_secs(1), 30, 20),
        );
        assert_eq!(
            (rates.pools[0].requests_per_s, rates.pools[0].instances[0].requests_per_s),
            (20.0, 30.0)
        );
    }
}
