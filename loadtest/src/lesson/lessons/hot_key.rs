//! Lesson 7. Made false by a gateway without a bound.

use anyhow::{Context as _, Result};
use futures_util::future::join_all;
use local_stack::Store;
use proto_contracts::agent::Action;
use proto_contracts::control::Strategy;
use proto_contracts::{PoolName, Verdict};

use crate::lesson::catalogue::{Lesson, needs};
use crate::lesson::finding::Finding;
use crate::lesson::room::Room;
use crate::lesson::school::{Options, School};
use crate::lesson::visitor::{Visit, Visitor};

/// Below the floor of the bound, 64.
const FEW: usize = 60;
/// So many that the bound exceeds its floor: it does with more than 64 · N / 1.25.
const MANY: usize = 240;
/// The gateway's `bounded_load`.
const FACTOR: f64 = 1.25;
/// The gateway has a few threads, and each may send one request too many: a point is 2.4 requests.
const RACE_PERCENT: f64 = 3.0;
const RACE: &str = "threads of the gateway that choose at the same moment do not count each \
                    other's request, so each may exceed the bound by one";

/// Requests for one session, all in flight at once.
#[derive(Clone, Copy, Debug)]
struct Crowd {
    all: usize,
    /// At the session's home.
    home: usize,
    /// With the verdict `spilled`.
    spilled: usize,
}

pub(super) async fn run(school: &mut School, options: Options) -> Result<Vec<Finding>> {
    // Without shared sessions there is no bound.
    let mut needs = needs(Lesson::HotKey);
    if options.falsify {
        needs.store = Some(Store::Memory);
    }
    let room = school.room(needs).await?;
    room.set_strategy(PoolName::Stateful, Strategy::Sticky).await?;
    let instances = room.instances(PoolName::Stateful).await?;
    let (visitor, home) = room.returning(1).await?.pop().context("a client")?;
    let mut connections: Vec<_> = (0..MANY).map(|_| visitor.on_another_connection()).collect();
    let few = Crowd::of(&hold(room, &instances, &mut connections[..FEW]).await?, &home);
    let many = Crowd::of(&hold(room, &instances, &mut connections).await?, &home);
    let mut single = Vec::new();
    for _ in 0..FEW {
        single.push(connections[0].read().await?);
    }
    Ok(judge(instances.len(), few, many, Crowd::of(&single, &home)))
}

/// Reads the session on all connections at once. The instances are suspended until the gateway has
/// sent every request, so that none ends before all have begun.
async fn hold(
    room: &Room,
    instances: &[String],
    connections: &mut [Visitor],
) -> Result<Vec<Visit>> {
    for instance in instances {
        room.act(instance, Action::Pause).await?;
    }
    let count = connections.len();
    let resume = async {
        let all_sent = room.await_in_flight(PoolName::Stateful, count as u64).await;
        for instance in instances {
            room.act(instance, Action::Resume).await?;
        }
        all_sent
    };
    let reads = join_all(connections.iter_mut().map(Visitor::read));
    let (reads, resumed) = tokio::join!(reads, resume);
    resumed?;
    reads.into_iter().collect()
}

impl Crowd {
    fn of(visits: &[Visit], home: &str) -> Self {
        let count = |is: &dyn Fn(&Visit) -> bool| visits.iter().filter(|visit| is(visit)).count();
        Self {
            all: visits.len(),
            home: count(&|visit| visit.served_by == home),
            spilled: count(&|visit| visit.verdict == Some(Verdict::Spilled)),
        }
    }
}

fn judge(instances: usize, few: Crowd, many: Crowd, single: Crowd) -> Vec<Finding> {
    let bound = (FACTOR * many.all as f64 / instances as f64).ceil();
    let bounded = (bound / many.all.max(1) as f64).min(1.0);
    let at_home = |what: String, crowd: Crowd, p| Finding::share(what, crowd.home, crowd.all, p);
    vec![
        at_home(format!("{} at once, at its home", few.all), few, 1.0),
        at_home(format!("{} at once, at its home", many.all), many, bounded)
            .tolerating(RACE_PERCENT, RACE),
        Finding::share("of the others, marked `spilled`", many.spilled, many.all - many.home, 1.0),
        at_home("one after the other again, at its home".to_owned(), single, 1.0),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(few: usize, home: usize, spilled: usize, single: usize) -> bool {
        let of = |all, home, spilled| Crowd { all, home, spilled };
        judge(3, of(60, few, 0), of(240, home, spilled), of(60, single, 0))
            .iter()
            .all(Finding::holds)
    }

    #[test]
    fn a_crowd_without_a_bound_or_below_it_fails_the_lesson() {
        assert!(holds(60, 100, 140, 60) && holds(60, 102, 138, 60));
        assert!(!holds(60, 240, 0, 60), "no bound");
        assert!(!holds(60, 80, 160, 60), "spread evenly: the home is not preferred");
        assert!(!holds(59, 100, 140, 60), "a bound without a floor");
        assert!(!holds(60, 100, 100, 60), "another reason than the bound");
        assert!(!holds(60, 100, 140, 20), "the home is not found again");
    }
}
