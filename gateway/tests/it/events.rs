//! The event stream: the pools first, then changes, and a sample of the requests.

use std::thread;

use proto_contracts::control::{Event, InstanceState, Routed, Strategy};
use proto_contracts::{AffinityKey, ErrorCode, PoolName, Verdict};

use crate::client::Request;
use crate::eventually;
use crate::testbed::{INFO, SESSIONS, Setup, TOKEN, session_path};
use crate::upstream::Upstream;

fn routed(event: &Event) -> Option<Routed> {
    match event {
        Event::Routed(routed) => Some(routed.clone()),
        _ => None,
    }
}

#[test]
fn a_stream_begins_with_the_pools_and_then_has_each_change() {
    let mut upstreams = Upstream::start_all(["stateful-1", "stateful-2", "stateful-3"]);
    let gateway = Setup::new().stateful(&upstreams[..2]).start();
    let mut stream = gateway
        .listen("?types=pools,strategy_changed,instance_added,instance_changed,instance_removed");
    let Some(Event::Pools(pools)) = stream.next() else { panic!("the pools come first") };
    assert_eq!(pools.pools.iter().map(|pool| pool.name).collect::<Vec<_>>(), PoolName::ALL);
    assert_eq!(pools.pools[1].epoch, gateway.stateful().epoch);

    gateway.set_strategy(PoolName::Stateful, Strategy::RoundRobin);
    let switched =
        Event::StrategyChanged { pool: PoolName::Stateful, strategy: Strategy::RoundRobin };
    assert_eq!(stream.next(), Some(switched));

    let addr = upstreams[2].addr();
    gateway.add(addr);
    assert_eq!(stream.next(), Some(Event::InstanceAdded { pool: PoolName::Stateful, addr }));
    stream.find("the new instance is healthy", |event| match event {
        Event::InstanceChanged { instance: Some(name), state: InstanceState::Healthy, .. } => {
            (name.as_str() == "stateful-3").then_some(())
        }
        _ => None,
    });
    upstreams[1].leave();
    let detail = stream.find("the stopped instance is unhealthy", |event| match event {
        Event::InstanceChanged {
            instance: Some(name),
            state: InstanceState::Unhealthy,
            detail,
            ..
        } => (name.as_str() == "stateful-2").then(|| detail.clone()),
        _ => None,
    });
    assert!(detail.is_some_and(|detail| detail.contains("connection failed")), "it has the reason");
    gateway.remove("stateful-2");
    let epoch = stream.find("it is removed", |event| match event {
        Event::InstanceRemoved { epoch, .. } => Some(*epoch),
        _ => None,
    });
    assert_eq!(epoch, gateway.stateful().epoch);
}

#[test]
fn a_routed_event_has_the_fields_of_the_log_line() {
    let mut upstreams = Upstream::start_all(["stateful-1", "stateful-2"]);
    let gateway = Setup::new().stateful(&upstreams).checked_once().start();
    let mut stream = gateway.listen("?types=routed");
    let key = gateway.key_at("stateful-2");
    let id = "0190b0e4-7d1c-7a52-9c41-0123456789ab";
    let get = || Request::get(&session_path(key)).header("x-request-id", id);
    let reply = gateway.send(&get());
    let reported = stream.next().as_ref().and_then(routed).expect("a request");
    assert_eq!(
        (reported.pool, reported.status, reported.sample_weight),
        (PoolName::Stateful, 200, 1)
    );
    assert_eq!((reported.verdict, reported.key), (Some(Verdict::Home), Some(key)));
    assert_eq!(
        (reported.strategy, reported.epoch),
        (Some(Strategy::Sticky), Some(reply.stamp().epoch))
    );
    assert_eq!(reported.instance.as_ref().map(|name| name.as_str()), Some("stateful-2"));
    assert_eq!(
        (&*reported.method, &*reported.route),
        ("GET", "/api/v1/stateful/sessions/{session_id}")
    );
    assert_eq!(reported.request_id.to_string(), id);
    assert!(reported.duration_ms > 0.0 && reported.tried.is_empty() && reported.code.is_none());

    upstreams[1].leave();
    assert_eq!(gateway.send(&get()).verdict(), Verdict::Failover);
    let reported = stream.next().as_ref().and_then(routed).expect("a request");
    assert_eq!((reported.verdict, reported.tried.len()), (Some(Verdict::Failover), 1));
    upstreams[0].leave();
    assert_eq!(gateway.send(&get()).status, 503);
    let reported = stream.next().as_ref().and_then(routed).expect("a request");
    assert_eq!(
        (reported.status, reported.code, reported.instance),
        (503, Some(ErrorCode::NoInstanceAvailable), None)
    );
}

