//! `rates`: the totals of a second, of which `routed` is a sample.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::pools::{InstanceState, Strategy};
use crate::affinity::Epoch;
use crate::ids::InstanceName;
use crate::pool_name::PoolName;

/// What one pool did since the previous event of this type, about a second before.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Rates {
    /// The pool.
    pub pool: PoolName,
    /// The present strategy.
    pub strategy: Strategy,
    /// Fingerprint of the membership.
    pub epoch: Epoch,
    /// Length of the interval in milliseconds.
    pub interval_ms: u64,
    /// Finished requests, streams included.
    pub requests: u64,
    /// Routed requests by verdict; verdicts without a request are absent.
    pub verdicts: BTreeMap<String, u64>,
    /// Retries.
    pub retries: u64,
    /// Responses with a 5xx status.
    pub failed: u64,
    /// Responses with status 404; in the stateful pool the session was not found.
    pub not_found: u64,
    /// Median duration in milliseconds, without streams, interpolated within a histogram's bucket;
    /// absent without requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p50_ms: Option<f64>,
    /// 99th percentile of the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p99_ms: Option<f64>,
    /// Reads of sessions that the instances reported in this interval; absent when none reports
    /// them. They report at health checks, so a number belongs to the interval of its report.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reads: Option<SessionReads>,
    /// All known addresses, sorted by name.
    pub instances: Vec<InstanceRates>,
}

/// Successful reads of sessions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SessionReads {
    /// Reads from an instance's memory.
    pub memory: u64,
    /// All reads.
    pub total: u64,
}

/// One instance, in the same interval.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InstanceRates {
    /// Its name; `null` while it is unknown.
    pub name: Option<InstanceName>,
    /// Its address.
    pub addr: SocketAddr,
    /// The gateway's view of it.
    pub state: InstanceState,
    /// Requests sent to it in the interval.
    pub requests: u64,
    /// This gateway's requests in flight at it, without streams.
    pub in_flight: u64,
    /// This gateway's open streams at it.
    pub streams: u64,
    /// Live sessions by its last health check, for a stateful instance.
    pub live_sessions: Option<u64>,
    /// Sessions with a copy in its memory, by the same check.
    pub hot_sessions: Option<u64>,
}
