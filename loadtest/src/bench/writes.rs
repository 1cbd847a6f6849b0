//! Messages, directly to an instance and through the gateway, compared with redis-benchmark that
//! runs the same script.

use std::sync::Arc;

use anyhow::Result;
use http::StatusCode;

use super::drive::{drive, for_a_while};
use super::env::BenchEnv;
use super::redis_benchmark::RedisBenchmark;
use super::report::{Bound, Ratio, Section};
use super::rounds::{Done, Round, ratio, row};
use super::sessions::{Routed, Sessions};
use crate::target::Target;

const INSTANCE: &str = "stateful-1";

pub(crate) async fn measure(env: &BenchEnv<'_>) -> Result<Section> {
    let (gateway, instance) = (env.gateway().await?, env.instance(INSTANCE).await?);
    let (connections, count) = (env.plan.connections, env.plan.sessions);
    let benchmark =
        RedisBenchmark::prepare(&env.stack.redis_sessions_url(), &instance, count, connections)
            .await?;
    // Without a gateway, instances keep no copies of sessions. So the service sends the benchmark's
    // calls, with other sessions and messages.
    let here = Sessions::create(&instance, connections, count, Routed::Unmarked).await?;
    let at_home = Sessions::create(&instance, connections, count, Routed::Home).await?;
    let by_gateway = Sessions::create(&gateway, connections, count, Routed::Unmarked).await?;
    let (mut redis, mut direct, mut kept, mut routed) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut calls = 2 * count;
    for _ in 0..env.plan.rounds {
        redis.push(Round::measure(&env.processes, benchmark.run(calls)).await?);
        // Enough calls for a round at the rate of the last one.
        calls = redis.last().map_or(calls, |last| (last.rps * env.plan.round_s) as usize).max(1);
        direct.push(Round::measure(&env.processes, messages(env, &instance, &here)).await?);
        kept.push(Round::measure(&env.processes, messages(env, &instance, &at_home)).await?);
        routed.push(Round::measure(&env.processes, messages(env, &gateway, &by_gateway)).await?);
    }
    let cpu_of_redis = |round: &Round| round.cpu_of("redis");
    let ratios = vec![
        Ratio {
            name: "CPU of Redis, direct message over the benchmark's call".to_owned(),
            ratio: ratio(&direct, &redis, cpu_of_redis),
            bound: Some(Bound::AtMost(1.3)),
        },
        Ratio {
            name: "CPU of Redis, message through the gateway over the benchmark's call".to_owned(),
            ratio: ratio(&routed, &redis, cpu_of_redis),
            bound: Some(Bound::AtMost(1.3)),
        },
        Ratio {
            name: "direct messages/s over the benchmark's calls/s".to_owned(),
            ratio: ratio(&direct, &redis, |round| round.rps),
            bound: Some(Bound::AtLeast(0.5)),
        },
    ];
    let rows = vec![
        row("script, redis-benchmark", &redis),
        row("message, direct to an instance", &direct),
        row("direct message, copy kept hot", &kept),
        row("message, sticky through the gateway", &routed),
    ];
    Ok(Section {
        title: "Messages, on disk before they are acknowledged".to_owned(),
        rows,
        ratios,
        ..Section::default()
    })
}

/// Posts to all sessions in turn.
async fn messages(env: &BenchEnv<'_>, target: &Arc<Target>, sessions: &Sessions) -> Result<Done> {
    let sessions = sessions.clone();
    let next = for_a_while(env.plan.round(), move |number| sessions.message(number));
    let driven = drive(target, env.plan.connections, next, |response| {
        response.status == StatusCode::CREATED
    })
    .await?;
    Ok(driven.into())
}
