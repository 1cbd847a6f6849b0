//! The configuration file as it is written, with every default.

use std::net::SocketAddr;
use std::path::PathBuf;

use ipnet::IpNet;
use proto_contracts::control::Strategy;
use serde::Deserialize;

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct File {
    pub(super) server: Server,
    pub(super) control: Control,
    pub(super) limits: Limits,
    pub(super) affinity: Affinity,
    pub(super) health: Health,
    pub(super) pools: Pools,
}

#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Server {
    pub(super) listen: SocketAddr,
    pub(super) threads: usize,
    pub(super) trusted_proxies: Vec<IpNet>,
    pub(super) expose_routing: bool,
    pub(super) state_file: Option<PathBuf>,
    pub(super) grace_period_s: u64,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            listen: ([127, 0, 0, 1], 8000).into(),
            threads: 0,
            trusted_proxies: vec![
                IpNet::new_assert([127, 0, 0, 0].into(), 8),
                IpNet::new_assert([0, 0, 0, 0, 0, 0, 0, 1].into(), 128),
            ],
            expose_routing: true,
            state_file: None,
            grace_period_s: 30,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Control {
    pub(super) listen: SocketAddr,
    pub(super) allowed_hosts: Vec<String>,
}

impl Default for Control {
    fn default() -> Self {
        Self {
            listen: ([127, 0, 0, 1], 8001).into(),
            allowed_hosts: ["127.0.0.1", "localhost", "[::1]"].map(str::to_owned).into(),
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Limits {
    pub(super) max_body_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_body_bytes: 1024 * 1024 }
    }
}

#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Affinity {
    pub(super) seed: String,
}

impl Default for Affinity {
    fn default() -> Self {
        Self { seed: "tandem".to_owned() }
    }
}

#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Health {
    pub(super) interval_ms: u64,
    pub(super) timeout_ms: u64,
    pub(super) fails: u32,
    pub(super) passes: u32,
}

impl Default for Health {
    fn default() -> Self {
        Self { interval_ms: 5_000, timeout_ms: 1_000, fails: 3, passes: 2 }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Pools {
    pub(super) stateless: Pool,
    pub(super) stateful: Pool,
}

#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Pool {
    pub(super) strategy: Option<Strategy>,
    pub(super) instances: Option<Vec<SocketAddr>>,
    pub(super) bounded_load: f64,
    pub(super) bounded_load_floor: u64,
}

impl Default for Pool {
    fn default() -> Self {
        Self { strategy: None, instances: None, bounded_load: 1.25, bounded_load_floor: 64 }
    }
}
