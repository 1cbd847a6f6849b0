//! The whole gateway in this process, with both planes on free ports, against scripted instances.

mod client;
mod event_stream;
mod testbed;
mod texts;
mod traces;
mod upstream;
mod weights;

mod board;
mod bounded_load;
mod canary;
mod class;
mod control;
mod conversation;
mod cors;
mod ctl;
mod deadlines;
mod differential;
mod discovery;
mod dns;
mod drain;
mod events;
mod explain;
mod failover;
mod forwarding;
mod h2c;
mod health;
mod hostile_requests;
mod hostile_responses;
mod kept_connections;
mod keys;
mod lab;
mod lessons;
mod local;
mod membership;
mod metrics;
mod minting;
mod moves;
mod one_client;
mod openapi;
mod outlier_ejection;
mod overload;
mod paths;
mod peers;
mod program;
mod rate_limit;
mod raw_table;
mod reload;
mod restart;
mod retries;
mod shutdown;
mod slow_clients;
mod strategies;
mod takeover;
mod tls;
mod traffic;
mod upgrade;

use std::time::{Duration, Instant};

/// How long a condition may take to come true before the test fails.
const TIMEOUT: Duration = Duration::from_secs(20);

/// Polls `look` until it returns a value.
#[track_caller]
fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + TIMEOUT;
    loop {
        if let Some(value) = look() {
            return value;
        }
        assert!(Instant::now() < deadline, "waited {TIMEOUT:?} in vain for: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
