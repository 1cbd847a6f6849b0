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

/// Sends requests to which no instance responds.
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
fn no_instance_exceeds_its_limit_of_requests_in_flight() {
    let upstreams = Upstream::start_all(["stateless-1", "stateless-2"]);
    let gateway = Setup::new().stateless(&upstreams).section(FOUR).start();
    let waiting = fill(&gateway, &upstreams, &Request::get(INFO), 8);
    let rejected = gateway.send(&Request::get(INFO));
    assert_eq!((rejected.status, rejected.code()), (503, ErrorCode::Overloaded));
    assert_eq!(rejected.header("retry-after"), Some("1"));
    assert!(upstreams.iter().all(|upstream| upstream.count() == 4), "exactly four each");
    let counted = r#"gateway_requests_shed_total{pool="stateless",reason="instance_limit"} 1"#;
    assert!(gateway.metrics().contains(counted));
    upstreams.iter().for_each(|upstream| upstream.act(Act::ok()));
    for mut connection in waiting {
        assert_eq!(connection.reply_to("GET").status, 200);
    }
    eventually("requests are accepted again", || {
        (gateway.send(&Request::get(INFO)).status == 200).then_some(())
    });
}

#[test]
fn a_home_at_its_limit_spills_if_allowed_and_else_rejects() {
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
        "only its home holds the session"
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

/// Peak resident memory of this process, which includes the gateway.
fn peak_resident_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line =
        status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a high-water mark");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") / 1_024
}

/// Floods an instance with ten times its capacity. It must serve at least this share of its
/// capacity, and everything afterwards.
#[expect(clippy::print_stdout, reason = "the figures are what the flood is for")]
fn flood_tenfold(hosts: usize, lasts: Duration, section: &str, least: f64) -> Flood {
    let capacity = hosts as f64 / flood::SERVICE_TIME.as_secs_f64();
    let upstream = Slots::start(hosts);
    let gateway = Setup::new().stateless_at(upstream.addr()).section(section).start();
    let mut events = gateway.listen("?types=overload_changed");
    let before = peak_resident_mib();
    let flood = Flood::send(gateway.addr, INFO, 10.0 * capacity, lasts);
    let grown = peak_resident_mib() - before;
    println!(
        "capacity {capacity:.0}/s; {flood}; at most {} were at the instance",
        upstream.max_concurrent()
    );
    let after = std::time::Instant::now();
    eventually("all requests are served again", || {
        let all = (0..20).all(|_| gateway.send(&Request::get(INFO)).status == 200);
        all.then_some(())
    });
    println!(
        "recovered after {:?}; gateway, instance and flood used at most {grown} MiB more",
        after.elapsed()
    );
    assert!(after.elapsed() < Duration::from_secs(10), "recovered after {:?}", after.elapsed());
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
    // Overload ends with a response, so requests are needed.
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
fn a_tenfold_flood_is_shed_and_the_pool_keeps_its_throughput() {
    // A capacity of 40 requests/s and a load of 400: few enough for a debug build on a busy
    // machine. The test below measures the latency of shed requests, on an idle machine.
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
