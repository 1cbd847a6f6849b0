//! Lesson 9. Made false by sticky routing in place of `ip_hash`.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use proto_contracts::PoolName;
use proto_contracts::control::Strategy;

use crate::lesson::catalogue::{Lesson, needs};
use crate::lesson::finding::Finding;
use crate::lesson::room::Room;
use crate::lesson::school::{Options, School};

/// Clients behind the NAT. With their two requests each they stay below the gateway's limit of 100
/// at once from one address, which a class meets, too.
const CLIENTS: usize = 45;
/// The NAT, of a network for documentation (RFC 5737).
const NAT: &str = "203.0.113.7";

/// One strategy.
#[derive(Clone, Debug, Default)]
struct Class {
    /// Clients of the class by instance.
    by_instance: BTreeMap<String, usize>,
    /// Clients that found their instance from another network.
    found: usize,
}

pub(super) async fn run(school: &mut School, options: Options) -> Result<Vec<Finding>> {
    let room = school.room(needs(Lesson::Nat)).await?;
    let instances = room.instances(PoolName::Stateful).await?.len();
    let by_address = if options.falsify { Strategy::Sticky } else { Strategy::IpHash };
    let by_address = class(room, by_address).await?;
    let by_cookie = class(room, Strategy::Sticky).await?;
    Ok(judge(instances, &by_address, &by_cookie))
}

/// A class behind the NAT creates sessions; then each client reads its own from another network.
async fn class(room: &Room, strategy: Strategy) -> Result<Class> {
    room.set_strategy(PoolName::Stateful, strategy).await?;
    let mut class = Class::default();
    for number in 0..CLIENTS {
        let (mut visitor, home) = room.returning_from(NAT).await?;
        *class.by_instance.entry(home.clone()).or_default() += 1;
        // Networks of a range for benchmarks (RFC 2544), one for each client.
        visitor.come_from(&format!("198.18.{number}.9"))?;
        let read = visitor.read().await?;
        ensure!(read.status == 200, "a read got {}", read.status);
        class.found += usize::from(read.served_by == home);
    }
    Ok(class)
}

fn judge(instances: usize, by_address: &Class, by_cookie: &Class) -> Vec<Finding> {
    let chance = 1.0 / instances as f64;
    let busiest = |class: &Class| class.by_instance.values().copied().max().unwrap_or_default();
    let all = |class: &Class| class.by_instance.values().sum();
    let share = |what, part, class, p| Finding::share(what, part, all(class), p);
    vec![
        share("by address, at the busiest instance", busiest(by_address), by_address, 1.0),
        share("by address, phones that stay", by_address.found, by_address, chance),
        share("by cookie, at the busiest instance", busiest(by_cookie), by_cookie, chance),
        share("by cookie, phones that stay", by_cookie.found, by_cookie, 1.0),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(counts: [usize; 3], found: usize) -> Class {
        let names = ["s1", "s2", "s3"].map(str::to_owned);
        Class { by_instance: names.into_iter().zip(counts).collect(), found }
    }

    fn holds(by_address: &Class, by_cookie: &Class) -> bool {
        judge(3, by_address, by_cookie).iter().all(Finding::holds)
    }

    #[test]
    fn a_spread_class_or_a_lost_phone_fails_the_lesson() {
        let (one, spread) = (class([45, 0, 0], 15), class([16, 14, 15], 45));
        assert!(holds(&one, &spread));
        assert!(!holds(&spread, &spread), "routed by cookie");
        assert!(!holds(&one, &one), "routed by address");
        assert!(!holds(&one, &class([16, 14, 15], 44)), "a phone lost its instance");
        assert!(!holds(&class([45, 0, 0], 45), &spread), "the address is not used");
    }
}
