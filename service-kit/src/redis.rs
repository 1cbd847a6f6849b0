//! A pool of Redis connections that starts empty: a service starts while its Redis is away.
//!
//! deadpool-redis' own manager asks Redis `PING` before each use, which doubles the round trips of every call. Ours asks only
//! after a pause, and replaces a connection as soon as an error has come over it or Redis has closed it: after a restart of
//! Redis, no call meets a connection of the one that died.
//!
//! Redis is one server, one master under the eyes of Sentinels, or a cluster: see [`RedisTarget`]. Who names the key of what
//! it sends ([`RedisPool::owner_of`], [`RedisPool::redirected`]) works on all three.

use std::sync::Arc;
use std::time::Duration;

use deadpool::Status;
pub use deadpool::managed::TimeoutType;
use deadpool::managed::{self, Object};
use deadpool_redis::{BuildError, PoolError, Runtime};
use redis::{AsyncConnectionConfig, RedisError};

use crate::health::Fault;

mod cluster;
mod connection;
mod sentinel;
mod slot;
mod target;

use cluster::Cluster;
pub use connection::{Connection, Manager};
pub use target::{InvalidTarget, RedisTarget};

/// Connections of one instance to one server.
pub const MAX_CONNECTIONS: usize = 64;

/// A [`Connection`] out of the pool, to which it returns by itself.
pub type Pooled = Object<Manager>;
/// Why there was no connection to be had.
pub type NoConnection = PoolError;
type NodePool = managed::Pool<Manager>;

/// A pool of [`Connection`]s; cheap to clone.
#[derive(Clone)]
pub struct RedisPool(Arc<Servers>);

enum Servers {
    /// One server, or whichever is the master.
    One(NodePool),
    Cluster(Cluster),
}

impl RedisPool {
    /// A connection to a master; of a cluster, to any.
    ///
    /// # Errors
    /// When none can be connected to, or all connections stay in use for too long.
    pub async fn get(&self) -> Result<Pooled, NoConnection> {
        match &*self.0 {
            Servers::One(pool) => pool.get().await,
            Servers::Cluster(cluster) => cluster.any().await,
        }
    }

    /// A connection to the master that owns a key.
    ///
    /// # Errors
    /// See [`RedisPool::get`].
    pub async fn owner_of(&self, key: &str) -> Result<Pooled, NoConnection> {
        match &*self.0 {
            Servers::One(pool) => pool.get().await,
            Servers::Cluster(cluster) => cluster.owner(slot::of(key)).await,
        }
    }

    /// A connection to the server at which an error says that the key is. `None` when the error says no such thing; when it
    /// does, the command has not been done and may be sent again there.
    pub async fn redirected(&self, error: &RedisError) -> Option<Result<Pooled, NoConnection>> {
        match &*self.0 {
            Servers::One(_) => None,
            Servers::Cluster(cluster) => cluster.redirected(error).await,
        }
    }

    /// How many connections there are, and who waits for one; of a cluster, to all of its masters together.
    pub fn status(&self) -> Status {
        match &*self.0 {
            Servers::One(pool) => pool.status(),
            Servers::Cluster(cluster) => cluster.status(),
        }
    }

    /// From now on, commands use connections that are made after this, in the runtime of whoever sends them. A connection
    /// ends with the runtime that it was made in, so this is for what is done after the HTTP workers have ended.
    pub fn outdate_connections(&self) {
        match &*self.0 {
            Servers::One(pool) => pool.manager().outdate(),
            Servers::Cluster(cluster) => cluster.outdate_connections(),
        }
    }

    /// Splits keys so that one pipeline can name all of a part: by their slots on a cluster, else not at all.
    pub fn by_slot<T: Copy>(&self, items: &[T], key: impl Fn(T) -> String) -> Vec<Vec<T>> {
        match &*self.0 {
            Servers::One(_) => vec![items.to_vec()],
            Servers::Cluster(_) => {
                let mut by_slot = std::collections::BTreeMap::<u16, Vec<T>>::new();
                for item in items {
                    by_slot.entry(slot::of(&key(*item))).or_default().push(*item);
                }
                by_slot.into_values().collect()
            }
        }
    }
}

/// How many replicas must have a write before it counts, and for how long they are waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acks {
    /// How many.
    pub replicas: u16,
    /// For how long. It must be shorter than [`RedisTimeouts::response`].
    pub timeout: Duration,
}

/// How long to wait for Redis. Past it, the outcome of a write is unknown.
#[derive(Clone, Copy, Debug)]
pub struct RedisTimeouts {
    /// For a new connection.
    pub connect: Duration,
    /// For a free connection of the pool.
    pub wait: Duration,
    /// For the answer to a command.
    pub response: Duration,
}

impl RedisTimeouts {
    /// For a store that calls depend on.
    pub const STORE: Self =
        Self { connect: Duration::from_millis(500), wait: Duration::from_secs(1), response: Duration::from_secs(1) };
    /// For a cache, which is skipped when it would take longer than asking the source.
    pub const CACHE: Self = Self {
        connect: Duration::from_millis(100),
        wait: Duration::from_millis(50),
        response: Duration::from_millis(100),
    };
}

/// The pool cannot be made from its settings.
#[derive(Debug, thiserror::Error)]
pub enum PoolUnusable {
    /// The client refuses the URL.
    #[error("the Redis URL cannot be used")]
    Url(#[from] RedisError),
    /// The pool refuses its time-outs.
    #[error("the Redis pool cannot be built")]
    Pool(#[from] BuildError),
}

fn node_pool(manager: Manager, timeouts: RedisTimeouts) -> Result<NodePool, BuildError> {
    NodePool::builder(manager)
        .max_size(MAX_CONNECTIONS)
        .wait_timeout(Some(timeouts.wait))
        .create_timeout(Some(timeouts.connect))
        .recycle_timeout(Some(timeouts.response))
        .runtime(Runtime::Tokio1)
        .build()
}

fn options(timeouts: RedisTimeouts) -> AsyncConnectionConfig {
    AsyncConnectionConfig::new()
        .set_connection_timeout(Some(timeouts.connect))
        .set_response_timeout(Some(timeouts.response))
}

/// A readiness probe.
///
/// # Errors
/// In words without a secret.
pub async fn probe(pool: RedisPool) -> Result<(), Fault> {
    let mut connection = pool.get().await.map_err(|error| match error {
        PoolError::Timeout(_) => Fault::from("no connection in time"),
        _ => "cannot be connected to".into(),
    })?;
    redis::cmd("PING").exec_async(&mut *connection).await.map_err(|_| "does not answer".into())
}
