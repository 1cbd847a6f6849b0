//! The pool of connections to one server, and its timeouts.

use std::time::Duration;

use deadpool::managed::{self, Object};
use deadpool_redis::{BuildError, PoolError, Runtime};
use redis::AsyncConnectionConfig;

use super::connection::Manager;

/// Connections of one instance to one server.
pub const MAX_CONNECTIONS: usize = 64;

/// A [`Connection`](super::Connection) from the pool; dropping it returns it.
pub type Pooled = Object<Manager>;
/// Why the pool gave no connection.
pub type NoConnection = PoolError;
pub(super) type NodePool = managed::Pool<Manager>;

/// Timeouts of Redis calls. After a response timeout, the outcome of a write is unknown.
#[derive(Clone, Copy, Debug)]
pub struct RedisTimeouts {
    /// To open a connection.
    pub connect: Duration,
    /// To get a free connection from the pool.
    pub wait: Duration,
    /// From a command to its response.
    pub response: Duration,
}

impl RedisTimeouts {
    /// For a store that requests depend on.
    pub const STORE: Self = Self {
        connect: Duration::from_millis(500),
        wait: Duration::from_secs(1),
        response: Duration::from_secs(1),
    };
    /// For a cache, which is skipped when it would be slower than the source.
    pub const CACHE: Self = Self {
        connect: Duration::from_millis(100),
        wait: Duration::from_millis(50),
        response: Duration::from_millis(100),
    };

    pub(super) fn connection_config(self) -> AsyncConnectionConfig {
        AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.connect))
            .set_response_timeout(Some(self.response))
    }
}

pub(super) fn node_pool(manager: Manager, timeouts: RedisTimeouts) -> Result<NodePool, BuildError> {
    NodePool::builder(manager)
        .max_size(MAX_CONNECTIONS)
        .wait_timeout(Some(timeouts.wait))
        .create_timeout(Some(timeouts.connect))
        .recycle_timeout(Some(timeouts.response))
        .runtime(Runtime::Tokio1)
        .build()
}
