//! Reads of sessions, compared with stateless requests, through each of the gateway's exchanges.

use std::sync::Arc;

use anyhow::Result;
use http::StatusCode;
use proto_contracts::control::Strategy;
use proto_contracts::{Endpoint, PoolName};

use super::drive::{drive, for_a_while};
use super::env::BenchEnv;
use super::report::{Bound, Ratio, Section, Spread};
use super::rounds::{Done, FromMemory, Round, ratio, row};
use super::sessions::{Routed, Sessions};
use crate::request;
use crate::target::Target;

pub(crate) async fn measure(env: &BenchEnv<'_>) -> Result<Section> {
    let gateway = env.gateway().await?;
    let sessions =
        Sessions::create(&gateway, env.plan.connections, env.plan.sessions, Routed::Unmarked)
            .await?;
    let (mut info, mut sticky, mut round_robin) = (Vec::new(), Vec::new(), Vec::new());
    let (mut pingora_info, mut pingora_sticky) = (Vec::new(), Vec::new());
    for _ in 0..env.plan.rounds {
        info.push(Round::measure(&env.processes, infos(env, &gateway)).await?);
        sticky.push(Round::measure(&env.processes, reads(env, &gateway, &sessions)).await?);
        env.stack.control().set_strategy(PoolName::Stateful, Strategy::RoundRobin).await?;
        round_robin.push(Round::measure(&env.processes, reads(env, &gateway, &sessions)).await?);
        env.stack.control().set_strategy(PoolName::Stateful, Strategy::Sticky).await?;
        env.exchange_by("pingora").await?;
        pingora_info.push(Round::measure(&env.processes, infos(env, &gateway)).await?);
        pingora_sticky.push(Round::measure(&env.processes, reads(env, &gateway, &sessions)).await?);
        env.exchange_by("plain").await?;
    }
    let rows = vec![
        row("info, stateless", &info),
        row("session, sticky", &sticky),
        row("session, round robin", &round_robin),
        row("info, Pingora's proxy", &pingora_info),
        row("session, sticky, Pingora's proxy", &pingora_sticky),
    ];
    let share = rows[1].from_memory.unwrap_or_default();
    let ratios = vec![
        Ratio {
            name: "requests/s, sticky reads over info".to_owned(),
            ratio: ratio(&sticky, &info, |round| round.rps),
            bound: Some(Bound::AtLeast(0.9)),
        },
        Ratio {
            name: "share of sticky reads from memory".to_owned(),
            ratio: Spread::of([share]),
            bound: Some(Bound::AtLeast(0.99)),
        },
        Ratio {
            name: "requests/s, info over Pingora's proxy".to_owned(),
            ratio: ratio(&info, &pingora_info, |round| round.rps),
            bound: Some(Bound::AtLeast(1.8)),
        },
        Ratio {
            name: "requests/s, sticky reads over Pingora's proxy".to_owned(),
            ratio: ratio(&sticky, &pingora_sticky, |round| round.rps),
            bound: Some(Bound::AtLeast(1.8)),
        },
    ];
    Ok(Section {
        title: "Reads through the gateway".to_owned(),
        rows,
        ratios,
        ..Section::default()
    })
}

async fn infos(env: &BenchEnv<'_>, target: &Arc<Target>) -> Result<Done> {
    let path = Endpoint::Info.templates().canonical;
    let next = for_a_while(env.plan.round(), move |_| request::get(path));
    let driven =
        drive(target, env.plan.connections, next, |response| response.status == StatusCode::OK)
            .await?;
    Ok(driven.into())
}

/// Reads all sessions in turn.
pub(super) async fn reads(
    env: &BenchEnv<'_>,
    target: &Arc<Target>,
    sessions: &Sessions,
) -> Result<Done> {
    let (sessions, from_memory) = (sessions.clone(), FromMemory::default());
    let seen = from_memory.clone();
    let next = for_a_while(env.plan.round(), move |number| sessions.read(number));
    let judge = move |response: &crate::client::Response| {
        seen.see(response);
        response.status == StatusCode::OK
    };
    let driven = drive(target, env.plan.connections, next, judge).await?;
    Ok(Done { from_memory: Some(from_memory.count()), ..driven.into() })
}
