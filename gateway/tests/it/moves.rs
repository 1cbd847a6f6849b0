//! How many of 100,000 keys a change of membership moves. All gateways agree on all of them.

use std::net::SocketAddr;
use std::sync::Arc;

use gateway::pool::{Instance, Snapshot};
use gateway::rendezvous::Seed;
use gateway::routing::sticky;
use proto_contracts::control::{InstanceState, Strategy};
use proto_contracts::{AffinityKey, InstanceName};

use crate::testbed::{Setup, TestGateway};
use crate::upstream::Upstream;

const KEYS: usize = 100_000;

/// Keys of a fixed seed: SplitMix64's.
fn keys() -> impl Iterator<Item = AffinityKey> {
    let mut state = 0x7461_6e64_656d_u64;
    std::iter::repeat_with(move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        AffinityKey::from_bits((mixed >> 32) as u32)
    })
    .take(KEYS)
}

fn pool(numbers: impl IntoIterator<Item = u16>, first_port: u16) -> Snapshot {
    let members = numbers.into_iter().map(|number| {
        let name: InstanceName = format!("stateful-{number}").parse().expect("a name");
        let addr = SocketAddr::from(([127, 0, 0, 1], first_port + number));
        (Arc::new(Instance::new(name, addr, None)), InstanceState::Healthy)
    });
    Snapshot::new(Strategy::Sticky, Seed::from_text("tandem"), members)
}

fn homes(snapshot: &Snapshot) -> Vec<String> {
    keys()
        .map(|key| sticky::home(snapshot, key).expect("a member").instance.name().to_string())
        .collect()
}

#[test]
fn a_change_of_membership_moves_the_theoretical_minimum() {
    for n in 2..=10_u16 {
        let before = homes(&pool(1..=n, 8_200));
        assert_eq!(
            homes(&pool((1..=n).rev(), 9_200)),
            before,
            "a change of address or order moves no key"
        );

        let new = format!("stateful-{}", n + 1);
        let after = homes(&pool(1..=n + 1, 8_200));
        let moved: Vec<_> = (0..KEYS).filter(|&place| before[place] != after[place]).collect();
        assert!(moved.iter().all(|&place| after[place] == new), "only to the new instance");
        let added = 100.0 * moved.len() as f64 / KEYS as f64;
        let ideal = 100.0 / f64::from(n + 1);
        assert!((added - ideal).abs() < 1.0, "N = {n}: adding moved {added} %, not {ideal} %");

        let leaver = format!("stateful-{}", n / 2 + 1);
        let after = homes(&pool((1..=n).filter(|&number| number != n / 2 + 1), 8_200));
        let moved: Vec<_> = (0..KEYS).filter(|&place| before[place] != after[place]).collect();
        assert!(
            moved.iter().all(|&place| before[place] == leaver),
            "only from the removed instance"
        );
        let removed = 100.0 * moved.len() as f64 / KEYS as f64;
        let ideal_removed = 100.0 / f64::from(n);
        assert!(
            (removed - ideal_removed).abs() < 1.0,
            "N = {n}: removing moved {removed} %, not {ideal_removed} %"
        );
    }
}

#[test]
fn two_gateways_agree_on_every_key_whatever_the_order_of_additions() {
    let upstreams =
        Upstream::start_all(["stateful-1", "stateful-2", "stateful-3", "stateful-4", "stateful-5"]);
    let one = Setup::new().stateful(&upstreams[..2]).start();
    for upstream in &upstreams[2..] {
        assert_eq!(one.add(upstream.addr()).status, 201);
    }
    let other = Setup::new().stateful(&upstreams[4..]).start();
    for upstream in upstreams[..4].iter().rev() {
        assert_eq!(other.add(upstream.addr()).status, 201);
    }
    for gateway in [&one, &other] {
        for upstream in &upstreams {
            gateway.wait_for(&upstream.name(), InstanceState::Healthy);
        }
    }
    // Homes depend only on names and seed, so both gateways must agree with this snapshot.
    let members = pool((1..=5).rev(), 8_200);
    assert_eq!((one.stateful().epoch, other.stateful().epoch), (members.epoch, members.epoch));
    let shares = |gateway: &TestGateway| {
        gateway
            .stateful()
            .instances
            .into_iter()
            .map(|instance| instance.key_share_percent)
            .collect::<Vec<_>>()
    };
    assert_eq!(shares(&one), shares(&other));
    let homes = homes(&members);
    for (key, home) in keys().zip(&homes).step_by(500) {
        assert_eq!((&one.ranking(key)[0], &other.ranking(key)[0]), (home, home));
    }
}
