//! The stack's ports: the fixed default ports, or a block of free ones for a test.

use std::env;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::ops::RangeInclusive;
use std::os::unix::fs::DirBuilderExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use proto_contracts::PoolName;

use crate::component::Exporter;
use crate::error::{Attempt, StackError};
use crate::port_owner;

/// The ports of one stack, all on loopback.
#[derive(Clone, Debug)]
pub struct Ports {
    /// Nginx, HTTPS.
    pub https: u16,
    /// Nginx, HTTP: redirects to HTTPS.
    pub http: u16,
    /// Nginx, HTTPS for the phones of a class.
    pub class: u16,
    /// Nginx's `stub_status`.
    pub nginx_status: u16,
    /// The gateway's data plane.
    pub gateway: u16,
    /// The gateway's control plane.
    pub control: u16,
    /// The second gateway's data plane.
    pub second_gateway: u16,
    /// Its control plane.
    pub second_control: u16,
    /// The stack's agent.
    pub agent: u16,
    /// The traffic driver.
    pub driver: u16,
    /// Prometheus.
    pub prometheus: u16,
    /// The exporters, for Prometheus.
    exporters: RangeInclusive<u16>,
    /// The Redis that holds the sessions.
    pub redis_sessions: u16,
    /// The Redis that holds the cache.
    pub redis_cache: u16,
    /// The same by TLS, if the stack has it.
    pub(crate) redis_sessions_tls: u16,
    /// The same by TLS, if the stack has it.
    pub(crate) redis_cache_tls: u16,
    /// PostgreSQL.
    pub postgres: u16,
    /// Its standby.
    pub postgres_replica: u16,
    /// The servers of a replicated or clustered Redis, their cluster buses, and the Sentinels.
    redis_nodes: RangeInclusive<u16>,
    redis_buses: RangeInclusive<u16>,
    sentinels: RangeInclusive<u16>,
    stateless: RangeInclusive<u16>,
    stateful: RangeInclusive<u16>,
    spare: RangeInclusive<u16>,
    next_spare: Arc<AtomicU16>,
    /// Reserves the block while any copy lives.
    _lease: Option<Arc<File>>,
}

/// The ports of all blocks, below Linux's default range of ephemeral ports.
const BLOCKS: RangeInclusive<u16> = 20_000..=31_999;
/// Ports of one block.
const BLOCK: u16 = 84;
/// Instances of one pool that fit into a block.
const POOL: u16 = 22;
/// Single ports at the start of a block.
const SINGLES: u16 = 20;
/// Servers of a replicated or clustered Redis, at most.
const NODES: u16 = 6;
/// Sentinels of one Redis.
const SENTINELS: u16 = 3;

impl Ports {
    /// The default ports, each shifted by `offset`, which is at most 10,000.
    pub fn fixed(offset: u16) -> Self {
        let at = |port: u16| port.saturating_add(offset);
        Self {
            https: at(8443),
            http: at(8080),
            class: at(8444),
            nginx_status: at(8081),
            gateway: at(8000),
            control: at(8001),
            second_gateway: at(8004),
            second_control: at(8005),
            agent: at(8002),
            driver: at(8003),
            prometheus: at(8090),
            exporters: at(8091)..=at(8093),
            redis_sessions: at(8379),
            redis_cache: at(8380),
            redis_sessions_tls: at(8377),
            redis_cache_tls: at(8378),
            postgres: at(8432),
            postgres_replica: at(8433),
            redis_nodes: at(8381)..=at(8386),
            redis_buses: at(8394)..=at(8399),
            sentinels: at(8391)..=at(8393),
            stateless: at(8101)..=at(8199),
            stateful: at(8201)..=at(8299),
            spare: at(8301)..=at(8369),
            next_spare: Arc::default(),
            _lease: None,
        }
    }

