//! Lesson 4. Made false by killing nothing.

use anyhow::{Context as _, Result};
use local_stack::Store;
use proto_contracts::PoolName;
use proto_contracts::agent::Action;
use proto_contracts::control::Strategy;

use crate::lesson::catalogue::{Lesson, Needs, needs};
use crate::lesson::finding::Finding;
use crate::lesson::lessons::sessions::{self, Reads};
use crate::lesson::school::{Options, School};

const SESSIONS: usize = 160;
const STORES: [Store; 3] = [Store::Memory, Store::Redis, Store::Hybrid];

/// What became of the sessions in one store.
struct Crash {
    store: Store,
    instances: usize,
    reads: Reads,
}

pub(super) async fn run(school: &mut School, options: Options) -> Result<Vec<Finding>> {
    let mut crashes = Vec::new();
    for store in STORES {
        let needs = Needs { store: Some(store), ..needs(Lesson::Crash) };
        let room = school.room(needs).await?;
        room.set_strategy(PoolName::Stateful, Strategy::Sticky).await?;
        let instances = room.instances(PoolName::Stateful).await?;
        let mut visitors = room.returning(options.sample(SESSIONS)).await?;
        if !options.falsify {
            room.act(instances.first().context("an instance")?, Action::Kill).await?;
        }
        let reads = sessions::read(&mut visitors, 1).await?;
        crashes.push(Crash { store, instances: instances.len(), reads });
    }
    Ok(judge(&crashes))
}

fn judge(crashes: &[Crash]) -> Vec<Finding> {
    let finding = |crash: &Crash| {
        let gone = if crash.store == Store::Memory { 1.0 / crash.instances as f64 } else { 0.0 };
        let what = format!("sessions gone, {} store", crash.store.as_str());
        Finding::share(what, crash.reads.lost, crash.reads.all, gone)
    };
    crashes.iter().map(finding).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(lost: [usize; 3]) -> bool {
        let crash = |(store, lost)| Crash { store, instances: 3, reads: Reads { lost, all: 90 } };
        let crashes: Vec<_> = STORES.into_iter().zip(lost).map(crash).collect();
        judge(&crashes).iter().all(Finding::holds)
    }

    #[test]
    fn a_lost_session_of_redis_or_a_surviving_memory_fails_the_lesson() {
        assert!(holds([30, 0, 0]) && holds([25, 0, 0]));
        assert!(!holds([0, 0, 0]), "nothing was killed");
        assert!(!holds([30, 0, 1]) && !holds([30, 1, 0]), "an acknowledged session is lost");
        assert!(!holds([90, 0, 0]), "all instances lost their memory");
    }
}
