//! The retry budget, and requests that switch from an unresponsive instance.

use std::time::{Duration, Instant};

use proto_contracts::control::InstanceState;
use proto_contracts::{ErrorCode, PoolName};

use crate::client::Request;
use crate::testbed::{INFO, Setup, TestGateway};
use crate::upstream::{Act, Health, Upstream};

/// A counter of the stateless pool.
fn counter(gateway: &TestGateway, name: &str) -> u64 {
    let prefix = format!("{name}{{pool=\"stateless\"}} ");
    let metrics = gateway.metrics();
    metrics
        .lines()
        .find_map(|line| line.strip_prefix(&prefix))
        .expect("it is there")
        .parse()
        .expect("a number")
}

#[test]
fn retries_never_exceed_their_share_of_the_requests() {
    let upstreams = Upstream::start_all(["stateless-1", "stateless-2"]);
    let budget = "budget_percent = 20\nmin_per_second = 0";
    let gateway = Setup::new().stateless(&upstreams).checked_once().retries(budget).start();
    let mut client = gateway.connect();
    (0..50).for_each(|_| assert_eq!(client.send(&Request::get(INFO)).status, 200));
    // Ejection is off, so every other request reaches the instance that closes its connections.
    upstreams[0].act(Act::Close);
    let (mut served, mut failed) = (0, 0);
    for _ in 0..300 {
        // Pingora closes the connection after a failure.
        let reply = gateway.send(&Request::get(INFO));
        match reply.status {
            200 => served += 1,
            _ => {
                assert_eq!((reply.status, reply.code()), (502, ErrorCode::UpstreamFailed));
                failed += 1;
            }
        }
    }
    let retries = counter(&gateway, "gateway_upstream_retries_total");
    assert!(served > 150 && failed > 0, "{served} served, {failed} failed");
    assert!(
        (30..=70).contains(&retries),
        "{retries} retries of 350 requests: a fifth, of those in the window"
    );
    assert!(
        counter(&gateway, "gateway_upstream_retries_refused_total") >= failed,
        "the budget refused a retry for each failure"
    );
}

#[test]
fn attempts_are_limited_by_max_attempts() {
    let mut upstreams = Upstream::start_all(["stateless-1", "stateless-2"]);
    let gateway =
        Setup::new().stateless(&upstreams).checked_once().retries("max_attempts = 1").start();
    upstreams[0].leave();
    let statuses: Vec<_> = (0..10).map(|_| gateway.send(&Request::get(INFO)).status).collect();
    assert_eq!(statuses.iter().filter(|status| **status == 503).count(), 5, "{statuses:?}");
    assert_eq!(counter(&gateway, "gateway_upstream_retries_total"), 0);
}

#[test]
fn requests_to_a_hanging_instance_are_retried_and_it_is_ejected() {
    let upstreams = Upstream::start_all(["stateless-1", "stateless-2"]);
    let gateway = Setup::new().stateless(&upstreams).retries("attempt_timeout_ms = 300").start();
    upstreams[0].act(Act::Hang);
    let began = Instant::now();
    // It still passes its health checks, so only requests fail.
    let clients = gateway.start_many(20, &Request::get(INFO));
    for mut client in clients {
        let reply = client.reply_to("GET");
        assert_eq!((reply.status, reply.served_by()), (200, "stateless-2"));
    }
    // The response timeout is 15 s.
    assert!(began.elapsed() < Duration::from_secs(10), "moved on after {:?}", began.elapsed());
    crate::eventually("it is ejected", || {
        let instance = gateway.pool(PoolName::Stateless).instances.swap_remove(0);
        (instance.state == InstanceState::Ejected).then_some(())
    });
    let before = upstreams[0].count();
    (0..10).for_each(|_| assert_eq!(gateway.send(&Request::get(INFO)).status, 200));
    assert_eq!(upstreams[0].count(), before, "it gets no more requests");
    upstreams[0].act(Act::ok());
}

