//! Lesson 2. Made false by round robin.

use std::collections::BTreeMap;

use anyhow::Result;
use proto_contracts::PoolName;
use proto_contracts::control::Strategy;

use crate::lesson::catalogue::{Lesson, needs};
use crate::lesson::finding::Finding;
use crate::lesson::school::{Options, School};
use crate::lesson::visitor::Visitor;

/// Clients with a cookie jar, and as many without.
const CLIENTS: usize = 60;
/// Messages of each client.
const MESSAGES: usize = 10;

/// Messages, and those that reached the instance of the client's first request.
#[derive(Clone, Copy, Debug, Default)]
struct Kept {
    home: usize,
    sent: usize,
}

pub(super) async fn run(school: &mut School, options: Options) -> Result<Vec<Finding>> {
    let room = school.room(needs(Lesson::Cookie)).await?;
    let strategy = if options.falsify { Strategy::RoundRobin } else { Strategy::Sticky };
    room.set_strategy(PoolName::Stateful, strategy).await?;
    let instances = room.instances(PoolName::Stateful).await?.len();
    let [mut with, mut without] = [Kept::default(); 2];
    for (kept, has_jar) in [(&mut with, true), (&mut without, false)] {
        let visitors = as_many_of_each(room.visitors(options.sample(CLIENTS)).await?);
        for (mut visitor, home) in visitors {
            if !has_jar {
                visitor.drop_cookie();
            }
            for _ in 0..MESSAGES {
                let said = visitor.say().await?;
                anyhow::ensure!(said.status == 201, "a message got {}", said.status);
                kept.sent += 1;
                kept.home += usize::from(said.served_by == home);
            }
        }
    }
    Ok(judge(instances, with, without))
}

/// As many clients of each instance. New keys prefer the instance with the fewest sessions, so
/// chance would otherwise not be 1/N.
fn as_many_of_each(visitors: Vec<(Visitor, String)>) -> Vec<(Visitor, String)> {
    let mut by_home = BTreeMap::<String, Vec<Visitor>>::new();
    for (visitor, home) in visitors {
        by_home.entry(home).or_default().push(visitor);
    }
    let smallest = by_home.values().map(Vec::len).min().unwrap_or_default();
    by_home
        .into_iter()
        .flat_map(|(home, of_home)| {
            of_home.into_iter().take(smallest).map(move |visitor| (visitor, home.clone()))
        })
        .collect()
}

fn judge(instances: usize, with: Kept, without: Kept) -> Vec<Finding> {
    vec![
        Finding::share("with the cookie, at the first instance", with.home, with.sent, 1.0),
        Finding::share(
            "without it, at the first instance",
            without.home,
            without.sent,
            1.0 / instances as f64,
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(with: usize, without: usize) -> bool {
        let of = |home| Kept { home, sent: 400 };
        judge(3, of(with), of(without)).iter().all(Finding::holds)
    }

    #[test]
    fn a_client_that_leaves_home_fails_the_lesson() {
        assert!(holds(400, 130) && holds(400, 150));
        assert!(!holds(133, 133), "round robin");
        assert!(!holds(399, 133), "one message of 400");
        assert!(!holds(400, 400), "something else than the cookie keeps clients");
    }
}
