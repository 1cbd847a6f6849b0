//! `explain`: where a key goes and why, and which keys a change would move.

use proto_contracts::control::{Change, Explanation};
use proto_contracts::{AffinityKey, ErrorCode};

use crate::client::Request;
use crate::eventually;
use crate::testbed::{SESSIONS, Setup, TestGateway};
use crate::upstream::{Act, Upstream};

const NAMES: [&str; 3] = ["stateful-1", "stateful-2", "stateful-3"];

fn simulate(gateway: &TestGateway, query: &str) -> Change {
    let path = format!("/control/v1/pools/stateful/explain?key=00000001&{query}");
    gateway.request(Request::get(&path)).json::<Explanation>().change.expect("a change")
}

#[test]
fn a_drain_moves_only_the_keys_of_the_drained_instance() {
    let upstreams = Upstream::start_all(NAMES);
    upstreams[1].report_sessions(12);
    let gateway = Setup::new().stateful(&upstreams).start();
    let drained = simulate(&gateway, "drain=stateful-2");
    let share = gateway.stateful().instances[1].key_share_percent;
    assert!((drained.moved_percent - share).abs() < 0.01, "{} of {share} %", drained.moved_percent);
    assert!(
        drained
            .flows
            .iter()
            .all(|flow| flow.from.as_ref().is_some_and(|from| from.as_str() == "stateful-2"))
    );
    let sum: f64 = drained.flows.iter().map(|flow| flow.percent).sum();
    assert!(
        (sum - drained.moved_percent).abs() < 0.05 && drained.flows.len() == 2,
        "{:?}",
        drained.flows
    );
    assert_eq!(drained.examples.len(), 5);
    for example in &drained.examples {
        let ranking = gateway.ranking(example.key);
        let reported =
            [&example.from, &example.to].map(|name| name.as_ref().map(ToString::to_string));
        assert_eq!(
            reported,
            [Some(ranking[0].clone()), Some(ranking[1].clone())],
            "the next in rank takes it"
        );
    }
    for expected in ["no new key", "stateful-2", "deadline", "12 by its last report"] {
        assert!(drained.effect.contains(expected), "{expected} in {}", drained.effect);
    }
    let without = simulate(&gateway, "without=stateful-2");
    assert_eq!((without.flows, without.epoch), (drained.flows, drained.epoch), "the same result");
    assert!(without.effect.contains("at once"), "{}", without.effect);
    assert_eq!(gateway.stateful().instances.len(), 3, "nothing was changed");
}

#[test]
fn a_new_instance_takes_keys_from_all_and_a_replacement_does_both() {
    let upstreams = Upstream::start_all(NAMES);
    let gateway = Setup::new().stateful(&upstreams).start();
    let joined = simulate(&gateway, "with=stateful-4");
    assert!((24.0..26.0).contains(&joined.moved_percent), "{}", joined.moved_percent);
    assert!(
        joined
            .flows
            .iter()
            .all(|flow| flow.to.as_ref().is_some_and(|to| to.as_str() == "stateful-4"))
    );
    assert_eq!(joined.flows.len(), 3);
    let both = simulate(&gateway, "with=stateful-4&drain=stateful-1&without=stateful-2");
    assert!(
        both.moves
            == (both.home.as_ref().map(ToString::to_string)
                != Some(gateway.ranking(AffinityKey::from_bits(1))[0].clone()))
    );
    let all_gone = simulate(&gateway, "without=stateful-1&drain=stateful-1");
    assert_eq!(
        all_gone.epoch,
        simulate(&gateway, "without=stateful-1").epoch,
        "naming an instance twice changes nothing"
    );
    let unknown = gateway
        .request(Request::get("/control/v1/pools/stateful/explain?key=00000001&drain=stateful-9"));
    assert_eq!(unknown.code(), ErrorCode::InstanceNotFound);
    assert!(
        unknown.problem().detail.contains("stateful-1, stateful-2, stateful-3"),
        "the detail names the members"
    );
}

#[test]
fn removing_the_last_member_can_be_simulated() {
    let upstream = Upstream::start("stateful-1");
    let gateway = Setup::new().stateful([&upstream]).start();
    let gone = simulate(&gateway, "without=stateful-1");
    assert_eq!((gone.moved_percent, gone.home, gone.moves), (100.0, None, true));
    assert_eq!((gone.flows.len(), &gone.flows[0].to), (1, &None));
}

#[test]
fn explain_reports_why_higher_ranked_members_were_skipped() {
    let mut upstreams = Upstream::start_all(NAMES);
    let gateway =
        Setup::new().stateful(&upstreams).stateful_setting("bounded_load_floor = 2").start();
    let key = AffinityKey::from_bits(1);
    let ranking = gateway.ranking(key);
    let place = |name: &str| NAMES.iter().position(|known| *known == name).expect("one of them");
    upstreams[place(&ranking[0])].act(Act::Hang);
    let busy = gateway.start_many(2, &Request::get(SESSIONS).key(key));
    eventually("both have arrived", || (upstreams[place(&ranking[0])].count() == 2).then_some(()));
    let spilled = gateway.explain(key);
    assert_eq!(spilled.choice.as_ref().map(|name| name.as_str()), Some(ranking[1].as_str()));
    let reported = spilled.ranking[0].passed_over.as_deref().expect("why");
    assert_eq!(reported, "it has 2 requests in flight; its load bound is 2");
    assert!(
        spilled.reason.contains(&format!("the home {}: {reported}", ranking[0])),
        "{}",
        spilled.reason
    );
    assert_eq!(spilled.ranking[1].passed_over, None);
    upstreams[place(&ranking[0])].act(Act::ok());
    drop(busy);

    upstreams[place(&ranking[0])].leave();
    let down = eventually("it is unhealthy", || {
        Some(gateway.explain(key)).filter(|reported| {
            reported.ranking[0].passed_over.as_deref() == Some("its health checks fail")
        })
    });
    assert!(
        down.reason.contains("highest-ranked available member")
            && down.reason.contains("its health checks fail")
    );
    upstreams[place(&ranking[1])].leave();
    upstreams[place(&ranking[2])].leave();
    eventually("the health checks are ignored", || {
        let reported = gateway.explain(key);
        (reported.choice.as_ref() == Some(&reported.ranking[0].name)
            && reported.reason.contains("ignored"))
        .then_some(())
    });
}
