//! Pools of Redis connections. A pool starts empty, so a service starts while Redis is unreachable.
//!
//! deadpool-redis' own manager sends `PING` before each use, which doubles the round trips. Ours
//! sends it only after a pause, and replaces a connection once an error occurred on it or Redis
//! closed it.
//!
//! Redis is one server, one master with Sentinels, or a cluster: see [`RedisTarget`]. Code that
//! names the key of each command ([`RedisPool::owner_of`], [`RedisPool::redirected`]) works on all
//! three.

use std::sync::Arc;

use deadpool::Status;
pub use deadpool::managed::TimeoutType;
use deadpool_redis::{BuildError, PoolError};
use redis::RedisError;

use crate::health::Fault;
use crate::tls;

mod address;
mod cluster;
mod connection;
mod node_pool;
mod sentinel;
mod slot;
mod target;
mod topology;

use cluster::Cluster;
pub use connection::{Acks, Connection, Manager};
use node_pool::NodePool;
pub use node_pool::{MAX_CONNECTIONS, NoConnection, Pooled, RedisTimeouts};
pub use target::{InvalidTarget, RedisTarget};

/// A pool of [`Connection`]s; cheap to clone.
#[derive(Clone)]
pub struct RedisPool(Arc<Servers>);

enum Servers {
    /// One server, or the current master.
    One(NodePool),
    Cluster(Cluster),
}

impl RedisPool {
    /// A connection to a master; on a cluster, to any.
    ///
    /// # Errors
    /// When no server can be reached, or no connection becomes free in time.
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

    /// After a `MOVED` or `ASK` error: a connection to the server that it names. The command was
    /// not executed and may be sent again there. `None` for other errors.
    pub async fn redirected(&self, error: &RedisError) -> Option<Result<Pooled, NoConnection>> {
        match &*self.0 {
            Servers::One(_) => None,
            Servers::Cluster(cluster) => cluster.redirected(error).await,
        }
    }

    /// Counts of connections and waiting callers; on a cluster, the sum over its masters.
    pub fn status(&self) -> Status {
        match &*self.0 {
            Servers::One(pool) => pool.status(),
            Servers::Cluster(cluster) => cluster.status(),
        }
    }

    /// Has later commands use connections that are opened after this call, in the caller's runtime.
    /// A connection ends with the runtime that it was opened in, so call this before commands that
    /// run after the HTTP workers have ended.
    pub fn outdate_connections(&self) {
        match &*self.0 {
            Servers::One(pool) => pool.manager().outdate(),
            Servers::Cluster(cluster) => cluster.outdate_connections(),
        }
    }

    /// Whether one script may use both keys: those of one slot on a cluster, else any.
    pub fn is_one_slot(&self, one: &str, other: &str) -> bool {
        match &*self.0 {
            Servers::One(_) => true,
            Servers::Cluster(_) => slot::of(one) == slot::of(other),
        }
    }

    /// Groups items so that the keys of each group fit one pipeline: by slot on a cluster, else one
    /// group.
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

/// The pool cannot be built from its settings.
#[derive(Debug, thiserror::Error)]
pub enum PoolUnusable {
    /// The client rejects the URL.
    #[error("the Redis URL cannot be used")]
    Url(#[from] RedisError),
    /// The pool rejects its timeouts.
    #[error("the Redis pool cannot be built")]
    Pool(#[from] BuildError),
}

/// A readiness probe.
///
/// # Errors
/// A description without secrets.
pub async fn probe(pool: RedisPool) -> Result<(), Fault> {
    let mut connection = pool.get().await.map_err(|error| match error {
        PoolError::Timeout(_) => Fault::from("no connection in time"),
        PoolError::Backend(error) => {
            tls::fault(&error).map_or_else(|| "cannot be connected to".into(), Fault::from)
        }
        _ => "cannot be connected to".into(),
    })?;
    redis::cmd("PING").exec_async(&mut *connection).await.map_err(|_| "does not respond".into())
}
