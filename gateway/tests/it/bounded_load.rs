//! Bounded load: an instance with more than its share of requests in flight is skipped for the next
//! one in rank.

use proto_contracts::{AffinityKey, Verdict, headers};

use crate::client::{Connection, Request};
use crate::eventually;
use crate::testbed::{Setup, TestGateway, session_path};
use crate::upstream::{Act, Upstream};

/// The default `bounded_load_floor`: with fewer requests in flight an instance is never skipped.
const FLOOR: usize = 64;

/// Sends so many requests, to which the instance does not respond.
fn fill(
    gateway: &TestGateway,
    home: &Upstream,
    request: &Request,
    count: usize,
) -> Vec<Connection> {
    home.act(Act::Hang);
    let wanted = home.count() + count;
    let start = |_| {
        let mut connection = gateway.connect();
        connection.start(request);
        connection
    };
    let waiting = (0..count).map(start).collect();
    eventually("the instance has them all", || (home.count() == wanted).then_some(()));
    waiting
}

fn home_and_next<'a>(
    gateway: &TestGateway,
    all: &'a [Upstream],
    key: AffinityKey,
) -> (&'a Upstream, &'a Upstream) {
    let ranking = gateway.ranking(key);
    let named =
        |name: &str| all.iter().find(|upstream| upstream.name() == name).expect("one of them");
    (named(&ranking[0]), named(&ranking[1]))
}

#[test]
fn an_instance_over_its_load_bound_is_skipped_until_it_has_capacity() {
    let upstreams = Upstream::start_all(["stateful-1", "stateful-2", "stateful-3"]);
    let gateway = Setup::new().stateful(&upstreams).start();
    let key = AffinityKey::random();
    let (home, next) = home_and_next(&gateway, &upstreams, key);
    let read = Request::get(&session_path(key));
    let waiting = fill(&gateway, home, &read, FLOOR);
    let instances = gateway.stateful().instances;
    let full = instances
        .iter()
        .find(|instance| instance.name.as_ref().is_some_and(|name| name.as_str() == home.name()));
    assert_eq!(full.map(|instance| instance.in_flight), Some(FLOOR as u64));

    let spilled = gateway.send(&read);
    assert_eq!((spilled.verdict(), spilled.served_by()), (Verdict::Spilled, next.name().as_str()));
    let seen = next.last();
    assert_eq!(
        seen.header(headers::SESSION_AFFINITY),
        Some(headers::SESSION_AFFINITY_NONE),
        "the instance must keep no copy"
    );
    assert_eq!(seen.header(headers::AFFINITY_KEY), Some(key.to_string().as_str()));
    let explanation = gateway.explain(key);
    assert!(explanation.reason.contains("load bound"), "{}", explanation.reason);
    let counted = r#"gateway_affinity_total{pool="stateful",verdict="spilled"} 1"#;
    eventually("it is counted", || gateway.metrics().contains(counted).then_some(()));

    home.act(Act::ok());
    for mut connection in waiting {
        let reply = connection.reply_to("GET");
        assert_eq!((reply.status, reply.verdict()), (200, Verdict::Home));
    }
    // A request is in flight until it is logged, shortly after its last byte.
    eventually("the home serves again", || {
        (gateway.send(&read).verdict() == Verdict::Home).then_some(())
    });
    assert_eq!(
        home.last().header(headers::SESSION_AFFINITY),
        Some(headers::SESSION_AFFINITY_REQUIRED)
    );
}

