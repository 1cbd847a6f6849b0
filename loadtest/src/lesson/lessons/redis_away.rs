//! Lesson 10. Made false by leaving Redis up.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use proto_contracts::PoolName;
use proto_contracts::agent::Action;
use proto_contracts::control::Strategy;

use crate::lesson::catalogue::{Lesson, needs};
use crate::lesson::finding::Finding;
use crate::lesson::lessons::sessions::{self, Reads};
use crate::lesson::school::{Options, School};
use crate::lesson::visitor::Visitor;

const SESSIONS: usize = 20;
const REDIS: &str = "redis-sessions";
const MEMORY: &str = "memory";
/// The exception to linearizable reads, declared by the response.
const UNVERIFIED: &str = "memory; unverified";
/// Far more than a lease lasts.
const LEASES_TIMEOUT: Duration = Duration::from_secs(20);
/// Interval between two reads that wait for the end of a lease.
const STEP: Duration = Duration::from_millis(100);

/// Requests while Redis is away, and the sessions after its return.
struct Away {
    requests: usize,
    stateless: usize,
    /// Reads at once, from memory.
    memory: usize,
    writes: usize,
    /// Reads once the leases have ended.
    unverified: usize,
    after: Reads,
}

pub(super) async fn run(school: &mut School, options: Options) -> Result<Vec<Finding>> {
    let room = school.room(needs(Lesson::RedisAway)).await?;
    room.set_strategy(PoolName::Stateful, Strategy::Sticky).await?;
    let mut visitors = room.visitors(options.sample(SESSIONS)).await?;
    // Makes them hot.
    sessions::read(&mut visitors, 2).await?;
    if !options.falsify {
        room.act(REDIS, Action::Kill).await?;
    }
    let (mut stateless, mut memory, mut writes, mut unverified) = (0, 0, 0, 0);
    for (visitor, _) in &mut visitors {
        stateless += usize::from(visitor.info().await?.status == 200);
        let source = source(visitor).await?;
        memory += usize::from(source.is_some_and(|source| source.starts_with(MEMORY)));
    }
    for (visitor, _) in &mut visitors {
        writes += usize::from(visitor.say().await?.status == 201);
    }
    if !options.falsify {
        await_end_of_leases(&mut visitors).await?;
    }
    for (visitor, _) in &mut visitors {
        unverified += usize::from(source(visitor).await?.as_deref() == Some(UNVERIFIED));
    }
    if !options.falsify {
        room.act(REDIS, Action::Start).await?;
    }
    room.await_ready().await?;
    let after = sessions::read(&mut visitors, 1).await?;
    let requests = visitors.len();
    Ok(judge(&Away { requests, stateless, memory, writes, unverified, after }))
}

/// Where a read came from; `None`: it failed.
async fn source(visitor: &mut Visitor) -> Result<Option<String>> {
    let read = visitor.read().await?;
    Ok(read.source.filter(|_| read.status == 200))
}

/// Waits until no instance trusts its copies any more.
async fn await_end_of_leases(visitors: &mut [(Visitor, String)]) -> Result<()> {
    let begin = Instant::now();
    for (visitor, _) in visitors {
        while source(visitor).await?.as_deref() == Some(MEMORY) {
            ensure!(begin.elapsed() < LEASES_TIMEOUT, "a lease does not end without Redis");
            tokio::time::sleep(STEP).await;
        }
    }
    Ok(())
}

fn judge(away: &Away) -> Vec<Finding> {
    let Away { requests, stateless, memory, writes, unverified, after } = away;
    let share = |what: &str, part: &usize, p| Finding::share(what, *part, *requests, p);
    vec![
        share("stateless requests that succeed", stateless, 1.0),
        share("hot reads that succeed, at once", memory, 1.0),
        share("writes that succeed", writes, 0.0),
        share("hot reads marked unverified, later", unverified, 1.0),
        Finding::share("sessions lost, after its return", after.lost, after.all, 0.0),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(stateless: usize, reads: [usize; 2], writes: usize, lost: usize) -> bool {
        let (after, [memory, unverified]) = (Reads { lost, all: 20 }, reads);
        let away = Away { requests: 20, stateless, memory, writes, unverified, after };
        judge(&away).iter().all(Finding::holds)
    }

    #[test]
    fn what_must_work_and_what_must_not_fail_the_lesson() {
        assert!(holds(20, [20, 20], 0, 0));
        assert!(!holds(20, [20, 0], 20, 0), "Redis was up");
        assert!(!holds(19, [20, 20], 0, 0), "stateless requests depend on it");
        assert!(!holds(20, [19, 20], 0, 0), "hot reads depend on it");
        assert!(!holds(20, [20, 0], 0, 0), "a copy that may be old is not marked");
        assert!(!holds(20, [20, 20], 1, 0), "a write was promised by nobody");
        assert!(!holds(20, [20, 20], 0, 1), "an acknowledged session is lost");
    }
}
