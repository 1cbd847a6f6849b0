//! Messages, straight at an instance and through the gateway, beside what Redis's own benchmark does with the same script.

use std::sync::Arc;

use anyhow::Result;
use http::StatusCode;

use super::bed::Bed;
use super::drive::{drive, for_a_while};
use super::redis_benchmark::RedisBenchmark;
use super::report::{Bound, Ratio, Section};
use super::rounds::{Done, Round, ratio, row};
use super::sessions::{Routed, Sessions};
use crate::target::Target;

const INSTANCE: &str = "stateful-1";

pub(crate) async fn measure(bed: &Bed<'_>) -> Result<Section> {
    let (gateway, instance) = (bed.gateway().await?, bed.instance(INSTANCE).await?);
    let (connections, count) = (bed.plan.connections, bed.plan.sessions);
    let benchmark = RedisBenchmark::prepare(&bed.stack.redis_sessions_url(), &instance, count, connections).await?;
    // Without a gateway nobody claims a copy, so the service calls the script as the benchmark does: with nothing but the
    // session and the message that differs.
    let here = Sessions::create(&instance, connections, count, Routed::Anyhow).await?;
    let at_home = Sessions::create(&instance, connections, count, Routed::Home).await?;
    let by_gateway = Sessions::create(&gateway, connections, count, Routed::Anyhow).await?;
    let (mut redis, mut straight, mut kept, mut routed) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut calls = 2 * count;
    for _ in 0..bed.plan.rounds {
        redis.push(Round::measure(&bed.processes, benchmark.run(calls)).await?);
        // As many as fill a round, by what the last one did.
        calls = redis.last().map_or(calls, |last| (last.rps * bed.plan.round_s) as usize).max(1);
        straight.push(Round::measure(&bed.processes, messages(bed, &instance, &here)).await?);
        kept.push(Round::measure(&bed.processes, messages(bed, &instance, &at_home)).await?);
        routed.push(Round::measure(&bed.processes, messages(bed, &gateway, &by_gateway)).await?);
    }
    let cpu_of_redis = |round: &Round| round.cpu_of("redis");
    let ratios = vec![
        Ratio {
            name: "CPU of Redis, a message straight over the benchmark's call",
            ratio: ratio(&straight, &redis, cpu_of_redis),
            bound: Some(Bound::AtMost(1.3)),
        },
        Ratio {
            name: "CPU of Redis, a message by the gateway over the same",
            ratio: ratio(&routed, &redis, cpu_of_redis),
            bound: Some(Bound::AtMost(1.3)),
        },
        Ratio {
            name: "messages/s straight over the benchmark's calls/s",
            ratio: ratio(&straight, &redis, |round| round.rps),
            bound: Some(Bound::AtLeast(0.5)),
        },
    ];
    let rows = vec![
        row("script, redis-benchmark", &redis),
        row("message, straight at an instance", &straight),
        row("the same, a copy kept hot", &kept),
        row("message, sticky by the gateway", &routed),
    ];
    Ok(Section { title: "Messages, on disk before they are acknowledged".to_owned(), rows, ratios, memory: None })
}

/// Posts to all of the sessions in turn.
async fn messages(bed: &Bed<'_>, target: &Arc<Target>, sessions: &Sessions) -> Result<Done> {
    let sessions = sessions.clone();
    let next = for_a_while(bed.plan.round(), move |number| sessions.message(number));
    let driven = drive(target, bed.plan.connections, next, |answer| answer.status == StatusCode::CREATED).await?;
    Ok(driven.into())
}