/// Requests start one after the other and stay in flight, so that their number is known.
#[test]
fn a_hot_key_pushes_no_instance_over_its_bound() {
    let upstreams = Upstream::start_all(["stateful-1", "stateful-2", "stateful-3"]);
    let gateway = Setup::new().stateful(&upstreams).start();
    upstreams.iter().for_each(|upstream| upstream.act(Act::Hang));
    let hot = AffinityKey::random();
    let (mut waiting, mut fullest) = (Vec::new(), (0.0, 0, 0));
    for sent in 1..=450 {
        let key = if sent % 2 == 0 { hot } else { AffinityKey::random() };
        let mut connection = gateway.connect();
        connection.start(&Request::get(&session_path(key)));
        waiting.push(connection);
        let counts = || upstreams.iter().map(Upstream::count).collect::<Vec<_>>();
        let counts = eventually("it has arrived", || {
            Some(counts()).filter(|all| all.iter().sum::<usize>() == sent)
        });
        let most = counts.into_iter().max().unwrap_or_default();
        let bound = FLOOR.max((1.25 * sent as f64 / 3.0).ceil() as usize);
        assert!(
            most <= bound,
            "{most} in flight at one instance, whose bound is {bound}, after {sent} requests"
        );
        let share = most as f64 / bound as f64;
        if share >= fullest.0 {
            fullest = (share, most, bound);
        }
    }
    eprintln!(
        "half of all requests for one key: at most {} in flight at one instance, whose bound was \
         {}",
        fullest.1, fullest.2
    );
    upstreams.iter().for_each(|upstream| upstream.act(Act::ok()));
    let verdicts: Vec<_> =
        waiting.iter_mut().map(|connection| connection.reply_to("GET").verdict()).collect();
    let spilled = verdicts.iter().filter(|verdict| **verdict == Verdict::Spilled).count();
    assert!(spilled > 0, "no request reached the bound");
}

#[test]
fn a_few_requests_never_spill() {
    let upstreams = Upstream::start_all(["stateful-1", "stateful-2", "stateful-3"]);
    let gateway = Setup::new().stateful(&upstreams).start();
    let key = AffinityKey::random();
    let (home, _) = home_and_next(&gateway, &upstreams, key);
    // All at one of three instances: far more than 1.25 times the mean, but below the floor.
    let waiting = fill(&gateway, home, &Request::get(&session_path(key)), FLOOR);
    home.act(Act::ok());
    for mut connection in waiting {
        assert_eq!(connection.reply_to("GET").verdict(), Verdict::Home);
    }
}

#[test]
fn a_pool_without_a_bound_keeps_every_session_at_home() {
    let upstreams = Upstream::start_all(["stateful-1", "stateful-2"]);
    let gateway = Setup::new().stateful(&upstreams).stateful_setting("bounded_load = 0").start();
    let key = AffinityKey::random();
    let (home, _) = home_and_next(&gateway, &upstreams, key);
    let waiting = fill(&gateway, home, &Request::get(&session_path(key)), 3 * FLOOR);
    home.act(Act::ok());
    for mut connection in waiting {
        assert_eq!(connection.reply_to("GET").verdict(), Verdict::Home);
    }
}

#[test]
fn streams_do_not_count() {
    let upstreams = Upstream::start_all(["stateful-1", "stateful-2"]);
    let gateway = Setup::new().stateful(&upstreams).start();
    let key = AffinityKey::random();
    let (home, _) = home_and_next(&gateway, &upstreams, key);
    let path = session_path(key);
    let events = fill(&gateway, home, &Request::get(&format!("{path}/events")), FLOOR);
    let live = fill(&gateway, home, &Request::get(&format!("{path}/live")), FLOOR);
    let mut reads = fill(&gateway, home, &Request::get(&path), 1);
    home.act(Act::ok());
    assert_eq!(reads.pop().map(|mut read| read.reply_to("GET").verdict()), Some(Verdict::Home));
    drop((events, live));
}

#[test]
fn requests_of_a_disconnected_client_are_no_longer_in_flight() {
    let upstream = Upstream::start("stateful-1");
    let gateway = Setup::new().stateful([&upstream]).start();
    let waiting =
        fill(&gateway, &upstream, &Request::get(&session_path(AffinityKey::random())), FLOOR);
    let in_flight = || gateway.stateful().instances[0].in_flight;
    assert_eq!(in_flight(), FLOOR as u64);
    drop(waiting);
    eventually("none is left", || (in_flight() == 0).then_some(()));
}