#[test]
fn the_weights_of_a_sample_add_up_to_all_requests() {
    let upstream = Upstream::start("stateless-1");
    let gateway = Setup::new().stateless([&upstream]).control("event_sample_per_s = 1").start();
    let mut stream = gateway.listen("?types=routed");
    const REQUESTS: u64 = 500;
    let reader = thread::spawn(move || {
        let (mut events, mut sum) = (0, 0);
        while sum < REQUESTS {
            let reported = stream.find("a request", routed);
            (events, sum) = (events + 1, sum + reported.sample_weight);
        }
        (events, sum)
    });
    let mut client = gateway.connect();
    for _ in 0..REQUESTS {
        client.send(&Request::get(INFO));
    }
    // Requests since the last sample are in the weight of the next one.
    let mut extra = 0;
    eventually("all are published", || {
        if reader.is_finished() {
            return Some(());
        }
        client.send(&Request::get(INFO));
        extra += 1;
        None
    });
    let (events, sum) = reader.join().expect("no panic");
    assert!(events * 10 < REQUESTS, "{events} events of {REQUESTS} requests");
    assert!(
        (REQUESTS..=REQUESTS + extra).contains(&sum),
        "each is counted once: {sum} of {REQUESTS} and {extra}"
    );
}

#[test]
fn a_listener_gets_only_the_events_of_its_query() {
    let (stateless, stateful) = (Upstream::start("stateless-1"), Upstream::start("stateful-1"));
    let gateway = Setup::new().stateless([&stateless]).stateful([&stateful]).start();
    let mut stream = gateway.listen("?pool=stateful");
    let Some(Event::Pools(pools)) = stream.next() else { panic!("the pools come first") };
    assert_eq!(pools.pools.len(), 1);
    let mut requests = gateway.listen("?types=routed&pool=stateless");
    gateway.set_strategy(PoolName::Stateless, Strategy::Sticky);
    gateway.send(&Request::get(SESSIONS).key(AffinityKey::from_bits(1)));
    gateway.send(&Request::get(INFO));
    gateway.set_strategy(PoolName::Stateful, Strategy::RoundRobin);
    assert_eq!(
        stream.next().as_ref().and_then(routed).map(|reported| reported.pool),
        Some(PoolName::Stateful)
    );
    assert_eq!(stream.next().map(|event| event.name()), Some("strategy_changed"));
    assert_eq!(
        requests.next().as_ref().and_then(routed).map(|reported| reported.pool),
        Some(PoolName::Stateless)
    );

    for (query, reported) in [
        ("types=routed,nonsense", "strategy_changed"),
        ("types=", "routed"),
        ("pool=other", "stateful"),
        ("typs=routed", "typs"),
    ] {
        let reply = gateway.request(Request::get(&format!("/control/v1/events?{query}")));
        assert_eq!((reply.status, reply.code()), (400, ErrorCode::InvalidQuery), "{query}");
        assert!(
            reply.problem().detail.contains(reported),
            "{reported} in {}",
            reply.problem().detail
        );
    }
}

#[test]
fn of_64_event_streams_16_are_reserved_for_the_token() {
    let upstream = Upstream::start("stateful-1");
    let gateway = Setup::new().stateful([&upstream]).start();
    let mut streams: Vec<_> = (0..48).map(|_| gateway.listen("?types=strategy_changed")).collect();
    let with_token = |value: &str| {
        Request::get("/control/v1/events").header("authorization", &format!("Bearer {value}"))
    };
    let rejected = |request: Request, reported: &str| {
        // Reads the status line first, since an opened stream would never end.
        let mut client = gateway.connect_control();
        client.start(&request.clone().header("host", &gateway.control_addr.to_string()));
        assert!(client.read_exactly(12).ends_with(b"503"), "{request:?}");
        let reply = gateway.request(request);
        assert_eq!((reply.status, reply.code()), (503, ErrorCode::TooManyStreams));
        assert!(
            reply.header("retry-after").is_some() && reply.problem().detail.contains(reported),
            "{reply:?}"
        );
    };
    rejected(Request::get("/control/v1/events"), "CONTROL_TOKEN");
    rejected(with_token("a-wrong-token-0123"), "CONTROL_TOKEN");
    assert_eq!(
        gateway.request(Request::get("/control/v1/pools")).status,
        200,
        "other requests are served"
    );
    streams.extend((0..16).map(|_| gateway.listen_with_token("?types=strategy_changed")));
    rejected(with_token(TOKEN), "64");
    // No event is sent, so closing the connection must free the slot by itself.
    streams.remove(0);
    eventually("a slot is free", || {
        let reply = gateway.request(Request::new("HEAD", "/control/v1/events"));
        assert_eq!(
            reply.header("content-length").filter(|_| reply.status == 200),
            None,
            "no length is known"
        );
        (reply.status == 200).then_some(())
    });
    gateway.set_strategy(PoolName::Stateful, Strategy::RoundRobin);
    for stream in &mut streams {
        assert_eq!(
            stream.next().map(|event| event.name()),
            Some("strategy_changed"),
            "each gets the event"
        );
    }
}

#[test]
fn a_stopping_gateway_sends_an_event_and_ends_its_streams() {
    let upstream = Upstream::start("stateful-1");
    let mut gateway = Setup::new().stateful([&upstream]).start();
    let mut stream = gateway.listen("?types=routed");
    gateway.terminate();
    assert_eq!(stream.next(), Some(Event::GatewayStopping {}));
    assert_eq!(stream.next(), None);
    eventually("run returns", || gateway.has_ended().then_some(()));
}