#[test]
fn a_write_without_a_key_is_not_retried_on_timeout() {
    let upstreams = Upstream::start_all(["stateless-1", "stateless-2"]);
    let gateway = Setup::new().stateless(&upstreams).retries("attempt_timeout_ms = 100").start();
    upstreams.iter().for_each(|upstream| upstream.act(Act::Hang));
    let mut client = gateway.connect();
    client.start(&Request::post(INFO));
    let sent = || upstreams.iter().map(Upstream::count).sum::<usize>();
    crate::eventually("it is sent", || (sent() == 1).then_some(()));
    // Three times `attempt_timeout_ms`; a retry would show in the count.
    std::thread::sleep(Duration::from_millis(300));
    upstreams.iter().for_each(|upstream| upstream.act(Act::ok()));
    assert_eq!((client.reply_to("POST").status, sent()), (200, 1));
}

#[test]
fn a_request_returns_to_a_slow_instance_if_it_is_the_last_one() {
    let upstreams = Upstream::start_all(["stateless-1", "stateless-2"]);
    let gateway = Setup::new()
        .stateless(&upstreams)
        .retries("attempt_timeout_ms = 2000\nmin_per_second = 1000")
        .start();
    upstreams.iter().for_each(|upstream| upstream.act(Act::Hang));
    let mut client = gateway.connect();
    client.start(&Request::get(INFO));
    let at = |upstream: &Upstream| upstream.count();
    crate::eventually("it is sent", || {
        (upstreams.iter().map(at).sum::<usize>() == 1).then_some(())
    });
    let (slow, other) = if at(&upstreams[0]) == 1 {
        (&upstreams[0], &upstreams[1])
    } else {
        (&upstreams[1], &upstreams[0])
    };
    other.health(Health::Failing(500));
    crate::eventually("the other is unhealthy", || {
        (gateway.healthy(PoolName::Stateless) == 1).then_some(())
    });
    crate::eventually("it is sent again", || (at(slow) == 2).then_some(()));
    slow.act(Act::ok());
    assert_eq!(client.reply_to("GET").status, 200);
    other.act(Act::ok());
}
#[test]
fn a_keyed_write_is_retried_with_its_whole_body() {
    let upstreams = Upstream::start_all(["stateless-1", "stateless-2"]);
    let gateway = Setup::new()
        .stateless(&upstreams)
        .retries("attempt_timeout_ms = 300\nmin_per_second = 1000")
        .start();
    upstreams[0].act(Act::Hang);
    let body = format!("{{\"text\":\"{}\"}}", "x".repeat(40_000));
    let began = Instant::now();
    for key in [
        "0190b0e4-7d1c-7a52-9c41-000000000000",
        "order-42/a",
        "\"order-42/b\"",
        "\"the-\\\"key\\\"\"",
    ] {
        let reply =
            gateway.send(&Request::new("POST", INFO).header("idempotency-key", key).json(&body));
        assert_eq!((reply.status, reply.served_by()), (200, "stateless-2"));
        assert_eq!(upstreams[1].last().body_bytes, body.len(), "the whole body is sent again");
    }
    assert!(
        upstreams[1].count() == 4 && upstreams[0].count() > 0,
        "some were sent to the hanging one first"
    );
    // The timeout of a response is 15 s.
    assert!(began.elapsed() < Duration::from_secs(10), "moved on after {:?}", began.elapsed());
    upstreams[0].act(Act::ok());
}

/// Many requests time out at the same moment. Those beyond the retry budget keep waiting and are
/// served.
#[test]
fn a_request_beyond_the_retry_budget_waits_until_the_response_timeout() {
    let upstreams = Upstream::start_all(["stateless-1", "stateless-2"]);
    let budget = "attempt_timeout_ms = 300\nbudget_percent = 0\nmin_per_second = 1";
    let gateway = Setup::new().stateless(&upstreams).checked_once().retries(budget).start();
    upstreams.iter().for_each(|upstream| upstream.act(Act::Hang));
    let clients = gateway.start_many(40, &Request::get(INFO));
    // Ten are retried at the other instance.
    crate::eventually("ten are sent again", || {
        (upstreams.iter().map(Upstream::count).sum::<usize>() == 50).then_some(())
    });
    std::thread::sleep(Duration::from_millis(300));
    upstreams.iter().for_each(|upstream| upstream.act(Act::ok()));
    for mut client in clients {
        assert_eq!(client.reply_to("GET").status, 200);
    }
    assert_eq!(counter(&gateway, "gateway_upstream_retries_total"), 10);
    assert_eq!(counter(&gateway, "gateway_upstream_retries_refused_total"), 0);
}
