//! Memory of hot sessions, and read latency with many of them.

use std::time::Instant;

use anyhow::Result;

use super::cost::resident_bytes;
use super::env::BenchEnv;
use super::reads::reads;
use super::report::{Bound, Memory, Ratio, Section};
use super::rounds::{Round, ratio, row};
use super::sessions::{Routed, Sessions};

/// One instance holds few sessions, the other many. Requests bypass the gateway.
const FEW: &str = "stateful-1";
const MANY: &str = "stateful-2";

pub(crate) async fn measure(env: &BenchEnv<'_>) -> Result<Section> {
    let (few_at, many_at) = (env.instance(FEW).await?, env.instance(MANY).await?);
    let pid = env.stack.pid_of(MANY)?;
    let connections = env.plan.connections;
    let few =
        Sessions::create(&few_at, connections, env.plan.few_hot_sessions, Routed::Home).await?;
    few.post_messages(&few_at, connections, env.plan.messages).await?;

    let (hot_before, resident_before) =
        (env.gauge(MANY, "stateful_hot_sessions").await?, resident_bytes(pid)?);
    let begin = Instant::now();
    let many = Sessions::create(&many_at, connections, env.plan.hot_sessions, Routed::Home).await?;
    many.post_messages(&many_at, connections, env.plan.messages).await?;
    let created_in_s = begin.elapsed().as_secs_f64();
    let (hot, counted_bytes) = (
        env.gauge(MANY, "stateful_hot_sessions").await?,
        env.gauge(MANY, "stateful_hot_bytes").await?,
    );
    let (hot_sessions, grown_bytes) =
        (hot.saturating_sub(hot_before), resident_bytes(pid)?.saturating_sub(resident_before));

    let (mut of_few, mut of_many) = (Vec::new(), Vec::new());
    for _ in 0..env.plan.rounds {
        of_few.push(Round::measure(&env.processes, reads(env, &few_at, &few)).await?);
        of_many.push(Round::measure(&env.processes, reads(env, &many_at, &many)).await?);
    }
    let ratios = vec![Ratio {
        name: "p99 of reads, many hot sessions over few".to_owned(),
        ratio: ratio(&of_many, &of_few, |round| round.p99_ms.unwrap_or(f64::NAN)),
        bound: Some(Bound::AtMost(1.5)),
    }];
    Ok(Section {
        title: "Direct reads from an instance with few and from one with many hot sessions"
            .to_owned(),
        rows: vec![row("few hot sessions", &of_few), row("many hot sessions", &of_many)],
        ratios,
        memory: Some(Memory {
            hot_sessions,
            created_in_s,
            grown_bytes,
            bytes_per_session: grown_bytes as f64 / hot_sessions as f64,
            counted_bytes,
            budget_bytes: env.plan.hot_set_bytes(),
        }),
        ..Section::default()
    })
}
