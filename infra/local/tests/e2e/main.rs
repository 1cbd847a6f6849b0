//! The system's promises, tried from outside against the whole of it: real Nginx, gateway, services, Redis and
//! PostgreSQL, each test on a stack of its own. Needs the workspace's binaries (`cargo build --workspace --bins`).

mod answer;
mod api;
mod api_table;
mod collector;
mod data;
mod edge;
mod edge_cache;
mod exactly_once;
mod failover;
mod full_disk;
mod hang;
mod hostile;
mod keys;
mod kills;
mod live;
mod logs;
mod membership;
mod raw;
mod redis_failover;
mod spread;
mod sticky;
mod strategy;
mod traces;
mod until;

use std::time::Duration;

use local_stack::{Plan, Stack};

/// A stack whose services take one thread each, since the tests share few cores and several of them run at once. Health
/// is checked as `make up` has it checked, so that a busy machine does not look like a dead instance.
fn small_stack() -> Plan {
    Stack::for_tests()
        .env("stateless-svc", "WORKERS", "1")
        .env("stateful-svc", "WORKERS", "1")
        .health_interval(Duration::from_secs(1))
}
