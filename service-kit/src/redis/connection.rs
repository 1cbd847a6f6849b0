//! One connection, and the manager that makes connections and decides whether a used one is fit to be used again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use deadpool::managed::{self, RecycleError, RecycleResult};
use deadpool_redis::Metrics;
use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::{
    AsyncConnectionConfig, Client, Cmd, ErrorKind, Pipeline, PushInfo, PushKind, RedisError, RedisFuture, RedisResult,
    ServerErrorKind, Value,
};

use super::Acks;
use super::sentinel::Sentinel;
use crate::telemetry::traces::spans::Call;

/// After this pause a connection is asked whether it still answers before it is used.
const TRUSTED_FOR: Duration = Duration::from_secs(5);

/// Makes connections and decides whether a used one is fit to be used again.
pub struct Manager {
    source: Source,
    options: AsyncConnectionConfig,
    /// Raised by [`outdate`](Self::outdate); a connection of an earlier generation is not used again.
    generation: AtomicU64,
}

/// Where a pool's connections lead to.
pub(super) enum Source {
    /// To one server.
    Server(Client),
    /// To one server of a cluster, of which the connections report whether it may have changed.
    Node(Client, TopologyInvalidations),
    /// To whichever server is the master now.
    Master(Arc<Sentinel>),
}

/// Counts the reasons to doubt that a server is still the right one.
#[derive(Clone, Debug, Default)]
pub(super) struct TopologyInvalidations(Arc<AtomicU64>);

impl TopologyInvalidations {
    pub(super) fn count(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }

    pub(super) fn raise(&self) {
        self.0.fetch_add(1, Ordering::AcqRel);
    }

    /// Raises them unless somebody has since they were counted: a hundred connections that fail at once are one reason.
    pub(super) fn raise_since(&self, count: u64) {
        let _others_did = self.0.compare_exchange(count, count + 1, Ordering::AcqRel, Ordering::Acquire);
    }
}

impl Manager {
    pub(super) fn new(source: Source, options: AsyncConnectionConfig) -> Self {
        Self { source, options, generation: AtomicU64::new(0) }
    }

    /// No connection that there is now is used again, once it is back in its pool.
    pub(super) fn outdate(&self) {
        self.generation.fetch_add(1, Ordering::AcqRel);
    }

    async fn connect(
        &self,
        client: &Client,
        invalidations: Option<(TopologyInvalidations, u64)>,
    ) -> RedisResult<Connection> {
        let closed = Arc::new(AtomicBool::new(false));
        // The client reports by RESP3's push messages, and by no other way, that the other side has closed.
        let options = self.options.clone().set_push_sender({
            let driver = Driver(Arc::clone(&closed));
            move |push: PushInfo| {
                driver.note(&push);
                Ok::<_, std::convert::Infallible>(())
            }
        });
        let generation = self.generation.load(Ordering::Acquire);
        let inner = client.get_multiplexed_async_connection_with_config(&options).await?;
        Ok(Connection { inner, closed, generation, state: State::Idle, invalidations, is_asking: false, acks: None })
    }
}

impl managed::Manager for Manager {
    type Type = Connection;
    type Error = RedisError;

    async fn create(&self) -> RedisResult<Connection> {
        match &self.source {
            Source::Server(client) => self.connect(client, None).await,
            Source::Node(client, invalidations) => {
                let connected = self.connect(client, Some((invalidations.clone(), invalidations.count()))).await;
                connected.inspect_err(|_| invalidations.raise())
            }
            Source::Master(sentinel) => {
                let since = sentinel.invalidations.count();
                let connected = async {
                    let client = sentinel.master().await?;
                    let mut connection = self.connect(&client, Some((sentinel.invalidations.clone(), since))).await?;
                    super::sentinel::require_master(&mut connection.inner).await?;
                    Ok(connection)
                };
                connected.await.inspect_err(|_| sentinel.invalidations.raise_since(since))
            }
        }
    }

    async fn recycle(&self, connection: &mut Connection, metrics: &Metrics) -> RecycleResult<RedisError> {
        connection.is_asking = false;
        connection.acks = None;
        if let Source::Node(_, invalidations) = &self.source {
            connection.invalidations = Some((invalidations.clone(), invalidations.count()));
        }
        if connection.closed.load(Ordering::Acquire) {
            return Err(RecycleError::message("it is closed"));
        }
        if connection.generation != self.generation.load(Ordering::Acquire) {
            return Err(RecycleError::message("the runtime that it was made in ends"));
        }
        if connection.state != State::Idle {
            return Err(RecycleError::message("the last command on it failed or was given up"));
        }
        match &self.source {
            Source::Master(_) if connection.is_doubted() => {
                return Err(RecycleError::message("its server may not be the master any more"));
            }
            Source::Master(_) if metrics.last_used() >= TRUSTED_FOR => {
                super::sentinel::require_master(&mut connection.inner).await?;
            }
            Source::Server(_) | Source::Node(..) if metrics.last_used() >= TRUSTED_FOR => {
                redis::cmd("PING").exec_async(&mut connection.inner).await?;
            }
            _ => {}
        }
        Ok(())
    }
}

