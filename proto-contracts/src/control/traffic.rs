//! What the control plane passes on to a traffic driver (`loadtest drive`): settings within bounds,
//! start, stop, and what was measured.

use std::ops::RangeInclusive;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::FieldError;
use crate::pool_name::PoolName;

/// The path at the driver, which is the control plane's below another prefix.
pub const DRIVER_TRAFFIC_PATH: &str = "/driver/v1/traffic";

/// How the driver's clients behave. The bounds keep it from being a weapon: at most 4,000 requests/s
/// from 200 connections, to the one target of its command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TrafficSettings {
    /// Number of clients, each with a connection and a session of its own.
    #[schemars(range(min = 1, max = 200))]
    pub clients: u16,
    /// The share of stateless requests, in percent.
    #[schemars(range(min = 0, max = 100))]
    pub stateless_percent: u16,
    /// The share of reads among requests to sessions, in percent; the others write.
    #[schemars(range(min = 0, max = 100))]
    pub reads_percent: u16,
    /// Mean pause of a client between a response and its next request, in milliseconds. Pauses vary
    /// by half, so that clients don't keep step.
    #[schemars(range(min = 50, max = 60000))]
    pub think_time_ms: u32,
    /// How many clients share an address, as behind a NAT. The gateway's limits count by address.
    #[schemars(range(min = 1, max = 200))]
    pub clients_per_address: u16,
    /// Whether clients keep the affinity cookie. Without it, the gateway does not know the session
    /// of a write, whose id is in the body; the path of a read has it.
    pub cookie_jar: bool,
}

impl Default for TrafficSettings {
    /// 80 requests/s of 20 clients, each with its own address.
    fn default() -> Self {
        Self {
            clients: 20,
            stateless_percent: 30,
            reads_percent: 70,
            think_time_ms: 250,
            clients_per_address: 1,
            cookie_jar: true,
        }
    }
}

impl TrafficSettings {
    /// Bounds of `clients` and `clients_per_address`.
    pub const CLIENTS: RangeInclusive<u16> = 1..=200;
    /// Bounds of `think_time_ms`.
    pub const THINK_TIME_MS: RangeInclusive<u32> = 50..=60_000;
    /// Bounds of the shares.
    const PERCENT: RangeInclusive<u16> = 0..=100;

    /// The fields that are out of bounds.
    pub fn faults(&self) -> Vec<FieldError> {
        fn within<T: PartialOrd + std::fmt::Display>(
            pointer: &'static str,
            value: T,
            bounds: &RangeInclusive<T>,
        ) -> Option<FieldError> {
            let detail = || format!("must be {} to {}", bounds.start(), bounds.end());
            (!bounds.contains(&value)).then(|| FieldError::in_body(pointer, detail()))
        }
        let checks = [
            within("/clients", self.clients, &Self::CLIENTS),
            within("/stateless_percent", self.stateless_percent, &Self::PERCENT),
            within("/reads_percent", self.reads_percent, &Self::PERCENT),
            within("/think_time_ms", self.think_time_ms, &Self::THINK_TIME_MS),
            within("/clients_per_address", self.clients_per_address, &Self::CLIENTS),
        ];
        checks.into_iter().flatten().collect()
    }
}

/// `GET /control/v1/traffic`, and the response to each change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Traffic {
    /// Whether the gateway has a driver to pass changes on to.
    pub driver: bool,
    /// Whether its clients send requests.
    pub running: bool,
    /// The settings of now, or of the last time.
    pub settings: TrafficSettings,
    /// Sessions that the clients hold, or that could not be deleted yet.
    pub sessions: u32,
    /// What was measured in each pool.
    pub pools: Vec<PoolTraffic>,
}

impl Traffic {
    /// What a gateway without a driver shows.
    pub fn without_driver() -> Self {
        Self {
            driver: false,
            running: false,
            settings: TrafficSettings::default(),
            sessions: 0,
            pools: Vec::new(),
        }
    }
}

/// What the driver measured in a pool since it was started the last time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PoolTraffic {
    /// The pool.
    pub pool: PoolName,
    /// Requests per second, in the last five seconds.
    pub requests_per_s: f64,
    /// Requests, failed ones included.
    pub requests: u64,
    /// The failed ones, by kind, most frequent first.
    pub failures: Vec<TrafficFailure>,
}

/// Failed requests of one kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TrafficFailure {
    /// An error code, such as `session_not_found`; `status_` with a status without one; or
    /// `connect`, `broken`, `timeout` or `wrong_response`.
    pub kind: String,
    /// How many.
    pub count: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_setting_has_its_bounds() {
        let good = TrafficSettings::default();
        let pointers = |settings: TrafficSettings| {
            let faults = settings.faults();
            faults.iter().map(|fault| fault.pointer.clone().expect("a field")).collect::<Vec<_>>()
        };
        assert!(pointers(good).is_empty());
        for (bad, pointer) in [
            (TrafficSettings { clients: 0, ..good }, "/clients"),
            (TrafficSettings { clients: 201, ..good }, "/clients"),
            (TrafficSettings { stateless_percent: 101, ..good }, "/stateless_percent"),
            (TrafficSettings { reads_percent: 101, ..good }, "/reads_percent"),
            (TrafficSettings { think_time_ms: 49, ..good }, "/think_time_ms"),
            (TrafficSettings { think_time_ms: 60_001, ..good }, "/think_time_ms"),
            (TrafficSettings { clients_per_address: 0, ..good }, "/clients_per_address"),
            (TrafficSettings { clients_per_address: 201, ..good }, "/clients_per_address"),
        ] {
            assert_eq!(pointers(bad), [pointer]);
        }
        let edges = TrafficSettings {
            clients: 200,
            stateless_percent: 100,
            reads_percent: 0,
            think_time_ms: 50,
            clients_per_address: 200,
            cookie_jar: false,
        };
        assert!(pointers(edges).is_empty());
        let all = TrafficSettings { clients: 0, think_time_ms: 0, ..good };
        assert_eq!(pointers(all), ["/clients", "/think_time_ms"], "every fault is reported");
    }

    #[test]
    fn every_setting_is_required_and_no_other_is_known() {
        let json = serde_json::to_value(TrafficSettings::default()).expect("JSON");
        let fields = json.as_object().expect("an object");
        for name in fields.keys() {
            let mut less = fields.clone();
            less.remove(name);
            assert!(serde_json::from_value::<TrafficSettings>(less.into()).is_err(), "{name}");
        }
        let mut more = fields.clone();
        more.insert("target".to_owned(), "http://192.0.2.7".into());
        assert!(serde_json::from_value::<TrafficSettings>(more.into()).is_err(), "no target");
    }
}
