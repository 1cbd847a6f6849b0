//! `GET /control/v1/pools` and `PUT /control/v1/pools/{pool}/strategy`.

use std::sync::Arc;
use std::time::Instant;

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};
use proto_contracts::control::{self, InstanceState, SetStrategy, StrategySet};
use proto_contracts::{ErrorCode, InstanceName, PoolName};
use service_kit::body::{Json, NoQuery};
use service_kit::health::Fault;
use service_kit::problem::ApiError;
use service_kit::response;

use crate::control::saved;
use crate::control::state::State;
use crate::pool::slow_start::SlowStart;
use crate::pool::{ClosedLab, Host, Instance, Pool, Pools, Registry, Snapshot};
use crate::routing::sample;

/// Size of samples: the standard error of a share of a third is a third of a per cent.
pub(super) const SAMPLE: u32 = 20_000;

/// Both pools with their instances.
pub(super) async fn list(_: NoQuery, state: web::Data<State>) -> Result<HttpResponse, ApiError> {
    response::no_store(StatusCode::OK, &view_of(&state.pools, None))
}

/// One pool, or all.
pub(super) fn view_of(pools: &Pools, only: Option<PoolName>) -> control::Pools {
    let selected = pools.iter().filter(|pool| only.is_none_or(|only| only == pool.name()));
    control::Pools { pools: selected.map(|pool| view(pool)).collect() }
}

/// Switches the strategy of a pool.
pub(super) async fn set_strategy(
    _: NoQuery,
    state: web::Data<State>,
    pool: web::Path<String>,
    Json(wanted): Json<SetStrategy>,
) -> Result<HttpResponse, ApiError> {
    let pool = Arc::clone(state.pool(&pool)?);
    let (strategy, lasts) = (wanted.strategy, pool.changes_last());
    let refused = |closed: ClosedLab| {
        ApiError::new(ErrorCode::InvalidStrategy, format!("Nothing was changed: {closed}."))
    };
    saved::change(move || pool.set_strategy(strategy), refused).await?;
    response::no_store(StatusCode::OK, &StrategySet { strategy, lasts, missed: Vec::new() })
}

/// A pool is ready while it has an available instance.
pub(super) fn readiness(pool: &Pool) -> Result<(), Fault> {
    let healthy = pool.hosts(|hosts| {
        let serves =
            |host: &Host| matches!(host.state(), InstanceState::Healthy | InstanceState::Draining);
        hosts.iter().any(serves)
    });
    if healthy { Ok(()) } else { Err("no instance is healthy".into()) }
}

/// The view of a host.
pub(super) fn instance(
    registry: &Registry,
    host: &Host,
    key_share_percent: f64,
) -> control::Instance {
    let slow_start = registry.slow_start_of(host, Instant::now());
    let count = |read: fn(&Instance) -> u64| host.instance().map_or(0, |instance| read(instance));
    control::Instance {
        name: host.name().cloned(),
        addr: host.addr(),
        state: host.state(),
        version: host.version().map(str::to_owned),
        in_flight: count(Instance::in_flight),
        streams: count(Instance::streams),
        requests: count(Instance::requests),
        connect_failures: count(Instance::connect_failures),
        live_sessions: host.live_sessions(),
        hot_sessions: host.session_use().hot,
        key_share_percent,
        weight: registry.weight_of(host),
        lease_s: host.leased_for(Instant::now()).map(|left| left.as_secs_f64().ceil() as u64),
        member: None,
        slow_start_percent: (slow_start != SlowStart::OVER).then(|| slow_start.percent()),
        drain: host.drain(Instant::now()),
        ejected_for_s: host
            .ejected_for(Instant::now())
            .map(|left| left.as_secs_f64().ceil() as u64),
        last_error: host.last_error().map(str::to_owned),
    }
}

fn view(pool: &Pool) -> control::Pool {
    let snapshot = pool.snapshot();
    let homes = sample::homes(&snapshot, SAMPLE);
    let mut instances: Vec<_> = pool.with_registry(|registry| {
        let share = |host: &Host| share(&snapshot, &homes, host.name());
        registry.hosts().iter().map(|host| instance(registry, host, share(host))).collect()
    });
    for instance in &mut instances {
        instance.member = membership(&snapshot, instance.name.as_ref());
    }
    // Hosts without a name come last.
    instances.sort_by(|a: &control::Instance, b| {
        a.name.is_none().cmp(&b.name.is_none()).then(a.name.cmp(&b.name))
    });
    let (strategy, epoch) = (snapshot.strategy, snapshot.epoch);
    control::Pool { name: pool.name(), strategy, epoch, instances, discovery: pool.discovery() }
}

/// An instance's place in the ranking, if it is a member.
pub(super) fn membership(
    snapshot: &Snapshot,
    name: Option<&InstanceName>,
) -> Option<control::Member> {
    let mut members = snapshot.members().iter();
    let member = members.find(|member| Some(member.instance.name()) == name)?;
    Some(control::Member { hash: member.name_hash.to_hex(), usable: member.usable })
}

/// An instance's share of homes, in per cent.
pub(super) fn key_share(pool: &Pool, name: Option<&InstanceName>) -> f64 {
    let snapshot = pool.snapshot();
    share(&snapshot, &sample::homes(&snapshot, SAMPLE), name)
}

fn share(snapshot: &Snapshot, homes: &[u32], name: Option<&InstanceName>) -> f64 {
    let place = snapshot.members().iter().position(|member| Some(member.instance.name()) == name);
    place.map_or(0.0, |place| percent(homes[place], SAMPLE))
}

/// A share in per cent, to two places.
pub(super) fn percent(part: u32, whole: u32) -> f64 {
    (f64::from(part) / f64::from(whole.max(1)) * 10_000.0).round() / 100.0
}
