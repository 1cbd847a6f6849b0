//! Overload: limits of requests in flight per instance, and load shedding per pool.

mod flood;

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use proto_contracts::control::Event;
use proto_contracts::{AffinityKey, ErrorCode, Verdict};

use crate::client::{Connection, Request};
use crate::eventually;
use crate::overload::flood::{Flood, Slots};
use crate::testbed::{INFO, Setup, TestGateway, session_path};
use crate::upstream::{Act, Upstream};

const FOUR: &str = "[overload]\nmax_in_flight = 4\nmin_in_flight = 1";

/// Sends requests that wait for a response.
fn fill(
    gateway: &TestGateway,
    upstreams: &[Upstream],
    request: &Request,
    count: usize,
) -> Vec<Connection> {
    upstreams.iter().for_each(|upstream| upstream.act(Act::Hang));
    let sent = || upstreams.iter().map(Upstream::count).sum::<usize>();
    let before = sent();
    let waiting = (0..count).map(|_| {
        let mut connection = gateway.connect();
        connection.start(request);
        connection
    });
    let waiting = waiting.collect();
    eventually("all are sent", || (sent() == before + count).then_some(()));
    waiting
}

#[test]
fn no_instance_has_more_in_flight_than_it_may() {
    let upstreams = Upstream::start_all(["stateless-1", "stateless-2"]);
    let gateway = Setup::new().stateless(&upstreams).section(FOUR).start();
    let waiting = fill(&gateway, &upstreams, &Request::get(INFO), 8);
    let refused = gateway.send(&Request::get(INFO));
    assert_eq!((refused.status, refused.code()), (503, ErrorCode::Overloaded));
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert!(upstreams.iter().all(|upstream| upstream.count() == 4), "four each, and nothing more");
    let counted = r#"gateway_requests_shed_total{pool="stateless",reason="instance_limit"} 1"#;
    assert!(gateway.metrics().contains(counted));
    upstreams.iter().for_each(|upstream| upstream.act(Act::ok()));
    for mut connection in waiting {
        assert_eq!(connection.reply_to("GET").status, 200);
    }
    eventually("there is room again", || {
        (gateway.send(&Request::get(INFO)).status == 200).then_some(())
    });
}

#[test]
fn a_full_home_spills_where_another_may_stand_in_and_refuses_where_none_may() {
    let upstreams = Upstream::start_all(["stateful-1", "stateful-2"]);
    let key = AffinityKey::random();
    let read = Request::get(&session_path(key));
    let gateway = Setup::new().stateful(&upstreams).section(FOUR).start();
    let waiting = fill(&gateway, &upstreams, &read, 5);
    upstreams.iter().for_each(|upstream| upstream.act(Act::ok()));
    let verdicts: Vec<_> =
        waiting.into_iter().map(|mut connection| connection.reply_to("GET").verdict()).collect();
    assert_eq!(
        verdicts.iter().filter(|verdict| **verdict == Verdict::Spilled).count(),
        1,
        "{verdicts:?}"
    );

    let gateway = Setup::new()
        .stateful(&upstreams)
        .stateful_setting("bounded_load = 0")
        .section(FOUR)
        .start();
    let waiting = fill(&gateway, &upstreams, &read, 4);
    assert_eq!(
        gateway.send(&read).code(),
        ErrorCode::Overloaded,
        "the session is in its home's memory alone"
    );
    let explained = gateway.explain(key);
    let why = explained.ranking[0].passed_over.as_deref().expect("a reason");
    assert!(why.contains("4 requests in flight"), "{why}");
    assert!(
        explained.choice.is_none() && explained.reason.contains("at their limit"),
        "{explained:?}"
    );
    upstreams.iter().for_each(|upstream| upstream.act(Act::ok()));
    drop(waiting);
}

/// The most memory that this process, of which the gateway is a part, has had resident.
fn most_resident_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line =
        status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a high-water mark");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") / 1_024
}

/// Floods an instance with ten times what it can do, of which it must do at least this share, and
/// all of it again afterwards.
#[expect(clippy::print_stdout, reason = "the figures are what the flood is for")]
fn flood_tenfold(hosts: usize, lasts: Duration, section: &str, least: f64) -> Flood {
    let capacity = hosts as f64 / flood::SERVICE_TIME.as_secs_f64();
    let upstream = Slots::start(hosts);
    let gateway = Setup::new().stateless_at(upstream.addr()).section(section).start();
    let mut events = gateway.listen("?types=overload_changed");
    let before = most_resident_mib();
    let flood = Flood::send(gateway.addr, INFO, 10.0 * capacity, lasts);
    let grown = most_resident_mib() - before;
    println!(
        "capacity {capacity:.0}/s; {flood}; at most {} were at the instance",
        upstream.most_at_once()
    );
    let after = std::time::Instant::now();
    eventually("all is well again", || {
        let all = (0..20).all(|_| gateway.send(&Request::get(INFO)).status == 200);
        all.then_some(())
    });
    println!(
        "well again after {:?}; gateway, instance and flood took {grown} MiB more at most",
        after.elapsed()
    );
    assert!(after.elapsed() < Duration::from_secs(10), "well again after {:?}", after.elapsed());
    // Most of it is the flood's record of half a million responses.
    assert!(grown < 512, "{grown} MiB");
    assert_eq!(flood.failed, 0, "{flood}");
    let mut reported = |is_over| {
        events.find("overload", |event| match event {
            Event::OverloadChanged { limit, .. } => (limit.is_none() == is_over).then_some(()),
            _ => None,
        });
    };
    reported(false);
    // Responses end it, so some must come.
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                gateway.send(&Request::get(INFO));
            }
        });
        reported(true);
        is_over.store(true, Ordering::Relaxed);
    });
    assert!(flood.good_per_second() >= least * capacity, "{flood}, of {capacity:.0}/s");
    flood
}

#[test]
fn a_tenfold_flood_is_shed_and_leaves_a_pool_its_throughput() {
    // 40 requests a second, asked for 400: little enough for a debug build on a machine that is
    // busy with other tests. How soon those that are shed hear of it is measured below, where
    // nothing else runs.
    let section = "[overload]\nlatency_target_ms = 300\nmin_in_flight = 8";
    let flood = flood_tenfold(2, Duration::from_secs(5), section, 0.25);
    assert!(flood.shed > 0, "{flood}");
}

#[test]
#[ignore = "takes a minute and two free cores; `cargo test -p gateway --release --test it -- \
            --ignored --nocapture flood`"]
fn a_tenfold_flood_of_a_minute() {
    let flood = flood_tenfold(40, Duration::from_secs(60), "", 0.8);
    assert!(flood.shed_latency(0.99) < Duration::from_millis(50), "{flood}");
}
