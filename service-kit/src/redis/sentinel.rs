//! The master as Sentinels name it.
//!
//! The client's own Sentinel support asks once and then stays where it was told. Here a connection that met a failure, or a
//! Sentinel that announces another master, is a reason to doubt: every connection from before is left at once, and a new one
//! asks who the master is and has the server itself confirm it.

use std::sync::{Arc, Mutex, Once, PoisonError, Weak};
use std::time::Duration;

use futures_util::future::{FutureExt as _, select_ok};
use redis::aio::ConnectionLike;
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, ErrorKind, PushInfo, PushKind, RedisError,
    RedisResult, Value,
};
use tokio::sync::mpsc;

use super::connection::TopologyInvalidations;

/// What a Sentinel tells when the master is another one.
const SWITCHED: &str = "+switch-master";
/// Pause before a Sentinel that was lost is listened to again; also how long a listener may outlive its pool.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// One master under the eyes of several Sentinels.
pub(super) struct Sentinel {
    pub(super) invalidations: TopologyInvalidations,
    master_name: String,
    sentinels: Vec<Client>,
    /// How the master is logged in to; its address is another one each time.
    server: ConnectionInfo,
    options: AsyncConnectionConfig,
    // Who the master was when there was this much to doubt. Locked for each new connection, never for a command.
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
        let (invalidations, known, listening) = (TopologyInvalidations::default(), Mutex::default(), Once::new());
        Arc::new(Self { invalidations, master_name, sentinels, server, options, known, listening })
    }

    /// The server that the first Sentinel to answer calls the master.
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
        let client = self.ask_all().await?;
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = Some((invalidations, client.clone()));
        Ok(client)
    }

    /// The same, without a memory.
    pub(super) async fn ask_all(&self) -> RedisResult<Client> {
        let questions = self.sentinels.iter().map(|sentinel| self.ask(sentinel).boxed());
        Ok(select_ok(questions).await?.0)
    }

    async fn ask(&self, sentinel: &Client) -> RedisResult<Client> {
        let mut connection = sentinel.get_multiplexed_async_connection_with_config(&self.options).await?;
        let mut question = redis::cmd("SENTINEL");
        question.arg("GET-MASTER-ADDR-BY-NAME").arg(&self.master_name);
        let (host, port) = question
            .query_async::<Option<(String, u16)>>(&mut connection)
            .await?
            .ok_or_else(|| RedisError::from((ErrorKind::MasterNameNotFoundBySentinel, "no such master")))?;
        Client::open(self.server.clone().set_addr(ConnectionAddr::Tcp(host, port)))
    }
}

/// Has a server confirm that it is a master.
///
/// # Errors
/// When it is none, or does not answer.
pub(super) async fn require_master(connection: &mut impl ConnectionLike) -> RedisResult<()> {
    let role: Vec<Value> = redis::cmd("ROLE").query_async(connection).await?;
    match role.first() {
        Some(Value::BulkString(role)) if role == b"master" => Ok(()),
        _ => Err(RedisError::from((ErrorKind::Client, "the server is not the master"))),
    }
}

/// Raises invalidations whenever this Sentinel announces another master, for as long as the pool is there.
async fn listen(pool: Weak<Sentinel>, sentinel: Client) {
    while let Some(shared) = pool.upgrade() {
        let (sender, mut pushes) = mpsc::unbounded_channel::<PushInfo>();
        let options = shared.options.clone().set_push_sender(sender);
        let connected = async {
            let mut connection = sentinel.get_multiplexed_async_connection_with_config(&options).await?;
            connection.subscribe(SWITCHED).await?;
            RedisResult::Ok(connection)
        };
        let connected = connected.await;
        if connected.is_ok() {
            // What it announced before it was listened to has been missed.
            shared.invalidations.raise();
        }
        let name = shared.master_name.clone();
        drop(shared);
        while connected.is_ok() {
            match tokio::time::timeout(RETRY_AFTER, pushes.recv()).await {
                Ok(Some(push)) if announces(&push, &name) => {
                    let Some(shared) = pool.upgrade() else { return };
                    shared.invalidations.raise();
                }
                Ok(Some(push)) if push.kind == PushKind::Disconnection => break,
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(_) if pool.strong_count() == 0 => return,
                Err(_) => {}
            }
        }
        tokio::time::sleep(RETRY_AFTER).await;
    }
}

/// Whether this says that the master of this name is another one.
fn announces(push: &PushInfo, name: &str) -> bool {
    match push.data.as_slice() {
        [Value::BulkString(_), Value::BulkString(text)] if push.kind == PushKind::Message => {
            text.split(|byte| *byte == b' ').next() == Some(name.as_bytes())
        }
        _ => false,
    }
}
