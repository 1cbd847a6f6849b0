//! Renews an instance's lease and handles the messages on its channel, both over one connection.
//!
//! Messages on the lease's channel arrive in order. So only a message on that channel extends the
//! trust in the lease, after all drop requests that were published before it. The lease is renewed
//! only if the last message was received. An instance that receives nothing stops renewing, so
//! those who wait for it need not wait long.

use std::sync::{Arc, Weak};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{PushInfo, PushKind, RedisError, RedisResult, Value};
use service_kit::redis::{RedisTarget, RedisTimeouts};
use service_kit::telemetry::chain;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::hot_copy::nanos;
use super::hot_set::HotSet;
use super::lease::Lease;
use super::shared::Shared;
use crate::domain::clock::SteadyClock;
use crate::store::StoreFault;
use crate::store::failpoints::{Failpoint, MESSAGE_DELAY, is_active};
use crate::store::redis::claim::LeaseId;
use crate::store::redis::handover_state::TRUST;
use crate::store::redis::leases::LeaseMessage;
use crate::store::redis::server::Server;

/// The interval of renewals: two may be lost.
const RENEW_EVERY: Duration = TRUST.checked_div(3).expect("three is not zero");
/// The log line of a released lease; `loadtest rollout` counts it.
const RELEASED: &str = "lease released";
/// Delay before a reconnection.
const RECONNECT_DELAY: Duration = Duration::from_millis(50);
const TIMEOUTS: RedisTimeouts = RedisTimeouts { connect: TRUST, wait: TRUST, response: TRUST };

/// Keeps a lease until the store stops it or is dropped; then releases it.
pub(super) async fn run<C: SteadyClock>(
    store: Weak<Shared<C>>,
    target: RedisTarget,
    stop: watch::Receiver<()>,
) {
    loop {
        let Some(shared) = store.upgrade() else { return };
        let mut stopped = stop.clone();
        let ended = tokio::select! {
            ended = connect_and_serve(&shared, &target) => ended,
            message = stopped.changed() => {
                // The sender of a message waits for this task and releases the lease. A dropped
                // store does not.
                if message.is_err() {
                    abandon(&shared).await;
                }
                return;
            }
        };
        if let Err(error) = ended {
            tracing::debug!(cause = %error, "lease connection lost; reconnecting");
        }
        drop(shared);
        sleep(RECONNECT_DELAY).await;
    }
}

async fn connect_and_serve<C: SteadyClock>(
    shared: &Arc<Shared<C>>,
    target: &RedisTarget,
) -> RedisResult<()> {
    let held = shared.lease.load_full();
    let id = held.as_ref().map_or_else(LeaseId::random, |lease| lease.id);
    // On a Cluster this is the node that owns the lease: messages on the channel pass through it,
    // in order.
    let (mut connection, pushes) = target.channel_of(&id.key(), TIMEOUTS).await?;
    let server = Server::of(&mut connection).await?;
    // Observations of leases on another server are void.
    shared.redis.observe_server(server.clone());
    if held.is_some_and(|lease| lease.server != server) {
        // It may lack the last writes that the other server acknowledged, even those that granted
        // our copies. The next lease may be on another node.
        abandon(shared).await;
        return Ok(());
    }
    let (sender, received) = watch::channel(0);
    let mut renewal = Renewal { shared, connection, server, received, id };
    tokio::select! {
        ended = renewal.keep_one_lease() => ended,
        () = receive(shared, pushes, sender) => Ok(()),
    }
}

/// Stops trusting the lease, then deletes it in Redis, so that no other instance has to wait for
/// its expiry.
///
/// # Errors
/// When Redis is unavailable; then they wait.
pub(super) async fn release<C: SteadyClock>(shared: &Shared<C>) -> Result<(), StoreFault> {
    let Some(lease) = shared.lease.swap(None) else { return Ok(()) };
    lease.revoke();
    shared.redis.release_lease(lease.id).await?;
    tracing::info!(lease = %lease.id, "{RELEASED}");
    Ok(())
}

/// Releases a lease that cannot be kept.
async fn abandon<C: SteadyClock>(shared: &Shared<C>) {
    if let Err(error) = release(shared).await {
        tracing::warn!(
            cause = chain(&error),
            "lease not released; other instances wait until it expires"
        );
    }
}

struct Renewal<'a, C> {
    shared: &'a Shared<C>,
    connection: MultiplexedConnection,
    server: Server,
    /// The number in the last message received.
    received: watch::Receiver<u64>,
    /// The lease that is held, or to be taken.
    id: LeaseId,
}

