//! The masters of a cluster: which slots each owns, and a pool of connections to each.
//!
//! The client's own cluster connection retries a command whose connection was lost. A write without
//! a response may have been executed, and a retry would execute it twice. So here a command is sent
//! again only after `MOVED` or `ASK`: the server did not execute it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use deadpool::Status;
use deadpool::managed::Object;
use redis::{
    Client, ConnectionAddr, ConnectionInfo, ErrorKind, RedisError, RedisResult, ServerErrorKind,
    Value,
};

use super::address;
use super::connection::{Manager, Source};
use super::node_pool::{NoConnection, NodePool, RedisTimeouts, node_pool};
use super::topology::TopologyInvalidations;

/// Minimum age of the slot map before it is read again, however many invalidations there were.
const MIN_REFRESH_INTERVAL: Duration = Duration::from_millis(50);

/// A server's host and port.
type Address = (String, u16);

/// The masters of a cluster.
pub(super) struct Cluster {
    /// The configured servers, and the credentials for all.
    seeds: Vec<ConnectionInfo>,
    timeouts: RedisTimeouts,
    invalidations: TopologyInvalidations,
    owners: ArcSwap<SlotMap>,
    // One caller reads the slot map; the others wait and use its result.
    refreshing: tokio::sync::Mutex<()>,
    // Locked to clone a pool, never across an await.
    nodes: Mutex<HashMap<Address, NodePool>>,
}

/// Which master owns which slots.
struct SlotMap {
    ranges: Vec<(u16, u16, Address)>,
    /// The invalidation count when it was read.
    invalidations: u64,
    /// `None`: never.
    read_at: Option<Instant>,
}

impl Cluster {
    pub(super) fn new(seeds: Vec<ConnectionInfo>, timeouts: RedisTimeouts) -> Self {
        let owners = SlotMap { ranges: Vec::new(), invalidations: 0, read_at: None };
        Self {
            seeds,
            timeouts,
            invalidations: TopologyInvalidations::default(),
            owners: ArcSwap::from_pointee(owners),
            refreshing: tokio::sync::Mutex::default(),
            nodes: Mutex::default(),
        }
    }

    /// A connection to the owner of a slot.
    pub(super) async fn owner(&self, slot: u16) -> Result<Object<Manager>, NoConnection> {
        let address = self.address_of(slot).await?;
        self.node(&address)?.get().await
    }

    /// A connection to any master that can be connected to.
    pub(super) async fn any(&self) -> Result<Object<Manager>, NoConnection> {
        let owners = self.owners().await?;
        let mut failed = no_owner().into();
        for (.., address) in &owners.ranges {
            match self.node(address)?.get().await {
                Ok(connection) => return Ok(connection),
                Err(error) => failed = error,
            }
        }
        Err(failed)
    }

    /// A connection to the server that a `MOVED` or `ASK` error names; `None` for other errors.
    pub(super) async fn redirected(
        &self,
        error: &RedisError,
    ) -> Option<Result<Object<Manager>, NoConnection>> {
        let (address, _) = error.redirect_node()?;
        let (host, port) = address.rsplit_once(':')?;
        let address = (host.to_owned(), port.parse().ok()?);
        let connected = async {
            let mut connection = self.node(&address)?.get().await?;
            if error.kind() == ErrorKind::Server(ServerErrorKind::Ask) {
                connection.send_asking();
            }
            Ok(connection)
        };
        Some(connected.await)
    }

    /// The address of a slot's owner, for a connection outside the pools.
    pub(super) async fn server_of(&self, slot: u16) -> RedisResult<ConnectionInfo> {
        let address = self.address_of(slot).await?;
        Ok(self.server_at(address))
    }

    /// The sum over all pools.
    pub(super) fn status(&self) -> Status {
        let nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        let none = Status { max_size: 0, size: 0, available: 0, waiting: 0 };
        nodes.values().map(NodePool::status).fold(none, |all, one| Status {
            max_size: all.max_size + one.max_size,
            size: all.size + one.size,
            available: all.available + one.available,
            waiting: all.waiting + one.waiting,
        })
    }

    /// See [`Manager::outdate`].
    pub(super) fn outdate_connections(&self) {
        let nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        nodes.values().for_each(|pool| pool.manager().outdate());
    }

    /// The address of any master, for a connection outside the pools. After a failure it is another
    /// one.
    pub(super) async fn any_server(&self) -> RedisResult<ConnectionInfo> {
        let owners = self.owners().await?;
        let turn = usize::try_from(self.invalidations.count()).unwrap_or_default();
        let (.., address) =
            owners.ranges.get(turn % owners.ranges.len().max(1)).ok_or_else(no_owner)?;
        Ok(self.server_at(address.clone()))
    }

