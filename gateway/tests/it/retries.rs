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
    // Nobody is ejected, so every other request meets the one that breaks its connections.
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
        "each failure was a refused retry"
    );
}

#[test]
fn a_request_is_sent_no_more_often_than_allowed() {
    let mut upstreams = Upstream::start_all(["stateless-1", "stateless-2"]);
    let gateway =
        Setup::new().stateless(&upstreams).checked_once().retries("max_attempts = 1").start();
    upstreams[0].leave();
    let statuses: Vec<_> = (0..10).map(|_| gateway.send(&Request::get(INFO)).status).collect();
    assert_eq!(statuses.iter().filter(|status| **status == 503).count(), 5, "{statuses:?}");
    assert_eq!(counter(&gateway, "gateway_upstream_retries_total"), 0);
}

#[test]
fn an_instance_that_hangs_is_left_and_then_ejected() {
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
    assert_eq!(upstreams[0].count(), before, "nobody asks it any more");
    upstreams[0].act(Act::ok());
}

#[test]
fn a_write_does_not_leave_an_instance_that_is_slow() {
    let upstreams = Upstream::start_all(["stateless-1", "stateless-2"]);
    let gateway = Setup::new().stateless(&upstreams).retries("attempt_timeout_ms = 100").start();
    upstreams.iter().for_each(|upstream| upstream.act(Act::Hang));
    let mut client = gateway.connect();
    client.start(&Request::post(INFO));
    let sent = || upstreams.iter().map(Upstream::count).sum::<usize>();
    crate::eventually("it is sent", || (sent() == 1).then_some(()));
    // Three times as long as a read would wait; were it sent again, the count would show it.
    std::thread::sleep(Duration::from_millis(300));
    upstreams.iter().for_each(|upstream| upstream.act(Act::ok()));
    assert_eq!((client.reply_to("POST").status, sent()), (200, 1));
}

#[test]
fn a_request_that_left_a_slow_instance_goes_back_when_the_other_one_has_gone() {
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
    crate::eventually("the other is out", || {
        (gateway.healthy(PoolName::Stateless) == 1).then_some(())
    });
    crate::eventually("it is sent again", || (at(slow) == 2).then_some(()));
    slow.act(Act::ok());
    assert_eq!(client.reply_to("GET").status, 200);
    other.act(Act::ok());
}
#[test]
fn a_write_with_a_key_leaves_an_instance_that_hangs_with_its_body() {
    let upstreams = Upstream::start_all(["stateless-1", "stateless-2"]);
    let gateway = Setup::new()
        .stateless(&upstreams)
        .retries("attempt_timeout_ms = 300\nmin_per_second = 1000")
        .start();
    upstreams[0].act(Act::Hang);
    let body = format!("{{\"text\":\"{}\"}}", "x".repeat(40_000));
    let began = Instant::now();
    for number in 0..4 {
        let key = format!("0190b0e4-7d1c-7a52-9c41-00000000000{number}");
        let reply =
            gateway.send(&Request::new("POST", INFO).header("idempotency-key", &key).json(&body));
        assert_eq!((reply.status, reply.served_by()), (200, "stateless-2"));
        assert_eq!(upstreams[1].last().body_bytes, body.len(), "the whole body is sent again");
    }
    assert!(
        upstreams[1].count() == 4 && upstreams[0].count() > 0,
        "some were at the other one first"
    );
    // The timeout of a response is 15 s.
    assert!(began.elapsed() < Duration::from_secs(10), "moved on after {:?}", began.elapsed());
    upstreams[0].act(Act::ok());
}

/// Requests that wait together time out together. Those for which the budget has no retry wait on
/// and are served.
#[test]
fn a_request_without_a_retry_has_the_time_of_the_last_attempt() {
    let upstreams = Upstream::start_all(["stateless-1", "stateless-2"]);
    let budget = "attempt_timeout_ms = 300\nbudget_percent = 0\nmin_per_second = 1";
    let gateway = Setup::new().stateless(&upstreams).checked_once().retries(budget).start();
    upstreams.iter().for_each(|upstream| upstream.act(Act::Hang));
    let clients = gateway.start_many(40, &Request::get(INFO));
    // Ten leave the instance that they were sent to; the others do not.
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
