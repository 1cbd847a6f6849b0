//! One connection, and the manager that opens connections and decides whether a returned one is
//! reused.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use deadpool::managed::{self, RecycleError, RecycleResult};
use deadpool_redis::Metrics;
use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::{
    AsyncConnectionConfig, Client, Cmd, ErrorKind, Pipeline, PushInfo, PushKind, RedisError,
    RedisFuture, RedisResult, ServerErrorKind, Value,
};

use super::sentinel::{Sentinel, require_master};
use super::topology::TopologyInvalidations;
use crate::telemetry::traces::spans::Call;

/// A connection that was idle for this long is checked before it is used.
const CHECK_AFTER_IDLE: Duration = Duration::from_secs(5);

/// Opens connections and decides whether a returned one is reused.
pub struct Manager {
    source: Source,
    options: AsyncConnectionConfig,
    /// Incremented by [`outdate`](Self::outdate); connections of earlier generations are not
    /// reused.
    generation: AtomicU64,
    idle_checks: IdleChecks,
}

/// What a pool's connections connect to.
pub(super) enum Source {
    /// One server.
    Server(Client),
    /// One server of a cluster; its connections invalidate the slot map.
    Node(Client, TopologyInvalidations),
    /// The current master.
    Master(Arc<Sentinel>),
}

impl Manager {
    pub(super) fn new(source: Source, options: AsyncConnectionConfig) -> Self {
        Self { source, options, generation: AtomicU64::new(0), idle_checks: IdleChecks::default() }
    }

    /// Has no present connection reused once it is back in its pool.
    pub(super) fn outdate(&self) {
        self.generation.fetch_add(1, Ordering::AcqRel);
    }

    async fn connect(
        &self,
        client: &Client,
        invalidations: Option<(TopologyInvalidations, u64)>,
    ) -> RedisResult<Connection> {
        let closed = Arc::new(AtomicBool::new(false));
        // The client reports that the server closed the connection only by RESP3 push messages.
        let options = self.options.clone().set_push_sender({
            let driver = Driver(Arc::clone(&closed));
            move |push: PushInfo| {
                driver.note(&push);
                Ok::<_, std::convert::Infallible>(())
            }
        });
        let generation = self.generation.load(Ordering::Acquire);
        let inner = client.get_multiplexed_async_connection_with_config(&options).await?;
        Ok(Connection {
            inner,
            closed,
            generation,
            state: State::Idle,
            invalidations,
            is_asking: false,
            acks: None,
        })
    }
}

impl managed::Manager for Manager {
    type Type = Connection;
    type Error = RedisError;

    async fn create(&self) -> RedisResult<Connection> {
        match &self.source {
            Source::Server(client) => self.connect(client, None).await,
            Source::Node(client, invalidations) => {
                let since = invalidations.count();
                let connected = self.connect(client, Some((invalidations.clone(), since))).await;
                connected.inspect_err(|_| invalidations.invalidate())
            }
            Source::Master(sentinel) => {
                let since = sentinel.invalidations.count();
                let connected = async {
                    let client = sentinel.master().await?;
                    let mut connection = self
                        .connect(&client, Some((sentinel.invalidations.clone(), since)))
                        .await?;
                    require_master(&mut connection.inner).await?;
                    Ok(connection)
                };
                connected.await.inspect_err(|_| sentinel.invalidations.invalidate_since(since))
            }
        }
    }

    async fn recycle(
        &self,
        connection: &mut Connection,
        metrics: &Metrics,
    ) -> RecycleResult<RedisError> {
        connection.is_asking = false;
        connection.acks = None;
        if let Source::Node(_, invalidations) = &self.source {
            connection.invalidations = Some((invalidations.clone(), invalidations.count()));
        }
        if connection.closed.load(Ordering::Acquire) {
            return Err(RecycleError::message("it is closed"));
        }
        if connection.generation != self.generation.load(Ordering::Acquire) {
            return Err(RecycleError::message("its runtime is ending"));
        }
        if connection.state != State::Idle {
            return Err(RecycleError::message("its last command failed or was cancelled"));
        }
        let is_of_master = matches!(self.source, Source::Master(_));
        if is_of_master && connection.is_stale() {
            return Err(RecycleError::message("its server may not be the master any more"));
        }
        let idle = metrics.last_used();
        if idle < CHECK_AFTER_IDLE {
            return Ok(());
        }
        if self.idle_checks.one_failed_since(idle) {
            return Err(RecycleError::message("another idle connection did not respond"));
        }
        let check = self.idle_checks.begin();
        if is_of_master {
            require_master(&mut connection.inner).await?;
        } else {
            redis::cmd("PING").exec_async(&mut connection.inner).await?;
        }
        check.passed();
        Ok(())
    }
}

