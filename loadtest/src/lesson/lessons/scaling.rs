//! Lesson 5. Made false by round robin.

use anyhow::{Context as _, Result, ensure};
use proto_contracts::PoolName;
use proto_contracts::control::Strategy;

use crate::lesson::catalogue::{Lesson, needs};
use crate::lesson::finding::Finding;
use crate::lesson::hashing::{POINTS, Ring, modulo};
use crate::lesson::school::{Options, School};

const SESSIONS: usize = 400;

/// A session's key, and its instances before and after.
struct Moved {
    key: u32,
    before: String,
    after: String,
}

pub(super) async fn run(school: &mut School, options: Options) -> Result<Vec<Finding>> {
    let room = school.room(needs(Lesson::Scaling)).await?;
    let strategy = if options.falsify { Strategy::RoundRobin } else { Strategy::Sticky };
    room.set_strategy(PoolName::Stateful, strategy).await?;
    let instances = room.instances(PoolName::Stateful).await?;
    let visitors = room.visitors(options.sample(SESSIONS)).await?;
    room.scale(PoolName::Stateful, instances.len() + 1).await?;
    let mut moves = Vec::with_capacity(visitors.len());
    for (mut visitor, before) in visitors {
        let read = visitor.read().await?;
        ensure!(read.status == 200, "a session was lost: {}", read.status);
        let key = visitor.key().context("a session has a key")?;
        moves.push(Moved { key, before, after: read.served_by });
    }
    Ok(judge(&instances, &moves))
}

fn judge(instances: &[String], moves: &[Moved]) -> Vec<Finding> {
    let (n, keys) = (instances.len(), moves.len());
    let must_move = 1.0 / (n + 1) as f64;
    let [before, after] = [n, n + 1].map(Ring::of);
    let count = |is_moved: &dyn Fn(&&Moved) -> bool| moves.iter().filter(is_moved).count();
    let moved = count(&|moved| moved.before != moved.after);
    let to_newcomer =
        count(&|moved| moved.before != moved.after && !instances.contains(&moved.after));
    let on_ring = count(&|moved| before.instance(moved.key) != after.instance(moved.key));
    let by_modulo = count(&|moved| modulo(moved.key, n) != modulo(moved.key, n + 1));
    // The newcomer's share of the ring is a sum of random arcs.
    let of_arcs = must_move / f64::from(POINTS).sqrt();
    vec![
        Finding::share("moved, measured at the gateway", moved, keys, must_move),
        Finding::share("of these, moved to the newcomer", to_newcomer, moved, 1.0),
        Finding::share_of("moved on a ketama ring", on_ring, keys, must_move, of_arcs),
        Finding::share("moved by hash mod N", by_modulo, keys, 1.0 - must_move),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(after: impl Fn(u32) -> &'static str) -> bool {
        let instances = ["s1", "s2", "s3"].map(str::to_owned);
        let moves: Vec<_> = (0..400_u32)
            .map(|number| Moved {
                key: number.wrapping_mul(0x9e37_79b9),
                before: instances[number as usize % 3].clone(),
                after: after(number).to_owned(),
            })
            .collect();
        judge(&instances, &moves).iter().all(Finding::holds)
    }

    #[test]
    fn a_move_that_is_not_needed_fails_the_lesson() {
        let home = |number: u32| ["s1", "s2", "s3"][number as usize % 3];
        assert!(holds(|number| if number % 4 == 0 { "s4" } else { home(number) }));
        assert!(!holds(|number| ["s1", "s2", "s3", "s4"][number as usize % 4]), "hash mod N");
        assert!(!holds(home), "the newcomer gets nothing");
        assert!(!holds(|number| if number % 4 == 0 { home(number + 1) } else { home(number) }));
    }
}
