//! Lesson 6. Made false by round robin in both parts.

use std::time::Instant;

use anyhow::{Result, ensure};
use proto_contracts::PoolName;
use proto_contracts::control::Strategy;

use crate::lesson::catalogue::{Lesson, needs};
use crate::lesson::finding::{Finding, Unit};
use crate::lesson::school::{Options, School};
use crate::lesson::visitor::Visitor;

const SESSIONS: usize = 30;
/// Reads of each session.
const READS: usize = 20;
/// A stalled instance has no lease for a moment, of the second or two that the reads take.
const STALLS_PERCENT: f64 = 20.0;
const STALLS: &str = "an instance that this machine stalls for longer than its lease may not trust \
                      its copies, and reads Redis until it has a new lease. Those reads are not \
                      wrong, only slower; up to a fifth of them is accepted";

/// Where reads came from, and how long they took.
#[derive(Clone, Debug, Default)]
struct Sources {
    memory: usize,
    ms: Vec<f64>,
}

pub(super) async fn run(school: &mut School, options: Options) -> Result<Vec<Finding>> {
    let room = school.room(needs(Lesson::Reads)).await?;
    let mut visitors = room.visitors(options.sample(SESSIONS)).await?;
    let at_home = if options.falsify { Strategy::RoundRobin } else { Strategy::Sticky };
    room.set_strategy(PoolName::Stateful, at_home).await?;
    // The first read after a switch fetches the copy.
    read(&mut visitors, 1).await?;
    let sticky = read(&mut visitors, READS).await?;
    room.set_strategy(PoolName::Stateful, Strategy::RoundRobin).await?;
    let in_turn = read(&mut visitors, READS).await?;
    Ok(judge(&sticky, &in_turn))
}

async fn read(visitors: &mut [(Visitor, String)], times: usize) -> Result<Sources> {
    let mut sources = Sources::default();
    for _ in 0..times {
        for (visitor, _) in &mut *visitors {
            let begin = Instant::now();
            let read = visitor.read().await?;
            ensure!(read.status == 200, "a read got {}", read.status);
            sources.ms.push(begin.elapsed().as_secs_f64() * 1_000.0);
            sources.memory += usize::from(read.source.as_deref() == Some("memory"));
        }
    }
    sources.ms.sort_by(f64::total_cmp);
    Ok(sources)
}

fn judge(sticky: &Sources, in_turn: &Sources) -> Vec<Finding> {
    let share =
        |what, sources: &Sources, p| Finding::share(what, sources.memory, sources.ms.len(), p);
    let mut findings = vec![
        share("reads from memory, sticky", sticky, 1.0).tolerating(STALLS_PERCENT, STALLS),
        share("reads from memory, round robin", in_turn, 0.0),
    ];
    for (name, sources) in [("sticky", sticky), ("round robin", in_turn)] {
        for (percentile, place) in [("median", 50), ("p99", 99)] {
            let ms = sources.ms.get(sources.ms.len() * place / 100).copied().unwrap_or_default();
            findings.push(Finding::shown(format!("{percentile}, {name}"), Unit::Ms, ms));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(sticky: usize, in_turn: usize, ms: f64) -> bool {
        let of = |memory, ms| Sources { memory, ms: vec![ms; 600] };
        judge(&of(sticky, ms), &of(in_turn, 1.0)).iter().all(Finding::holds)
    }

    #[test]
    fn reads_at_home_that_need_redis_fail_the_lesson_and_durations_never_do() {
        assert!(holds(600, 0, 0.5) && holds(560, 0, 900.0));
        assert!(!holds(0, 0, 0.5), "round robin, or no copy in memory");
        assert!(!holds(600, 5, 0.5), "a copy that may be old was shown");
    }
}
