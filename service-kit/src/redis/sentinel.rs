//! Discovery of the master by Sentinels.
//!
//! The client's own Sentinel support looks the master up once. Here a failed connection, or a
//! Sentinel's announcement of another master, invalidates it: earlier connections are not reused. A
//! new connection looks the master up and checks the server's `ROLE`.

use std::sync::{Arc, Mutex, Once, PoisonError, Weak};
use std::time::Duration;

use futures_util::future::{FutureExt as _, select_ok};
use redis::aio::ConnectionLike;
use redis::{
    AsyncConnectionConfig, Client, ConnectionInfo, ErrorKind, PushInfo, PushKind, RedisError,
    RedisResult, Value,
};
use tokio::sync::mpsc;

use super::address;
use super::topology::TopologyInvalidations;

/// The channel on which a Sentinel announces another master.
const SWITCHED: &str = "+switch-master";
/// Pause before reconnecting to a Sentinel; also how long a listener may outlive its pool.
const RECONNECT_DELAY: Duration = Duration::from_secs(1);

/// One master, monitored by several Sentinels.
pub(super) struct Sentinel {
    pub(super) invalidations: TopologyInvalidations,
    master_name: String,
    sentinels: Vec<Client>,
    /// The master's credentials; its address comes from the Sentinels.
    server: ConnectionInfo,
    options: AsyncConnectionConfig,
    // The master, and the invalidation count when it was looked up. Locked for each new connection,
    // never for a command.
    known: Mutex<Option<(u64, Client)>>,
    listening: Once,
}

impl Sentinel {
    pub(super) fn new(
        sentinels: Vec<Client>,
        master_name: String,
        server: ConnectionInfo,
        options: AsyncConnectionConfig,
    ) -> Arc<Self> {
        let (invalidations, known, listening) =
            (TopologyInvalidations::default(), Mutex::default(), Once::new());
        Arc::new(Self { invalidations, master_name, sentinels, server, options, known, listening })
    }

    /// The master according to the first Sentinel that responds.
    pub(super) async fn master(self: &Arc<Self>) -> RedisResult<Client> {
        self.listening.call_once(|| {
            for sentinel in &self.sentinels {
                tokio::spawn(listen(Arc::downgrade(self), sentinel.clone()));
            }
        });
        let invalidations = self.invalidations.count();
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((_, client)) = known.filter(|(at, _)| *at == invalidations) {
            return Ok(client);
        }
        let client = self.look_up().await?;
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) =
            Some((invalidations, client.clone()));
        Ok(client)
    }

    /// The same, without the cache.
    pub(super) async fn look_up(&self) -> RedisResult<Client> {
        let lookups = self.sentinels.iter().map(|sentinel| self.look_up_at(sentinel).boxed());
        Ok(select_ok(lookups).await?.0)
    }

    async fn look_up_at(&self, sentinel: &Client) -> RedisResult<Client> {
        let mut connection =
            sentinel.get_multiplexed_async_connection_with_config(&self.options).await?;
        let mut command = redis::cmd("SENTINEL");
        command.arg("GET-MASTER-ADDR-BY-NAME").arg(&self.master_name);
        let (host, port) =
            command.query_async::<Option<(String, u16)>>(&mut connection).await?.ok_or_else(
                || RedisError::from((ErrorKind::MasterNameNotFoundBySentinel, "no such master")),
            )?;
        Client::open(address::moved(&self.server, host, port))
    }
}

/// Checks by `ROLE` that the server is a master.
///
/// # Errors
/// When it is not, or does not respond.
pub(super) async fn require_master(connection: &mut impl ConnectionLike) -> RedisResult<()> {
    let role: Vec<Value> = redis::cmd("ROLE").query_async(connection).await?;
    match role.first() {
        Some(Value::BulkString(role)) if role == b"master" => Ok(()),
        _ => Err(RedisError::from((ErrorKind::Client, "the server is not the master"))),
    }
}

/// Invalidates the master whenever this Sentinel announces another one, as long as the pool exists.
async fn listen(pool: Weak<Sentinel>, sentinel: Client) {
    while let Some(shared) = pool.upgrade() {
        let (sender, mut pushes) = mpsc::unbounded_channel::<PushInfo>();
        let options = shared.options.clone().set_push_sender(sender);
        let connected = async {
            let mut connection =
                sentinel.get_multiplexed_async_connection_with_config(&options).await?;
            connection.subscribe(SWITCHED).await?;
            RedisResult::Ok(connection)
        };
        let connected = connected.await;
        if connected.is_ok() {
            // Announcements before the subscription were missed.
            shared.invalidations.invalidate();
        }
        let name = shared.master_name.clone();
        drop(shared);
        while connected.is_ok() {
            match tokio::time::timeout(RECONNECT_DELAY, pushes.recv()).await {
                Ok(Some(push)) if announces(&push, &name) => {
                    let Some(shared) = pool.upgrade() else { return };
                    shared.invalidations.invalidate();
                }
                Ok(Some(push)) if push.kind == PushKind::Disconnection => break,
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(_) if pool.strong_count() == 0 => return,
                Err(_) => {}
            }
        }
        tokio::time::sleep(RECONNECT_DELAY).await;
    }
}

/// Whether the message announces another master of this name.
fn announces(push: &PushInfo, name: &str) -> bool {
    match push.data.as_slice() {
        [Value::BulkString(_), Value::BulkString(text)] if push.kind == PushKind::Message => {
            text.split(|byte| *byte == b' ').next() == Some(name.as_bytes())
        }
        _ => false,
    }
}
