//! Slow-header attack (Slowloris): many clients that never finish their header.

use std::io::Read;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::client::Request;
use crate::testbed::{INFO, Setup, TestGateway};
use crate::upstream::Upstream;

const SLOW: usize = 2_000;
const HEADER: Duration = Duration::from_secs(4);
/// Tolerance for a busy machine.
const FLOOR: Duration = Duration::from_millis(100);

#[test]
fn slow_headers_time_out_and_do_not_delay_other_clients() {
    let upstream = Upstream::start("stateless-1");
    let timeouts = format!("[timeouts]\nheader_ms = {}\n", HEADER.as_millis());
    let gateway = Setup::new().stateless([&upstream]).section(&timeouts).checked_once().start();
    let before = p99(&gateway, || false);

    let mut slow = Vec::with_capacity(SLOW);
    for _ in 0..SLOW {
        let mut stream = TcpStream::connect(gateway.addr).expect("connects");
        stream.set_read_timeout(Some(crate::TIMEOUT)).expect("a timeout");
        std::io::Write::write_all(
            &mut stream,
            b"GET /api/v1/stateless/info HTTP/1.1\r\nhost: a\r\nx: ",
        )
        .expect("sent");
        slow.push((stream, Instant::now()));
    }
    let done = AtomicBool::new(false);
    let (during, cut) = thread::scope(|scope| {
        let healthy = scope.spawn(|| p99(&gateway, || !done.load(Ordering::Relaxed)));
        let cut: Vec<_> =
            slow.into_iter().map(|(stream, since)| cut_after(stream, since)).collect();
        done.store(true, Ordering::Relaxed);
        (healthy.join().expect("no panic"), cut)
    });
    let latest = cut.iter().max().expect("some");
    eprintln!(
        "healthy p99: {before:?} before, {during:?} beside {SLOW} slow headers; the last was cut \
         after {latest:?}"
    );
    assert!(
        cut.iter().all(|after| *after >= HEADER - FLOOR),
        "none times out early: {:?}",
        cut.iter().min()
    );
    assert!(*latest <= HEADER * 3, "each times out: {latest:?}");
    assert!(
        during <= (before * 2).max(FLOOR),
        "healthy clients wait {during:?} instead of {before:?}"
    );
}

/// Waits for the response to an endless header, which must be 408.
fn cut_after(mut stream: TcpStream, since: Instant) -> Duration {
    let mut status = [0; 12];
    stream.read_exact(&mut status).expect("a response");
    assert_eq!(&status, b"HTTP/1.1 408", "{:?}", String::from_utf8_lossy(&status));
    since.elapsed()
}

/// The p99 latency of at least 500 requests, and of more while `goes_on` returns `true`.
fn p99(gateway: &TestGateway, goes_on: impl Fn() -> bool) -> Duration {
    let mut client = gateway.connect();
    let mut took = Vec::new();
    while took.len() < 500 || goes_on() {
        let begun = Instant::now();
        assert_eq!(client.send(&Request::get(INFO)).status, 200);
        took.push(begun.elapsed());
    }
    took.sort_unstable();
    took[took.len() * 99 / 100]
}