/// The task that reads and writes a connection owns this, by way of the receiver of push messages. The task ends with
/// the runtime that the connection was made in, which is one of an HTTP worker's, and the client reports nothing then.
struct Driver(Arc<AtomicBool>);

impl Driver {
    fn note(&self, push: &PushInfo) {
        self.0.fetch_or(push.kind == PushKind::Disconnection, Ordering::AcqRel);
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// One connection, with its last command's fate.
pub struct Connection {
    inner: MultiplexedConnection,
    closed: Arc<AtomicBool>,
    generation: u64,
    state: State,
    /// Who is told that the server may not be the right one any more, and what there was to doubt when it was connected to.
    invalidations: Option<(TopologyInvalidations, u64)>,
    /// The other side is only about to own the key: it serves it to those who say that they know.
    is_asking: bool,
    acks: Option<Acked>,
}

/// For whom a command waits, and what came of it.
struct Acked {
    wait: Cmd,
    wanted: u64,
    got: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// The last command was answered, if only by an error of Redis' own.
    Idle,
    /// A command is under way; a connection that comes back so was given up by its caller.
    Busy,
    /// The connection or its protocol failed, an answer did not come in time, or the server is no master.
    Broken,
}

impl Connection {
    /// Has each command wait until replicas have what this connection wrote, in the command's own round trip. It ends when
    /// the connection returns to its pool.
    pub fn await_acks(&mut self, acks: Acks) {
        let mut wait = redis::cmd("WAIT");
        wait.arg(acks.replicas).arg(u64::try_from(acks.timeout.as_millis()).unwrap_or(u64::MAX));
        self.acks = Some(Acked { wait, wanted: acks.replicas.into(), got: 0 });
    }

    /// Whether as many replicas as were wanted have what the last command wrote; true when none were.
    pub fn is_acked(&self) -> bool {
        self.acks.as_ref().is_none_or(|acks| acks.got >= acks.wanted)
    }

    pub(super) fn ask(&mut self) {
        self.is_asking = true;
    }

    fn is_doubted(&self) -> bool {
        self.invalidations.as_ref().is_some_and(|(invalidations, since)| invalidations.count() != *since)
    }

    fn note<T>(&mut self, result: &RedisResult<T>) {
        let error = match result {
            Ok(_) => return self.state = State::Idle,
            Err(error) => error,
        };
        let is_other_server = matches!(
            error.kind(),
            ErrorKind::Server(ServerErrorKind::ReadOnly | ServerErrorKind::MasterDown | ServerErrorKind::ClusterDown)
        );
        let is_broken = error.is_io_error() || error.is_unrecoverable_error() || is_other_server;
        self.state = if is_broken { State::Broken } else { State::Idle };
        let has_moved = error.kind() == ErrorKind::Server(ServerErrorKind::Moved);
        if let Some((invalidations, since)) = self.invalidations.as_ref().filter(|_| is_broken || has_moved) {
            invalidations.raise_since(*since);
        }
    }

    /// Sends a command between those that go with it, in one round trip.
    async fn send_framed(&mut self, cmd: &Cmd) -> RedisResult<Value> {
        let mut pipe = redis::pipe();
        if self.is_asking {
            pipe.cmd("ASKING");
        }
        pipe.add_command(cmd.clone());
        if let Some(acks) = &self.acks {
            pipe.add_command(acks.wait.clone());
        }
        let count = pipe.len();
        let mut answers = self.inner.send_packed_commands(&pipe, 0, count).await?.into_iter();
        if self.is_asking {
            answers.next();
        }
        let answer = answers.next().unwrap_or(Value::Nil);
        if let (Some(acks), Some(Value::Int(got))) = (&mut self.acks, answers.next()) {
            acks.got = u64::try_from(got).unwrap_or(0);
        }
        answer.extract_error()
    }
}

impl ConnectionLike for Connection {
    fn req_packed_command<'a>(&'a mut self, cmd: &'a Cmd) -> RedisFuture<'a, Value> {
        Box::pin(async move {
            self.state = State::Busy;
            let call = Call::to_redis(cmd);
            let result = if self.is_asking || self.acks.is_some() {
                self.send_framed(cmd).await
            } else {
                self.inner.send_packed_command(cmd).await
            };
            call.redis_ended(&result);
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
            let call = Call::to_redis_at_once(pipeline.len());
            let result = self.inner.send_packed_commands(pipeline, offset, count).await;
            call.redis_ended(&result);
            self.note(&result);
            result
        })
    }

    fn get_db(&self) -> i64 {
        self.inner.get_db()
    }
}
