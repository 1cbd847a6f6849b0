//! A pool of Redis connections that starts empty: a service starts while its Redis is away.
//!
//! deadpool-redis' own manager asks Redis `PING` before each use, which doubles the round trips of every call. Ours asks only
//! after a pause, and replaces a connection as soon as an error has come over it or Redis has closed it: after a restart of
//! Redis, no call meets a connection of the one that died.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use deadpool::managed::{self, Object, RecycleError, RecycleResult};
use deadpool_redis::{BuildError, Metrics, PoolError, Runtime};
use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionInfo, IntoConnectionInfo as _, Pipeline, ProtocolVersion, PushInfo,
    PushKind, RedisError, RedisFuture, RedisResult, Value,
};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::mpsc;

use crate::health::Fault;

/// Connections of one instance.
pub const MAX_CONNECTIONS: usize = 64;
/// After this pause a connection is asked whether it still answers before it is used.
const TRUSTED_FOR: Duration = Duration::from_secs(5);

/// A pool of [`Connection`]s; cheap to clone.
pub type RedisPool = managed::Pool<Manager>;
/// A [`Connection`] out of the pool, to which it returns by itself.
pub type Pooled = Object<Manager>;
/// Why there was no connection to be had.
pub type NoConnection = PoolError;

/// How long to wait for Redis. Past it, the outcome of a write is unknown.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// For a new connection.
    pub connect: Duration,
    /// For a free connection of the pool.
    pub wait: Duration,
    /// For the answer to a command.
    pub response: Duration,
}

impl Patience {
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

/// Where Redis is, checked and ready to connect to.
#[derive(Clone)]
pub struct RedisTarget(ConnectionInfo);

impl RedisTarget {
    /// Reads a URL, such as `redis://user:password@host:6379/0`.
    ///
    /// # Errors
    /// When it is none. The error may quote the text, so it must not be shown.
    pub fn parse(url: &SecretString) -> RedisResult<Self> {
        url.expose_secret().into_connection_info().map(Self)
    }

    /// The pool. Nothing is connected until something is asked for.
    ///
    /// # Errors
    /// When the URL asks for something that this build of the client lacks, such as TLS.
    pub fn pool(&self, patience: Patience) -> Result<RedisPool, PoolUnusable> {
        let manager = Manager { client: self.client()?, options: options(patience) };
        let pool = RedisPool::builder(manager)
            .max_size(MAX_CONNECTIONS)
            .wait_timeout(Some(patience.wait))
            .create_timeout(Some(patience.connect))
            .recycle_timeout(Some(patience.response))
            .runtime(Runtime::Tokio1)
            .build()?;
        Ok(pool)
    }

    /// A connection beside the pool, and what Redis sends over it unasked: messages of channels that it subscribes to, and
    /// last that it was closed.
    ///
    /// # Errors
    /// When Redis cannot be connected to, or the URL asks for something that this build of the client lacks.
    pub async fn channel(
        &self,
        patience: Patience,
    ) -> RedisResult<(MultiplexedConnection, mpsc::UnboundedReceiver<PushInfo>)> {
        // Unbounded, as the client cannot wait. Who reads it must keep up, which is easy with short messages.
        let (sender, pushes) = mpsc::unbounded_channel();
        let options = options(patience).set_push_sender(sender);
        Ok((self.client()?.get_multiplexed_async_connection_with_config(&options).await?, pushes))
    }

    fn client(&self) -> RedisResult<Client> {
        let settings = self.0.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
        Client::open(self.0.clone().set_redis_settings(settings))
    }
}

fn options(patience: Patience) -> AsyncConnectionConfig {
    AsyncConnectionConfig::new()
        .set_connection_timeout(Some(patience.connect))
        .set_response_timeout(Some(patience.response))
}

impl std::fmt::Debug for RedisTarget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RedisTarget")
    }
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

/// Makes connections and decides whether a used one is fit to be used again.
pub struct Manager {
    client: Client,
    options: AsyncConnectionConfig,
}

impl managed::Manager for Manager {
    type Type = Connection;
    type Error = RedisError;

    async fn create(&self) -> RedisResult<Connection> {
        let closed = Arc::new(AtomicBool::new(false));
        // The client tells that the other side has closed by the way of RESP3's push messages, and by no other.
        let options = self.options.clone().set_push_sender({
            let closed = Arc::clone(&closed);
            move |push: PushInfo| {
                closed.fetch_or(push.kind == PushKind::Disconnection, Ordering::Relaxed);
                Ok::<_, std::convert::Infallible>(())
            }
        });
        let inner = self.client.get_multiplexed_async_connection_with_config(&options).await?;
        Ok(Connection { inner, closed, state: State::Idle })
    }

    async fn recycle(&self, connection: &mut Connection, metrics: &Metrics) -> RecycleResult<RedisError> {
        if connection.closed.load(Ordering::Relaxed) {
            return Err(RecycleError::message("the other side has closed it"));
        }
        if connection.state != State::Idle {
            return Err(RecycleError::message("the last command on it failed or was given up"));
        }
        if metrics.last_used() >= TRUSTED_FOR {
            redis::cmd("PING").exec_async(&mut connection.inner).await?;
        }
        Ok(())
    }
}

/// One connection, with its last command's fate.
pub struct Connection {
    inner: MultiplexedConnection,
    closed: Arc<AtomicBool>,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// The last command was answered, if only by an error of Redis' own.
    Idle,
    /// A command is under way; a connection that comes back so was given up by its caller.
    Busy,
    /// The connection or its protocol failed, or an answer did not come in time.
    Broken,
}

impl Connection {
    fn note<T>(&mut self, result: &RedisResult<T>) {
        self.state = match result {
            Err(error) if error.is_io_error() || error.is_unrecoverable_error() => State::Broken,
            _ => State::Idle,
        };
    }
}

impl ConnectionLike for Connection {
    fn req_packed_command<'a>(&'a mut self, cmd: &'a Cmd) -> RedisFuture<'a, Value> {
        Box::pin(async move {
            self.state = State::Busy;
            let result = self.inner.send_packed_command(cmd).await;
            self.note(&result);
            result
        })
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        Box::pin(async move {
            self.state = State::Busy;
            let result = self.inner.send_packed_commands(pipeline, offset, count).await;
            self.note(&result);
            result
        })
    }

    fn get_db(&self) -> i64 {
        self.inner.get_db()
    }
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
