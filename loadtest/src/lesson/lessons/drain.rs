//! Lesson 8. Made false by killing the instance instead of draining it.

use anyhow::{Context as _, Result};
use proto_contracts::PoolName;
use proto_contracts::agent::Action;
use proto_contracts::control::Strategy;

use crate::lesson::catalogue::{Lesson, needs};
use crate::lesson::finding::Finding;
use crate::lesson::lessons::sessions::{self, Reads};
use crate::lesson::school::{Options, School};

const SESSIONS: usize = 120;
/// Far longer than the lesson takes.
const DEADLINE_S: u64 = 600;

/// The fate of one instance's sessions.
struct Leaving {
    draining: Reads,
    newcomers_there: usize,
    newcomers: usize,
    killed: Reads,
}

pub(super) async fn run(school: &mut School, options: Options) -> Result<Vec<Finding>> {
    let room = school.room(needs(Lesson::Drain)).await?;
    room.set_strategy(PoolName::Stateful, Strategy::Sticky).await?;
    let names = room.instances(PoolName::Stateful).await?;
    let leaving = names.first().context("an instance")?;
    let count = options.sample(SESSIONS);
    let mut visitors = room.visitors(count).await?;
    visitors.retain(|(_, home)| home == leaving);
    if options.falsify {
        room.act(leaving, Action::Kill).await?;
    } else {
        room.drain(PoolName::Stateful, leaving, DEADLINE_S).await?;
    }
    let draining = sessions::read(&mut visitors, 1).await?;
    let newcomers = room.visitors(count).await?;
    let newcomers_there = newcomers.iter().filter(|(_, home)| home == leaving).count();
    if !options.falsify {
        room.act(leaving, Action::Kill).await?;
    }
    let killed = sessions::read(&mut visitors, 1).await?;
    Ok(judge(&Leaving { draining, newcomers_there, newcomers: count, killed }))
}

fn judge(leaving: &Leaving) -> Vec<Finding> {
    let Leaving { draining, newcomers_there, newcomers, killed } = leaving;
    let there = *newcomers_there;
    vec![
        Finding::share("its sessions lost, while it drains", draining.lost, draining.all, 0.0),
        Finding::share("new clients sent to it", there, *newcomers, 0.0),
        Finding::share("its sessions lost, after a kill", killed.lost, killed.all, 1.0),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(draining: usize, newcomers_there: usize, killed: usize) -> bool {
        let of = |lost| Reads { lost, all: 20 };
        let leaving =
            Leaving { draining: of(draining), newcomers_there, newcomers: 60, killed: of(killed) };
        judge(&leaving).iter().all(Finding::holds)
    }

    #[test]
    fn a_drain_that_loses_or_a_kill_that_spares_fails_the_lesson() {
        assert!(holds(0, 0, 20));
        assert!(!holds(20, 0, 20), "killed at once");
        assert!(!holds(0, 20, 20), "it still gets new clients: not drained");
        assert!(!holds(0, 0, 0), "not killed");
    }
}
