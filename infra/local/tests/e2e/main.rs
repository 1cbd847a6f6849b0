//! End-to-end tests of the system's guarantees: real Nginx, gateway, services, Redis and
//! PostgreSQL, one stack per test. Needs the workspace's binaries (`cargo build --workspace
//! --bins`).

mod accounts;
mod api;
mod api_table;
mod backup;
mod canary;
mod classroom;
mod collector;
mod configure;
mod conversation;
mod data;
mod during;
mod edge;
mod edge_cache;
mod edge_cors;
mod edge_limits;
mod exactly_once;
mod failover;
mod files;
mod full_disk;
mod hang;
mod hostile;
mod hostile_edge;
mod imports;
mod key_rotation;
mod keys;
mod kills;
mod legacy_rollback;
mod lessons;
mod live;
mod logs;
mod membership;
mod migrations;
mod plans;
mod postgres_failover;
mod products;
mod raw;
mod redis_failover;
mod replica;
mod response;
mod revocation;
mod rollback;
mod spread;
mod sticky;
mod strategy;
mod tls;
mod traces;
mod traffic;
mod until;

use std::time::Duration;

use local_stack::{Plan, Stack};

/// A stack whose services have one worker each, since concurrent tests share few cores. Health
/// checks are as slow as those of `make up`, so that a busy machine does not look like a dead
/// instance.
fn small_stack() -> Plan {
    Stack::for_tests()
        .env("stateless-svc", "WORKERS", "1")
        .env("stateful-svc", "WORKERS", "1")
        .health_interval(Duration::from_secs(1))
}
