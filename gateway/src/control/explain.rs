//! `GET /control/v1/pools/{pool}/explain`: where a key goes, why, and what a change of membership would move.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};
use proto_contracts::control::{Change, ExplainQuery, Explanation, InstanceState, Ranked, Strategy};
use proto_contracts::{ErrorCode, InstanceName};
use service_kit::answer;
use service_kit::body::Query;
use service_kit::problem::ApiError;

use crate::control::State;
use crate::control::pools::{SAMPLE, percent};
use crate::pool::snapshot::sample_keys;
use crate::pool::{Instance, Pool, Snapshot};
use crate::routing::sticky::{self, Found, Place};

/// The ranking of a key and, with `without` or `with`, what that change would move.
pub(super) async fn explain(
    state: web::Data<State>,
    pool: web::Path<String>,
    Query(query): Query<ExplainQuery>,
) -> Result<HttpResponse, ApiError> {
    let pool = state.pool(&pool)?;
    let snapshot = pool.snapshot();
    answer::no_store(StatusCode::OK, &explanation(pool, &snapshot, &query)?)
}

fn explanation(pool: &Pool, snapshot: &Snapshot, query: &ExplainQuery) -> Result<Explanation, ApiError> {
    let ranking = sticky::ranking(snapshot, query.key);
    let found = sticky::choose(snapshot, query.key, &[], pool.load_bound(), u64::MAX);
    Ok(Explanation {
        key: query.key,
        pool: pool.name(),
        strategy: snapshot.strategy,
        epoch: snapshot.epoch,
        choice: found.map(|found| found.member.instance.name().clone()),
        reason: reason(snapshot, found),
        change: change(pool, snapshot, query)?,
        ranking: ranking
            .into_iter()
            .zip(1..)
            .map(|((score, member), rank)| Ranked {
                rank,
                name: member.instance.name().clone(),
                score: format!("{score:016x}"),
                state: member.state,
            })
            .collect(),
    })
}

fn reason(snapshot: &Snapshot, found: Option<Found<'_>>) -> String {
    let Some(found) = found else { return "The pool has no member.".to_owned() };
    let name = found.member.instance.name();
    let why = match found.place {
        Place::Home => format!("{name} is the key's home: of all members its hash with the key is the highest"),
        Place::Spilled => format!(
            "the members ranked above {name} are down or have as many requests in flight as their load bound allows, and \
             it is the highest that has room"
        ),
        Place::Further => format!("the members ranked above {name} are down, and it is the highest that is not"),
    };
    match snapshot.strategy {
        Strategy::Sticky => format!("Sticky: {why}."),
        Strategy::RoundRobin => {
            format!("The pool routes round robin and ignores the key. Sticky routing would say: {why}.")
        }
    }
}

fn change(pool: &Pool, snapshot: &Snapshot, query: &ExplainQuery) -> Result<Option<Change>, ApiError> {
    if query.without.is_none() && query.with.is_none() {
        return Ok(None);
    }
    let changed = supposed(pool, snapshot, query.without.as_ref(), query.with.as_ref())?;
    let home_in = |snapshot: &Snapshot, key| sticky::home(snapshot, key).map(|member| member.instance.name().clone());
    let moved = sample_keys(SAMPLE).filter(|&key| home_in(snapshot, key) != home_in(&changed, key)).count();
    let home = home_in(&changed, query.key);
    Ok(Some(Change {
        epoch: changed.epoch,
        moves: home != home_in(snapshot, query.key),
        home,
        sampled_keys: SAMPLE,
        moved_percent: percent(u32::try_from(moved).unwrap_or(SAMPLE), SAMPLE),
    }))
}

/// The membership as it would be.
fn supposed(
    pool: &Pool,
    snapshot: &Snapshot,
    without: Option<&InstanceName>,
    with: Option<&InstanceName>,
) -> Result<Snapshot, ApiError> {
    let has = |name: &InstanceName| snapshot.members().iter().any(|member| member.instance.name() == name);
    if let Some(name) = without.filter(|name| !has(name)) {
        return Err(ApiError::new(
            ErrorCode::InstanceNotFound,
            format!("The pool has no member '{name}' to be without."),
        ));
    }
    if let Some(name) = with.filter(|name| has(name)) {
        return Err(ApiError::new(ErrorCode::InstanceExists, format!("The pool has a member '{name}' already.")));
    }
    let stay = snapshot
        .members()
        .iter()
        .filter(|member| Some(member.instance.name()) != without)
        .map(|member| (Arc::clone(&member.instance), member.state));
    // Only its name counts; the address is one that nobody has.
    let nowhere = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
    let newcomer = with.map(|name| (Arc::new(Instance::new(name.clone(), nowhere)), InstanceState::Healthy));
    Ok(Snapshot::new(snapshot.strategy, pool.seed(), stay.chain(newcomer)))
}