    async fn address_of(&self, slot: u16) -> RedisResult<Address> {
        let owners = self.owners().await?;
        let owner = owners.ranges.iter().find(|(first, last, _)| (*first..=*last).contains(&slot));
        owner.map(|(.., address)| address.clone()).ok_or_else(no_owner)
    }

    fn server_at(&self, (host, port): Address) -> ConnectionInfo {
        address::moved(&self.seeds[0], host, port)
    }

    fn node(&self, address: &Address) -> RedisResult<NodePool> {
        let mut nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pool) = nodes.get(address) {
            return Ok(pool.clone());
        }
        let client = Client::open(self.server_at(address.clone()))?;
        let manager = Manager::new(
            Source::Node(client, self.invalidations.clone()),
            self.timeouts.connection_config(),
        );
        let unusable = |_| RedisError::from((ErrorKind::Client, "the pool cannot be built"));
        let pool = node_pool(manager, self.timeouts).map_err(unusable)?;
        nodes.insert(address.clone(), pool.clone());
        Ok(pool)
    }

    /// The slot map, read again after an invalidation.
    async fn owners(&self) -> RedisResult<Arc<SlotMap>> {
        if let Some(known) = self.known() {
            return Ok(known);
        }
        let _turn = self.refreshing.lock().await;
        if let Some(known) = self.known() {
            return Ok(known);
        }
        let invalidations = self.invalidations.count();
        let known = self.owners.load_full();
        let masters = known.ranges.iter().map(|(.., address)| self.server_at(address.clone()));
        let mut servers: Vec<_> = masters.chain(self.seeds.iter().cloned()).collect();
        // A partitioned server may still respond with an old map, so each refresh starts at another
        // server.
        let first = usize::try_from(invalidations).unwrap_or_default() % servers.len();
        servers.rotate_left(first);
        let mut failed = no_owner();
        for server in servers {
            match self.read_slots(server).await {
                Ok(ranges) => {
                    let owners =
                        Arc::new(SlotMap { ranges, invalidations, read_at: Some(Instant::now()) });
                    self.owners.store(Arc::clone(&owners));
                    return Ok(owners);
                }
                Err(error) => failed = error,
            }
        }
        Err(failed)
    }

    fn known(&self) -> Option<Arc<SlotMap>> {
        let known = self.owners.load();
        let is_fresh =
            known.read_at.is_some_and(|read_at| read_at.elapsed() < MIN_REFRESH_INTERVAL);
        let is_valid = known.read_at.is_some() && known.invalidations == self.invalidations.count();
        (is_fresh || is_valid).then(|| Arc::clone(&known))
    }

    async fn read_slots(&self, server: ConnectionInfo) -> RedisResult<Vec<(u16, u16, Address)>> {
        let responder = server.addr().clone();
        let client = Client::open(server)?;
        let mut connection = client
            .get_multiplexed_async_connection_with_config(&self.timeouts.connection_config())
            .await?;
        let slots: Vec<Vec<Value>> =
            redis::cmd("CLUSTER").arg("SLOTS").query_async(&mut connection).await?;
        let ranges: Vec<_> = slots
            .into_iter()
            .map(|range| range_of(range, &responder))
            .collect::<RedisResult<_>>()?;
        if ranges.is_empty() { Err(no_owner()) } else { Ok(ranges) }
    }
}

/// Parses `first, last, master, replicas…`. The master is `host, port, …`; an empty host means the
/// responding server.
fn range_of(range: Vec<Value>, responder: &ConnectionAddr) -> RedisResult<(u16, u16, Address)> {
    let mut range = range.into_iter();
    let mut next = || range.next().unwrap_or(Value::Nil);
    let (first, last) = (redis::from_redis_value(next())?, redis::from_redis_value(next())?);
    let mut master = redis::from_redis_value::<Vec<Value>>(next())?.into_iter();
    let mut next = || master.next().unwrap_or(Value::Nil);
    let (host, port): (Option<String>, u16) =
        (redis::from_redis_value(next())?, redis::from_redis_value(next())?);
    let host = match host.filter(|host| !host.is_empty()) {
        Some(host) => host,
        None => address::host(responder).ok_or_else(no_owner)?.to_owned(),
    };
    Ok((first, last, (host, port)))
}

fn no_owner() -> RedisError {
    RedisError::from((ErrorKind::ClusterConnectionNotFound, "no master owns the key's slot"))
}