/// The checks of idle connections. After one has failed, all that were idle then are discarded
/// unchecked: the pool tries its connections in turn, and a server that hangs would cost a request
/// one timeout for each of them.
#[derive(Default)]
struct IdleChecks {
    failed: Mutex<Option<Instant>>,
}

impl IdleChecks {
    /// Whether a check has failed within this time.
    fn one_failed_since(&self, idle: Duration) -> bool {
        let failed = *self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        failed.is_some_and(|at| at.elapsed() < idle)
    }

    fn begin(&self) -> Check<'_> {
        Check { checks: self, has_passed: false }
    }
}

/// A check that fails unless it [passes](Self::passed): the pool drops it when its time is up.
struct Check<'a> {
    checks: &'a IdleChecks,
    has_passed: bool,
}

impl Check<'_> {
    fn passed(mut self) {
        self.has_passed = true;
    }
}

impl Drop for Check<'_> {
    fn drop(&mut self) {
        if !self.has_passed {
            let mut failed = self.checks.failed.lock().unwrap_or_else(PoisonError::into_inner);
            *failed = Some(Instant::now());
        }
    }
}

/// Marks the connection closed when the task that drives it ends. The task owns this through the
/// push receiver and ends with its runtime, that of an HTTP worker; the client reports nothing
/// then.
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

/// One connection, and how its last command ended.
pub struct Connection {
    inner: MultiplexedConnection,
    closed: Arc<AtomicBool>,
    generation: u64,
    state: State,
    /// The invalidations of its topology, and their count when it was opened.
    invalidations: Option<(TopologyInvalidations, u64)>,
    /// Send `ASKING` first: the server is importing the key's slot.
    is_asking: bool,
    acks: Option<AckState>,
}

/// How many replicas must acknowledge a write, and how long to wait for them (`WAIT`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acks {
    /// 0 waits for none.
    pub replicas: u16,
    /// Must be shorter than [`RedisTimeouts::response`](super::RedisTimeouts::response).
    pub timeout: Duration,
}

struct AckState {
    wait: Cmd,
    required: u64,
    received: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// The last command got a response, if only an error from Redis.
    Idle,
    /// A command is in flight. A connection returned in this state was dropped by a cancelled
    /// caller.
    Busy,
    /// The connection or protocol failed, a response timed out, or the server is no master.
    Broken,
}

impl Connection {
    /// Sends `WAIT` with each command, in the same round trip, until the connection returns to its
    /// pool.
    pub fn await_acks(&mut self, acks: Acks) {
        let mut wait = redis::cmd("WAIT");
        wait.arg(acks.replicas).arg(u64::try_from(acks.timeout.as_millis()).unwrap_or(u64::MAX));
        self.acks = Some(AckState { wait, required: acks.replicas.into(), received: 0 });
    }

    /// Whether enough replicas acknowledged the last command; true when none were required.
    pub fn is_acked(&self) -> bool {
        self.acks.as_ref().is_none_or(|acks| acks.received >= acks.required)
    }

    pub(super) fn send_asking(&mut self) {
        self.is_asking = true;
    }

    fn is_stale(&self) -> bool {
        self.invalidations
            .as_ref()
            .is_some_and(|(invalidations, since)| invalidations.count() != *since)
    }

    fn record<T>(&mut self, result: &RedisResult<T>) {
        let error = match result {
            Ok(_) => return self.state = State::Idle,
            Err(error) => error,
        };
        let is_other_server = matches!(
            error.kind(),
            ErrorKind::Server(
                ServerErrorKind::ReadOnly
                    | ServerErrorKind::MasterDown
                    | ServerErrorKind::ClusterDown
            )
        );
        let is_broken = error.is_io_error() || error.is_unrecoverable_error() || is_other_server;
        self.state = if is_broken { State::Broken } else { State::Idle };
        let has_moved = error.kind() == ErrorKind::Server(ServerErrorKind::Moved);
        if let Some((invalidations, since)) =
            self.invalidations.as_ref().filter(|_| is_broken || has_moved)
        {
            invalidations.invalidate_since(*since);
        }
    }

    /// Sends `ASKING`, the command and `WAIT`, as far as they are due, in one round trip.
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
        let mut responses = self.inner.send_packed_commands(&pipe, 0, count).await?.into_iter();
        if self.is_asking {
            responses.next();
        }
        let response = responses.next().unwrap_or(Value::Nil);
        if let (Some(acks), Some(Value::Int(received))) = (&mut self.acks, responses.next()) {
            acks.received = u64::try_from(received).unwrap_or(0);
        }
        response.extract_error()
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
            self.record(&result);
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
            let call = Call::to_redis_pipeline(pipeline.len());
            let result = self.inner.send_packed_commands(pipeline, offset, count).await;
            call.redis_ended(&result);
            self.record(&result);
            result
        })
    }

    fn get_db(&self) -> i64 {
        self.inner.get_db()
    }
}