    /// A block of free ports that no other test holds, in this process or another. It stays
    /// reserved until the last copy is dropped.
    ///
    /// # Errors
    /// [`StackError::NoFreePorts`] when every block is in use, [`StackError::Io`] when the lock
    /// files cannot be made.
    pub fn reserve() -> Result<Self, StackError> {
        let dir = env::temp_dir().join(format!("tandem-ports-{}", nix::unistd::getuid()));
        let cannot = || format!("make lock files in {}", dir.display());
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir).attempt(cannot)?;
        for first in BLOCKS.step_by(usize::from(BLOCK)) {
            let lock = dir.join(format!("{first}.lock"));
            let lock = OpenOptions::new().create(true).append(true).open(lock).attempt(cannot)?;
            match lock.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => continue,
                Err(TryLockError::Error(source)) => {
                    return Err(StackError::Io { what: cannot(), source });
                }
            }
            if (first..first + BLOCK).all(is_free) {
                return Ok(Self::block(first, lock));
            }
        }
        Err(StackError::NoFreePorts { first: *BLOCKS.start(), last: *BLOCKS.end() })
    }

    fn block(first: u16, lease: File) -> Self {
        let nodes = first + SINGLES;
        let buses = nodes + NODES;
        let sentinels = buses + NODES;
        let stateless = sentinels + SENTINELS;
        let stateful = stateless + POOL;
        let spare = stateful + POOL;
        Self {
            https: first,
            http: first + 1,
            gateway: first + 2,
            control: first + 3,
            agent: first + 4,
            redis_sessions: first + 5,
            redis_cache: first + 6,
            postgres: first + 7,
            nginx_status: first + 8,
            second_gateway: first + 9,
            second_control: first + 10,
            prometheus: first + 11,
            exporters: first + 12..=first + 14,
            postgres_replica: first + 15,
            class: first + 16,
            driver: first + 17,
            redis_sessions_tls: first + 18,
            redis_cache_tls: first + 19,
            redis_nodes: nodes..=buses - 1,
            redis_buses: buses..=sentinels - 1,
            sentinels: sentinels..=stateless - 1,
            stateless: stateless..=stateful - 1,
            stateful: stateful..=spare - 1,
            spare: spare..=first + BLOCK - 1,
            next_spare: Arc::default(),
            _lease: Some(Arc::new(lease)),
        }
    }

    /// The port of an exporter.
    pub(crate) fn exporter(&self, exporter: Exporter) -> u16 {
        self.exporters.start() + exporter as u16
    }

    /// The port of a pool's instance, numbered from 1.
    ///
    /// # Errors
    /// [`StackError::TooManyInstances`].
    pub fn instance(&self, pool: PoolName, number: u16) -> Result<u16, StackError> {
        let range = match pool {
            PoolName::Stateless => &self.stateless,
            PoolName::Stateful => &self.stateful,
        };
        let most = range.end() - range.start() + 1;
        match number {
            1.. if number <= most => Ok(range.start() + number - 1),
            _ => Err(StackError::TooManyInstances { pool: pool.as_str(), most }),
        }
    }

    /// The port of a server of a replicated or clustered Redis, numbered from 1.
    pub(crate) fn redis_node(&self, number: u16) -> u16 {
        self.redis_nodes.start() + number - 1
    }

    /// The cluster bus port of that server.
    pub(crate) fn redis_bus(&self, number: u16) -> u16 {
        self.redis_buses.start() + number - 1
    }

    /// The port of a Sentinel, numbered from 1.
    pub(crate) fn sentinel(&self, number: u16) -> u16 {
        self.sentinels.start() + number - 1
    }

    /// An unused port of the plan, a different one each time: for an instance that moves to another
    /// port, or a test's proxy.
    ///
    /// # Errors
    /// [`StackError::NoFreePorts`] when none is left.
    pub fn spare(&self) -> Result<u16, StackError> {
        let (&first, &last) = (self.spare.start(), self.spare.end());
        let port = first.saturating_add(self.next_spare.fetch_add(1, Ordering::Relaxed));
        if port <= last { Ok(port) } else { Err(StackError::NoFreePorts { first, last }) }
    }
}

/// The loopback address of a port.
pub(crate) fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// Whether the port can be bound now.
pub(crate) fn is_free(port: u16) -> bool {
    TcpListener::bind(loopback(port)).is_ok()
}

/// Fails with the owner's name when a process listens on the port.
pub(crate) fn require_free(port: u16, component: &str) -> Result<(), StackError> {
    if is_free(port) {
        return Ok(());
    }
    Err(StackError::PortInUse {
        port,
        component: component.to_owned(),
        owner: port_owner::of(port),
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn concurrent_stacks_share_no_port() {
        let stacks: Vec<Ports> = (0..4).map(|_| Ports::reserve().expect("a block")).collect();
        let mut seen = HashSet::new();
        for ports in &stacks {
            let pools =
                PoolName::ALL.into_iter().flat_map(|pool| (1..=POOL).map(move |n| (pool, n)));
            let pools = pools.map(|(pool, n)| ports.instance(pool, n).expect("a port"));
            let nodes = (1..=NODES).flat_map(|n| [ports.redis_node(n), ports.redis_bus(n)]);
            let redis = nodes.chain((1..=SENTINELS).map(|n| ports.sentinel(n)));
            for port in pools.chain(redis).chain([
                ports.https,
                ports.class,
                ports.driver,
                ports.http,
                ports.gateway,
                ports.control,
                ports.agent,
                ports.redis_sessions_tls,
                ports.redis_cache_tls,
            ]) {
                assert!(seen.insert(port), "{port} twice");
            }
            assert!(
                seen.insert(ports.spare().expect("a spare"))
                    && seen.insert(ports.spare().expect("another"))
            );
        }
    }

    #[test]
    fn a_dropped_block_is_free_again_and_a_block_with_a_busy_port_is_skipped() {
        let ports = Ports::reserve().expect("a block");
        let listener = TcpListener::bind(loopback(ports.redis_cache)).expect("bound");
        let taken = ports.redis_cache;
        drop(ports);
        let other = Ports::reserve().expect("a block");
        assert_ne!(other.redis_cache, taken);
        drop(listener);
        require_free(taken, "redis-cache").expect("free");
    }

    #[test]
    fn a_busy_port_is_reported_with_its_owner() {
        let ports = Ports::reserve().expect("a block");
        let _listener = TcpListener::bind(loopback(ports.gateway)).expect("bound");
        let error = require_free(ports.gateway, "gateway").expect_err("busy").to_string();
        assert!(error.contains(&format!("(pid {})", std::process::id())), "{error}");
        assert!(error.contains(&format!("port {} of gateway", ports.gateway)), "{error}");
    }

    #[test]
    fn the_default_ports_are_fixed() {
        let ports = Ports::fixed(0);
        assert_eq!((ports.https, ports.gateway, ports.postgres), (8443, 8000, 8432));
        assert_eq!(ports.instance(PoolName::Stateful, 3).expect("a port"), 8203);
        assert_eq!(
            (ports.redis_node(6), ports.redis_bus(1), ports.sentinel(3)),
            (8386, 8394, 8393)
        );
        assert_eq!(Exporter::ALL.map(|exporter| ports.exporter(exporter)), [8091, 8092, 8093]);
        assert!(
            ports.instance(PoolName::Stateful, 100).is_err()
                && ports.instance(PoolName::Stateful, 0).is_err()
        );
        assert_eq!(Ports::fixed(10_000).instance(PoolName::Stateless, 1).expect("a port"), 18_101);
    }
}
