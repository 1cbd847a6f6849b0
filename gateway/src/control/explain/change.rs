//! The effect of a change of membership, measured over a sample of keys.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use proto_contracts::control::{AssumedWeight, Change, ExplainQuery, Flow, InstanceState, Move};
use proto_contracts::{AffinityKey, ErrorCode, InstanceName};
use service_kit::problem::ApiError;

use crate::control::pools::{SAMPLE, percent};
use crate::pool::snapshot::Entry;
use crate::pool::{Instance, Pool, Snapshot};
use crate::routing::{sample, sticky};

/// Number of moving keys in the response.
const EXAMPLES: usize = 5;

/// The effect of the query's change; `None` without one.
///
/// # Errors
/// When a leaving instance is not a member, or a joining one is.
pub(super) fn change(
    pool: &Pool,
    snapshot: &Snapshot,
    query: &ExplainQuery,
) -> Result<Option<Change>, ApiError> {
    let ExplainQuery { without, with, drain, weight, .. } = query;
    if without.is_none() && with.is_none() && drain.is_none() && weight.is_none() {
        return Ok(None);
    }
    let changed = changed_snapshot(pool, snapshot, query)?;
    let move_of = |key: AffinityKey| {
        let (from, to) = (home_in(snapshot, key), home_in(&changed, key));
        (from != to).then(|| Move { key, from: from.cloned(), to: to.cloned() })
    };
    let moves: Vec<_> = sample::keys(SAMPLE).filter_map(move_of).collect();
    let count = |count: usize| percent(u32::try_from(count).unwrap_or(SAMPLE), SAMPLE);
    let mut flows = BTreeMap::new();
    for moved in &moves {
        *flows.entry((moved.from.as_ref(), moved.to.as_ref())).or_insert(0_usize) += 1;
    }
    let mut flows: Vec<_> = flows.into_iter().collect();
    flows.sort_by_key(|&(_, count)| Reverse(count));
    let flows = flows.into_iter().map(|((from, to), keys)| Flow {
        from: from.cloned(),
        to: to.cloned(),
        percent: count(keys),
    });
    Ok(Some(Change {
        epoch: changed.epoch,
        home: home_in(&changed, query.key).cloned(),
        moves: move_of(query.key).is_some(),
        sampled_keys: SAMPLE,
        moved_percent: count(moves.len()),
        flows: flows.collect(),
        effect: effect(snapshot, query),
        examples: moves.into_iter().take(EXAMPLES).collect(),
    }))
}

fn home_in(snapshot: &Snapshot, key: AffinityKey) -> Option<&InstanceName> {
    sticky::home(snapshot, key).map(|member| member.instance.name())
}

/// The changed membership.
fn changed_snapshot(
    pool: &Pool,
    snapshot: &Snapshot,
    query: &ExplainQuery,
) -> Result<Snapshot, ApiError> {
    let has = |name: &InstanceName| {
        snapshot.members().iter().any(|member| member.instance.name() == name)
    };
    let leaving = [query.without.as_ref(), query.drain.as_ref()];
    if let Some(name) = leaving.into_iter().flatten().find(|name| !has(name)) {
        let detail = format!("The pool has no member '{name}'; {}.", known(snapshot));
        return Err(ApiError::new(ErrorCode::InstanceNotFound, detail));
    }
    if let Some(name) = query.with.as_ref().filter(|name| has(name)) {
        return Err(ApiError::new(
            ErrorCode::InstanceExists,
            format!("The pool already has a member '{name}'."),
        ));
    }
    let weighted = query.weight.as_ref();
    if let Some(AssumedWeight { name, .. }) = weighted.filter(|weighted| !has(&weighted.name)) {
        let detail = format!("The pool has no member '{name}'; {}.", known(snapshot));
        return Err(ApiError::new(ErrorCode::InstanceNotFound, detail));
    }
    let stays = |entry: Entry| {
        let weight = weighted
            .filter(|weighted| weighted.name == *entry.instance.name())
            .map(|weighted| weighted.weight);
        let entry = Entry { weight: weight.unwrap_or(entry.weight), ..entry };
        (!leaving.contains(&Some(entry.instance.name()))).then_some(entry)
    };
    // Only its name matters.
    let no_address = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
    let newcomer =
        query.with.as_ref().map(|name| Arc::new(Instance::new(name.clone(), no_address, None)));
    let newcomer = newcomer.map(|newcomer| Entry::from((newcomer, InstanceState::Healthy)));
    Ok(snapshot.changed(pool.seed(), stays, newcomer))
}

fn known(snapshot: &Snapshot) -> String {
    let names: Vec<_> =
        snapshot.members().iter().map(|member| member.instance.name().as_str()).collect();
    if names.is_empty() { "it has none".to_owned() } else { format!("it has {}", names.join(", ")) }
}

/// When keys would move.
fn effect(snapshot: &Snapshot, query: &ExplainQuery) -> String {
    let mut sentences = Vec::new();
    if let Some(name) = &query.drain {
        let member = snapshot.members().iter().find(|member| member.instance.name() == name);
        let sessions = member.map_or(0, |member| member.instance.reported_sessions());
        sentences.push(format!(
            "During the drain {name} would get no new keys. Its keys would move at the deadline, \
             or as soon as it has no live sessions ({sessions} by its last report)."
        ));
    }
    if let Some(name) = &query.without {
        sentences.push(format!(
            "Without {name}, its keys would move at once, and back when it returns."
        ));
    }
    if let Some(name) = &query.with {
        sentences.push(format!(
            "{name} would take its share of every member's keys once its health checks pass."
        ));
    }
    if let Some(AssumedWeight { name, weight }) = &query.weight {
        sentences.push(format!(
            "With the weight {weight}, keys would move only to or from {name}, at once."
        ));
    }
    sentences.join(" ")
}
