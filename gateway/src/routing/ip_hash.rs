//! `ip_hash`, as Nginx has it: the client's address selects the instance. It is for lessons.
//!
//! It needs no cookie, and that is all that speaks for it. Clients behind one NAT are one client,
//! IPv4 counts by /24 networks, a client that changes its network changes its instance, and most
//! addresses move when the number of instances changes.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use crate::pool::{Instance, Member, Snapshot};
use crate::routing::client_key::is_tried;
use crate::routing::round_robin;

/// Nginx's constants (`ngx_http_upstream_ip_hash_module.c`).
const START: u32 = 89;
const FACTOR: u32 = 113;
const MODULUS: u32 = 6_271;
/// How often Nginx hashes again when the selected instance cannot take the request.
const REHASHES: usize = 20;

/// The member of this address. If that is down, was tried, or has `max_in_flight` requests in
/// flight, the hash goes on; after Nginx's 20 times, the next in turn.
pub fn choose<'a>(
    snapshot: &'a Snapshot,
    address: IpAddr,
    cursor: &AtomicUsize,
    tried: &[Arc<Instance>],
    max_in_flight: u64,
) -> Option<&'a Member> {
    let total: u32 = snapshot.members().iter().map(|member| u32::from(member.weight.get())).sum();
    let mut hash = START;
    for _ in 0..=REHASHES {
        hash = hashed(hash, address);
        let member = at(snapshot, hash.checked_rem(total)?)?;
        if member.usable && !is_tried(member, tried) && member.instance.in_flight() < max_in_flight
        {
            return Some(member);
        }
    }
    round_robin::choose(snapshot, cursor, tried, max_in_flight)
}

/// The next hash: of the first three octets of an IPv4 address, or all of an IPv6 address.
fn hashed(hash: u32, address: IpAddr) -> u32 {
    let step = |hash, &octet: &u8| (hash * FACTOR + u32::from(octet)) % MODULUS;
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.octets()[..3].iter().fold(hash, step),
        IpAddr::V6(v6) => v6.octets().iter().fold(hash, step),
    }
}

/// The member that holds this share, when each has as many shares as its weight.
fn at(snapshot: &Snapshot, share: u32) -> Option<&Member> {
    let mut left = share;
    snapshot.members().iter().find(|member| {
        let weight = u32::from(member.weight.get());
        let is_here = left < weight;
        left = left.saturating_sub(weight);
        is_here
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::pool::snapshot::tests::{snapshot, weighted};

    fn chosen(snapshot: &Snapshot, address: &str) -> String {
        let address = address.parse().expect("an address");
        let cursor = AtomicUsize::new(0);
        choose(snapshot, address, &cursor, &[], u64::MAX).expect("one").instance.name().to_string()
    }

    /// One address of each of 5,000 networks.
    fn networks(snapshot: &Snapshot) -> Vec<String> {
        (0..5_000).map(|n| chosen(snapshot, &format!("10.{}.{}.9", n / 250, n % 250))).collect()
    }

    #[test]
    fn hashes_as_nginx_does() {
        // ((89·113 + 192) mod 6271 …), by hand: 3978, 4461, 2415.
        assert_eq!(hashed(START, [192, 0, 2, 1].into()), {
            let first = (89 * 113 + 192) % 6_271;
            let second = (first * 113) % 6_271;
            (second * 113 + 2) % 6_271
        });
    }

    #[test]
    fn a_network_of_ipv4_is_one_client() {
        let members = snapshot(&["a", "b", "c"]);
        let names: BTreeSet<_> =
            (0..=255).map(|host| chosen(&members, &format!("198.51.100.{host}"))).collect();
        assert_eq!(names.len(), 1, "{names:?}");
        let mapped = chosen(&members, "::ffff:198.51.100.7");
        assert_eq!(Some(&mapped), names.first(), "the same address, written for IPv6");
        let v6: BTreeSet<_> =
            (0..64).map(|host| chosen(&members, &format!("2001:db8::{host:x}"))).collect();
        assert_eq!(v6.len(), 3, "IPv6 counts in full");
    }

    #[test]
    fn most_addresses_move_when_an_instance_joins() {
        let before = networks(&snapshot(&["a", "b", "c"]));
        let after = networks(&snapshot(&["a", "b", "c", "d"]));
        let moved = before.iter().zip(&after).filter(|(before, after)| before != after).count();
        // Modulo 3 and modulo 4 agree for 3 of 12 residues.
        assert!((3_600..=3_900).contains(&moved), "{moved} of 5,000");
    }

    #[test]
    fn shares_follow_the_weights() {
        let names = networks(&weighted(&[("a", 1), ("b", 3)]));
        let of_b = names.iter().filter(|name| *name == "b").count();
        assert!((3_600..=3_900).contains(&of_b), "{of_b} of 5,000");
    }

    #[test]
    fn an_instance_that_is_down_or_tried_is_passed_over() {
        let members = snapshot(&["a!", "b", "c"]);
        assert!(networks(&members).iter().all(|name| name != "a"));
        let mut tried = Vec::new();
        let cursor = AtomicUsize::new(0);
        let address = [192, 0, 2, 1].into();
        while let Some(member) = choose(&members, address, &cursor, &tried, u64::MAX) {
            tried.push(Arc::clone(&member.instance));
        }
        assert_eq!(tried.len(), 2);
        assert!(choose(&snapshot(&[]), address, &cursor, &[], u64::MAX).is_none());
    }
}
