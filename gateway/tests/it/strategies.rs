//! The two strategies, and the switch between them under traffic.

use std::collections::{BTreeMap, BTreeSet};
use std::thread;

use proto_contracts::control::Strategy;
use proto_contracts::{AffinityKey, PoolName, Verdict, headers};

use crate::client::Request;
use crate::testbed::{INFO, SESSIONS, Setup, session_path};
use crate::upstream::Upstream;

#[test]
fn round_robin_gives_each_instance_the_same_number_of_requests() {
    let upstreams = Upstream::start_all(["stateless-1", "stateless-2", "stateless-3"]);
    let gateway = Setup::new().stateless(&upstreams).start();
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let mut client = gateway.connect();
                for _ in 0..1_000 {
                    let reply = client.send(&Request::get(INFO));
                    assert_eq!((reply.status, reply.verdict()), (200, Verdict::Off));
                }
            });
        }
    });
    assert_eq!(upstreams.each_ref().map(Upstream::count), [1_000; 3]);
}

#[test]
fn the_stateless_pool_ignores_keys() {
    let upstream = Upstream::start("stateless-1");
    let gateway = Setup::new().stateless([&upstream]).start();
    let reply = gateway.send(
        &Request::get(INFO).key(AffinityKey::from_bits(7)).header("cookie", "affinity=00000008"),
    );
    assert_eq!((reply.stamp().verdict, reply.stamp().key), (Verdict::Off, None));
    assert_eq!((reply.header("set-cookie"), reply.header("cache-control")), (None, None));
    let seen = upstream.last();
    assert_eq!(seen.header(headers::SESSION_AFFINITY), Some(headers::SESSION_AFFINITY_NONE));
    assert_eq!(seen.header(headers::AFFINITY_KEY), None);
    assert_eq!(seen.header("cookie"), None, "the affinity cookie is not forwarded");
}

#[test]
fn cookie_path_and_header_all_lead_to_the_home() {
    let upstreams = Upstream::start_all(["stateful-1", "stateful-2", "stateful-3"]);
    let gateway = Setup::new().stateful(&upstreams).start();
    let mut homes = BTreeSet::new();
    for _ in 0..40 {
        let mut browser = gateway.browser();
        let first = browser.send(Request::post(SESSIONS));
        let (key, home) = (first.key(), first.served_by().to_owned());
        assert_eq!((first.verdict(), first.cookie_key()), (Verdict::New, Some(key)));
        assert_eq!(gateway.ranking(key)[0], home, "explain agrees");

        let mut jarless = gateway.connect();
        for turn in 0..5 {
            for reply in [
                browser.send(Request::get(SESSIONS)),
                jarless.send(&Request::get(&session_path(key))),
                jarless.send(&Request::post(SESSIONS).key(key)),
            ] {
                assert_eq!(
                    (reply.served_by(), reply.verdict(), reply.key()),
                    (home.as_str(), Verdict::Home, key)
                );
                assert_eq!(
                    reply.header("set-cookie"),
                    None,
                    "the client has its key already, in turn {turn}"
                );
            }
        }
        homes.insert(home);
    }
    assert_eq!(homes.len(), 3, "every instance is the home of some clients: {homes:?}");
}

#[test]
fn switching_to_round_robin_and_back_restores_every_home() {
    let upstreams = Upstream::start_all(["stateful-1", "stateful-2", "stateful-3"]);
    let gateway = Setup::new().stateful(&upstreams).start();
    let mut client = gateway.connect();
    let paths: Vec<_> = (0..60).map(|_| session_path(AffinityKey::random())).collect();
    let mut serve = |paths: &[String]| -> Vec<_> {
        let replies = paths.iter().map(|path| client.send(&Request::get(path)));
        replies.map(|reply| (reply.served_by().to_owned(), reply.verdict(), reply.key())).collect()
    };
    let before = serve(&paths);
    assert!(before.iter().all(|(_, verdict, _)| *verdict == Verdict::Home), "{before:?}");
    let epoch = gateway.stateful().epoch;

    gateway.set_strategy(PoolName::Stateful, Strategy::RoundRobin);
    assert_eq!(gateway.stateful().strategy, Strategy::RoundRobin);
    let mut turns = BTreeMap::new();
    for (name, verdict, _) in serve(&paths) {
        assert_eq!(verdict, Verdict::Off);
        *turns.entry(name).or_insert(0) += 1;
    }
    assert_eq!(turns.into_values().collect::<Vec<_>>(), [20, 20, 20]);
    let last = upstreams.iter().map(Upstream::last);
    for seen in last {
        assert_eq!(seen.header(headers::SESSION_AFFINITY), Some(headers::SESSION_AFFINITY_NONE));
        assert!(seen.header(headers::AFFINITY_KEY).is_some(), "the key is still forwarded");
    }
    let new = gateway.browser().send(Request::post(SESSIONS));
    assert_eq!(new.verdict(), Verdict::Off);
    let minted = new.cookie_key().expect("keys are minted under round robin as well");

    gateway.set_strategy(PoolName::Stateful, Strategy::Sticky);
    assert_eq!(serve(&paths), before);
    assert_eq!(gateway.stateful().epoch, epoch, "the members are the same");
    let home = gateway.send(&Request::get(SESSIONS).key(minted));
    assert_eq!(
        (home.verdict(), home.served_by()),
        (Verdict::Home, gateway.ranking(minted)[0].as_str())
    );
}

#[test]
fn a_sticky_stateless_pool_tracks_keys_while_it_is_sticky() {
    let upstreams = Upstream::start_all(["stateless-1", "stateless-2"]);
    let gateway = Setup::new().stateless(&upstreams).start();
    gateway.set_strategy(PoolName::Stateless, Strategy::Sticky);
    let mut browser = gateway.browser();
    let first = browser.send(Request::get(INFO));
    assert_eq!(first.verdict(), Verdict::New);
    for _ in 0..10 {
        let reply = browser.send(Request::get(INFO));
        assert_eq!((reply.verdict(), reply.served_by()), (Verdict::Home, first.served_by()));
    }
    gateway.set_strategy(PoolName::Stateless, Strategy::RoundRobin);
    assert_eq!(browser.send(Request::get(INFO)).stamp().key, None);
}