impl<C: SteadyClock> Renewal<'_, C> {
    /// Renews the lease, or takes one, until it has ended or turns out to be on another server.
    async fn keep_one_lease(&mut self) -> RedisResult<()> {
        self.subscribe().await?;
        let lease = match self.shared.lease.load_full() {
            Some(lease) => lease,
            None => self.take().await?,
        };
        loop {
            // A session's node may have failed over, though the lease's has not.
            if Server::of(&mut self.connection).await? != self.server {
                abandon(self.shared).await;
                return Ok(());
            }
            let due = Instant::now() + RENEW_EVERY;
            let number = nanos(self.shared.clock.now());
            if self.shared.redis.renew_lease(&mut self.connection, lease.id, number).await? {
                self.wait_for(number).await?;
            } else if !is_active(Failpoint::NoLeaseCheck) {
                tracing::info!("lease expired; sessions are read from Redis");
                self.shared.lease.store(None);
                lease.revoke();
                return Ok(());
            }
            sleep_until(due).await;
        }
    }

    /// Takes a new lease. Before it is taken, no operation claims a copy under it, so its hot set
    /// is empty.
    async fn take(&mut self) -> RedisResult<Arc<Lease>> {
        let id = self.id;
        let requested = self.shared.clock.now();
        // After a failure the lease may exist. It is never used then; others end it.
        self.shared.redis.take_lease(&mut self.connection, id).await?;
        let hot = HotSet::new(self.shared.hot_set_bytes, self.shared.lifetime.idle);
        let lease = Arc::new(Lease::new(id, self.server.clone(), hot, requested));
        self.shared.lease.store(Some(Arc::clone(&lease)));
        Ok(lease)
    }

    /// Subscribes to the lease's channel and verifies that messages arrive.
    async fn subscribe(&mut self) -> RedisResult<()> {
        self.connection.subscribe(self.id.key()).await?;
        let number = nanos(self.shared.clock.now());
        self.shared.redis.echo(&mut self.connection, self.id, number).await?;
        self.wait_for(number).await
    }

    /// Waits for the message with this number, or a later one.
    async fn wait_for(&mut self, number: u64) -> RedisResult<()> {
        match timeout(RENEW_EVERY, self.received.wait_for(|received| *received >= number)).await {
            Ok(Ok(_)) => Ok(()),
            // With the failpoint the instance keeps a lease whose messages it does not receive.
            _ if is_active(Failpoint::NoLeaseCheck) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(RedisError::from((
                redis::ErrorKind::Io,
                "no message received on the lease's channel",
            ))),
        }
    }
}

/// Handles the messages on the channel until the connection ends.
async fn receive<C: SteadyClock>(
    shared: &Arc<Shared<C>>,
    mut pushes: mpsc::UnboundedReceiver<PushInfo>,
    received: watch::Sender<u64>,
) {
    loop {
        let is_idle = pushes.is_empty();
        let Some(push) = pushes.recv().await else { return };
        if is_idle && is_active(Failpoint::NoLeaseCheck) {
            sleep(MESSAGE_DELAY).await;
        }
        match push.kind {
            PushKind::Disconnection => return,
            PushKind::Message => {
                if let Some((channel, message)) = message(&push.data) {
                    handle(shared, channel, message, &received);
                }
            }
            _ => {}
        }
    }
}

fn message(data: &[Value]) -> Option<(&[u8], LeaseMessage)> {
    match data {
        [Value::BulkString(channel), Value::BulkString(text)] => {
            Some((channel, LeaseMessage::parse(text)?))
        }
        _ => None,
    }
}

fn handle<C: SteadyClock>(
    shared: &Arc<Shared<C>>,
    channel: &[u8],
    message: LeaseMessage,
    received: &watch::Sender<u64>,
) {
    // A message on the channel of a previous lease has no effect.
    let lease = shared.lease.load_full().filter(|lease| lease.id.key().as_bytes() == channel);
    match message {
        LeaseMessage::Echo(number) => drop(received.send_replace(number)),
        LeaseMessage::Renewed(number) => {
            if let Some(lease) = lease {
                lease.renewed(number);
            }
            received.send_replace(number);
        }
        LeaseMessage::Drop(session) => {
            let Some(lease) = lease else { return };
            let Some(ticket) = shared.drop_copy(lease.id, session) else { return };
            let shared = Arc::clone(shared);
            tokio::spawn(async move {
                if let Err(error) = shared.redis.confirm(session, lease.id, ticket).await {
                    // The request is repeated.
                    tracing::debug!(cause = chain(&error), "drop not confirmed");
                }
            });
        }
    }
}
