//! `GET /control/v1/pools/{pool}/explain`: where a key goes, why, and what a change would move.

mod change;

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};
use proto_contracts::control::{ExplainQuery, Explanation, InstanceState, Ranked, Strategy};
use service_kit::body::Query;
use service_kit::problem::ApiError;
use service_kit::response;

use crate::control::state::State;
use crate::pool::{Member, Pool, Snapshot};
use crate::resilience::load_bound;
use crate::routing::sticky::{self, Found, Place};

/// The ranking of a key and, with `without`, `with`, `drain` or `weight`, the effect of that
/// change.
pub(super) async fn explain(
    state: web::Data<State>,
    pool: web::Path<String>,
    Query(query): Query<ExplainQuery>,
) -> Result<HttpResponse, ApiError> {
    let pool = state.pool(&pool)?;
    let snapshot = pool.snapshot();
    let max_in_flight = state.reloader.traffic().overload.max_in_flight;
    response::no_store(StatusCode::OK, &explanation(pool, &snapshot, &query, max_in_flight)?)
}

fn explanation(
    pool: &Pool,
    snapshot: &Snapshot,
    query: &ExplainQuery,
    max_in_flight: u64,
) -> Result<Explanation, ApiError> {
    let found = sticky::choose(snapshot, query.key, &[], pool.load_bound(), max_in_flight);
    let limits = Limits {
        bound: pool
            .load_bound()
            .map(|bound| bound.limits(snapshot.in_flight(), snapshot.usable_shares())),
        max_in_flight,
    };
    let ranking: Vec<_> = sticky::ranking(snapshot, query.key)
        .into_iter()
        .zip(1..)
        .map(|((score, member), rank)| Ranked {
            rank,
            name: member.instance.name().clone(),
            score: format!("{score:016x}"),
            weight: member.weight,
            weighted_score: snapshot
                .is_weighted()
                .then(|| member.weighted_score(query.key).value()),
            state: member.state,
            passed_over: why_skipped(member, limits),
        })
        .collect();
    Ok(Explanation {
        key: query.key,
        pool: pool.name(),
        strategy: snapshot.strategy,
        epoch: snapshot.epoch,
        choice: found.map(|found| found.member.instance.name().clone()),
        reason: reason(snapshot, found, &ranking),
        change: change::change(pool, snapshot, query)?,
        ranking,
    })
}

/// The current limits of requests in flight.
#[derive(Clone, Copy)]
struct Limits {
    /// By the pool's load bound, if any.
    bound: Option<load_bound::Limits>,
    /// By `[overload]`.
    max_in_flight: u64,
}

/// Why sticky routing would skip this member, independent of its rank.
fn why_skipped(member: &Member, limits: Limits) -> Option<String> {
    if !member.usable {
        return Some(match member.state {
            InstanceState::Unhealthy => "its health checks fail".to_owned(),
            InstanceState::Ejected => "it is ejected as an outlier".to_owned(),
            state => format!("it is {state}"),
        });
    }
    let in_flight = member.instance.in_flight();
    if in_flight >= limits.max_in_flight {
        return Some(format!(
            "it has {in_flight} requests in flight, the limit of [overload] max_in_flight"
        ));
    }
    let limit =
        limits.bound.map(|bound| bound.of(member.weight)).filter(|&limit| in_flight >= limit)?;
    Some(format!("it has {in_flight} requests in flight; its load bound is {limit}"))
}

fn reason(snapshot: &Snapshot, found: Option<Found<'_>>, ranking: &[Ranked]) -> String {
    let Some(found) = found else {
        return match snapshot.members() {
            [] => "The pool has no member.".to_owned(),
            members if members.iter().any(|member| member.usable) => {
                "All available members are at their limit of requests in flight.".to_owned()
            }
            _ => "No member of the pool is available.".to_owned(),
        };
    };
    let name = found.member.instance.name();
    let above = ranking.iter().take_while(|ranked| ranked.name != *name);
    let passed_over: Vec<_> = above
        .filter_map(|ranked| {
            let title = if ranked.rank == 1 { "the home " } else { "" };
            Some(format!("{title}{}: {}", ranked.name, ranked.passed_over.as_ref()?))
        })
        .collect();
    let passed_over = passed_over.join("; ");
    let why = match found.place {
        Place::Home if snapshot.is_weighted() => {
            format!("{name} is the key's home: its weighted score is the highest")
        }
        Place::Home => format!("{name} is the key's home: its score is the highest"),
        Place::Spilled => {
            format!("{name} is the highest-ranked member below its limit ({passed_over})")
        }
        Place::Further => format!("{name} is the highest-ranked available member ({passed_over})"),
    };
    let note = match found.member.state {
        InstanceState::Unhealthy => {
            " Most of the pool fails its health checks, so the checks are ignored and all members \
             are used."
        }
        InstanceState::Ejected => " No healthy member is left, so ejected members are used.",
        _ => "",
    };
    match snapshot.strategy {
        Strategy::Sticky => format!("Sticky: {why}.{note}"),
        other => {
            format!(
                "The pool's strategy is {other}, which ignores the key. With sticky routing: \
                 {why}.{note}"
            )
        }
    }
}
