//! The event `rates`: what each pool did in the last second.
//!
//! Everything is read from counters that the data path keeps anyway, and only while a stream wants
//! it, so it costs no request anything.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use proto_contracts::PoolName;
use proto_contracts::control::{Event, InstanceRates, Rates, SessionReads};
use service_kit::telemetry::Metrics;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use crate::events::Events;
use crate::figures::Counters;
use crate::pool::{Instance, Pool, Pools};

/// How often the event is sent.
const INTERVAL: Duration = Duration::from_secs(1);

/// The streams that want the event. Clones share them.
#[derive(Clone, Debug)]
pub(super) struct RateSubscribers(watch::Sender<usize>);

impl Default for RateSubscribers {
    fn default() -> Self {
        Self(watch::Sender::new(0))
    }
}

impl RateSubscribers {
    /// Subscribes until the value is dropped.
    pub(super) fn subscribe(&self) -> RateSubscription {
        self.0.send_modify(|count| *count += 1);
        RateSubscription(self.clone())
    }
}

/// A subscription to rates.
pub(super) struct RateSubscription(RateSubscribers);

impl Drop for RateSubscription {
    fn drop(&mut self) {
        self.0.0.send_modify(|count| *count -= 1);
    }
}

/// Publishes the rates of all pools every second while there are subscribers, forever.
pub(super) async fn publish(
    subscribers: RateSubscribers,
    pools: Arc<Pools>,
    metrics: Metrics,
    events: Events,
) {
    let mut count = subscribers.0.subscribe();
    while count.wait_for(|count| *count > 0).await.is_ok() {
        let mut ticks = interval(INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks.tick().await;
        let mut before = Sample::take(&pools, &metrics);
        while *count.borrow_and_update() > 0 {
            ticks.tick().await;
            let now = Sample::take(&pools, &metrics);
            for pool in pools.iter() {
                events.publish(|| Event::Rates(rates(pool, &before, &now)));
            }
            before = now;
        }
    }
}

/// All counters at one moment.
struct Sample {
    at: Instant,
    counters: Vec<Counters>,
    /// The address and name of each host, and its counters, by pool.
    hosts: BTreeMap<PoolName, Vec<(InstanceRates, Reported)>>,
}

/// What an instance reported of its reads, since its start.
#[derive(Clone, Copy, Default)]
struct Reported {
    reads: Option<u64>,
    memory_reads: Option<u64>,
}

impl Sample {
    fn take(pools: &Pools, metrics: &Metrics) -> Self {
        let text = metrics.render().unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        Self {
            at: Instant::now(),
            counters: PoolName::ALL.map(|pool| Counters::read(&text, pool)).into(),
            hosts: pools.iter().map(|pool| (pool.name(), hosts(pool))).collect(),
        }
    }

    fn host(&self, pool: PoolName, wanted: &InstanceRates) -> Option<&(InstanceRates, Reported)> {
        let same = |(known, _): &&(InstanceRates, Reported)| {
            known.addr == wanted.addr && known.name == wanted.name
        };
        self.hosts.get(&pool)?.iter().find(same)
    }
}

/// The hosts of a pool, with their requests since they became members.
fn hosts(pool: &Pool) -> Vec<(InstanceRates, Reported)> {
    let mut hosts: Vec<_> = pool.hosts(|hosts| {
        let view = |host: &crate::pool::Host| {
            let count = |read: fn(&Instance) -> u64| host.instance().map_or(0, |found| read(found));
            let sessions = host.session_use();
            let instance = InstanceRates {
                name: host.name().cloned(),
                addr: host.addr(),
                state: host.state(),
                requests: count(Instance::requests),
                in_flight: count(Instance::in_flight),
                streams: count(Instance::streams),
                live_sessions: host.live_sessions(),
                hot_sessions: sessions.hot,
            };
            (instance, Reported { reads: sessions.reads, memory_reads: sessions.memory_reads })
        };
        hosts.iter().map(view).collect()
    });
    hosts.sort_by(|(a, _), (b, _)| {
        a.name.is_none().cmp(&b.name.is_none()).then(a.name.cmp(&b.name))
    });
    hosts
}

fn rates(pool: &Pool, before: &Sample, now: &Sample) -> Rates {
    let name = pool.name();
    let counted = now.counters[name as usize].since(&before.counters[name as usize]);
    let mut reads = None;
    let grown = |now: Option<u64>, then: Option<u64>| {
        // A restarted instance begins at 0.
        now.map_or(0, |now| now.checked_sub(then.unwrap_or(now)).unwrap_or(now))
    };
    let instances = now.hosts.get(&name).into_iter().flatten().map(|(host, reported)| {
        let earlier = before.host(name, host);
        if reported.reads.is_some() {
            let then = earlier.map(|(_, reported)| *reported).unwrap_or_default();
            let reads: &mut SessionReads = reads.get_or_insert_default();
            reads.total += grown(reported.reads, then.reads);
            reads.memory += grown(reported.memory_reads, then.memory_reads);
        }
        let sent = earlier.map_or(0, |(earlier, _)| earlier.requests);
        InstanceRates {
            requests: host.requests.checked_sub(sent).unwrap_or(host.requests),
            ..host.clone()
        }
    });
    let instances = instances.collect();
    let snapshot = pool.snapshot();
    let whole = |count: f64| count as u64;
    Rates {
        pool: name,
        strategy: snapshot.strategy,
        epoch: snapshot.epoch,
        interval_ms: u64::try_from(now.at.duration_since(before.at).as_millis()).unwrap_or(0),
        requests: whole(counted.with_status("")),
        verdicts: counted
            .verdicts
            .iter()
            .filter(|(_, count)| **count > 0.0)
            .map(|(verdict, count)| (verdict.clone(), whole(*count)))
            .collect(),
        retries: whole(counted.retries),
        failed: whole(counted.with_status("5")),
        not_found: whole(counted.with_status("404")),
        p50_ms: counted.quantile_ms(0.5),
        p99_ms: counted.quantile_ms(0.99),
        reads,
        instances,
    }
}
