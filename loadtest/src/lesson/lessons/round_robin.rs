//! Lesson 1. Made false by routing the stateless pool by the address of one client.

use std::collections::BTreeMap;

use anyhow::Result;
use proto_contracts::PoolName;
use proto_contracts::control::Strategy;

use crate::lesson::catalogue::{Lesson, Needs, needs};
use crate::lesson::finding::Finding;
use crate::lesson::school::{Options, School};

/// Requests per instance.
const REQUESTS: usize = 200;

pub(super) async fn run(school: &mut School, options: Options) -> Result<Vec<Finding>> {
    // Only the lab of a system of ours is certain to be open.
    let room = school.room(Needs { own: options.falsify, ..needs(Lesson::RoundRobin) }).await?;
    let strategy = if options.falsify { Strategy::IpHash } else { Strategy::RoundRobin };
    room.set_strategy(PoolName::Stateless, strategy).await?;
    let instances = room.instances(PoolName::Stateless).await?;
    let mut counts: BTreeMap<_, _> = instances.into_iter().map(|name| (name, 0)).collect();
    let requests = options.sample(REQUESTS) * counts.len();
    let mut visitor = room.visitor();
    for _ in 0..requests {
        *counts.entry(visitor.info().await?.served_by).or_default() += 1;
    }
    Ok(judge(&counts))
}

/// Each instance gets 1/N of the requests.
fn judge(counts: &BTreeMap<String, usize>) -> Vec<Finding> {
    let requests = counts.values().sum();
    let share = 1.0 / counts.len() as f64;
    counts.iter().map(|(name, &count)| Finding::share(name, count, requests, share)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(counts: [usize; 3]) -> bool {
        let names = ["stateless-1", "stateless-2", "stateless-3"].map(str::to_owned);
        judge(&names.into_iter().zip(counts).collect()).iter().all(Finding::holds)
    }

    #[test]
    fn an_even_share_passes_and_an_uneven_one_fails() {
        assert!(holds([200, 200, 200]));
        assert!(holds([190, 215, 195]), "others send requests, too");
        assert!(!holds([600, 0, 0]), "one address");
        assert!(!holds([300, 150, 150]), "weights");
        assert!(!holds([300, 300, 0]), "one instance gets none");
        assert!(!holds([0, 0, 0]), "no requests");
    }
}
