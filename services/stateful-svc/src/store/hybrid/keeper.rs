//! Keeps an instance's lease, and hears what others ask of it: one connection, on which both happen.
//!
//! What is told on the lease's channel comes in order. So a lease is trusted for longer only by what comes on that channel,
//! after every request to drop that was told before; and it is renewed only if what was told last has been heard. An instance
//! that cannot hear does not renew, and those who wait for it need not wait for long.

use std::sync::{Arc, Weak};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{PushInfo, PushKind, RedisError, RedisResult, Value};
use service_kit::redis::{RedisTarget, RedisTimeouts};
use service_kit::telemetry::chain;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::Shared;
use super::copy::nanos;
use super::hot_set::HotSet;
use super::lease::Lease;
use crate::domain::clock::SteadyClock;
use crate::store::StoreFault;
use crate::store::broken::{Guarantee, LATE, is_broken};
use crate::store::redis::claim::LeaseId;
use crate::store::redis::handover::TRUST;
use crate::store::redis::leases::{Server, Told};

/// How often a lease is renewed: two renewals may be lost.
const RENEW_EVERY: Duration = TRUST.checked_div(3).expect("three is not zero");
/// The log line of a lease that was given back; `loadtest rollout` counts it.
const GAVE_BACK: &str = "the lease was given back";
/// Pause before a connection is made anew.
const RETRY_AFTER: Duration = Duration::from_millis(50);
const PATIENCE: RedisTimeouts = RedisTimeouts { connect: TRUST, wait: TRUST, response: TRUST };

/// Keeps a lease for as long as the store is there; then gives it back.
pub(super) async fn keep<C: SteadyClock>(store: Weak<Shared<C>>, target: RedisTarget, stop: watch::Receiver<()>) {
    loop {
        let Some(shared) = store.upgrade() else { return };
        let mut stopped = stop.clone();
        let ended = tokio::select! {
            ended = connect_and_serve(&shared, &target) => ended,
            told = stopped.changed() => {
                // Who tells us to stop waits for our end and gives the lease back; when the store is just gone, we do.
                if told.is_err() {
                    abandon(&shared).await;
                }
                return;
            }
        };
        if let Err(error) = ended {
            tracing::debug!(cause = %error, "the connection that keeps the lease is lost");
        }
        drop(shared);
        sleep(RETRY_AFTER).await;
    }
}

async fn connect_and_serve<C: SteadyClock>(shared: &Arc<Shared<C>>, target: &RedisTarget) -> RedisResult<()> {
    let held = shared.lease.load_full();
    let id = held.as_ref().map_or_else(LeaseId::random, |lease| lease.id);
    // On a cluster this is the node that owns the lease: what is told on the channel passes through it, in order.
    let (mut connection, pushes) = target.channel_of(&id.key(), PATIENCE).await?;
    let server = Server::of(&mut connection).await?;
    // What leases were seen to do on another server does not count here.
    shared.redis.has_met(server.clone());
    if held.is_some_and(|lease| lease.server != server) {
        // It may lack what the other acknowledged last, our copies' holder among it. The next lease may be another node's.
        abandon(shared).await;
        return Ok(());
    }
    let (told, heard) = watch::channel(0);
    let mut renewing = Renewing { shared, connection, server, heard, id };
    tokio::select! {
        ended = renewing.keep_one_lease() => ended,
        () = hear(shared, pushes, told) => Ok(()),
    }
}

/// Stops to trust the lease, then ends it in Redis, so that nobody waits until it has stood still for long enough.
///
/// # Errors
/// When Redis could not be reached; then they wait.
pub(super) async fn give_back<C: SteadyClock>(shared: &Shared<C>) -> Result<(), StoreFault> {
    let Some(lease) = shared.lease.swap(None) else { return Ok(()) };
    lease.revoke();
    shared.redis.give_back(lease.id).await?;
    tracing::info!(lease = %lease.id, "{GAVE_BACK}");
    Ok(())
}

/// The same for a lease that cannot be kept.
async fn abandon<C: SteadyClock>(shared: &Shared<C>) {
    if let Err(error) = give_back(shared).await {
        tracing::warn!(cause = chain(&error), "the lease was not given back; others wait until it has run out");
    }
}

struct Renewing<'a, C> {
    shared: &'a Shared<C>,
    connection: MultiplexedConnection,
    server: Server,
    /// The number in what was heard last.
    heard: watch::Receiver<u64>,
    /// The lease that is held, or to be taken.
    id: LeaseId,
}

impl<C: SteadyClock> Renewing<'_, C> {
    /// Renews the lease, or takes one, until it turns out to have ended or to be on another server.
    async fn keep_one_lease(&mut self) -> RedisResult<()> {
        self.listen().await?;
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
                self.hear_of(number).await?;
            } else if !is_broken(Guarantee::LeaseCheck) {
                tracing::info!("the lease on memory had run out; sessions are read from Redis again");
                self.shared.lease.store(None);
                lease.revoke();
                return Ok(());
            }
            sleep_until(due).await;
        }
    }

    /// Takes a new lease. Until it has it, nothing is claimed under it, so that nothing can be filled under it before.
    async fn take(&mut self) -> RedisResult<Arc<Lease>> {
        let id = self.id;
        let asked = self.shared.clock.now();
        // When this goes wrong it may have been done; then the lease is left behind for others to end, and never used.
        self.shared.redis.take_lease(&mut self.connection, id).await?;
        let hot = HotSet::new(self.shared.hot_set_bytes, self.shared.lifetime.idle);
        let lease = Arc::new(Lease::new(id, self.server.clone(), hot, asked));
        self.shared.lease.store(Some(Arc::clone(&lease)));
        Ok(lease)
    }

    /// Subscribes to the lease's channel, and makes sure that something comes from it.
    async fn listen(&mut self) -> RedisResult<()> {
        self.connection.subscribe(self.id.key()).await?;
        let number = nanos(self.shared.clock.now());
        self.shared.redis.echo(&mut self.connection, self.id, number).await?;
        self.hear_of(number).await
    }

    async fn hear_of(&mut self, number: u64) -> RedisResult<()> {
        match timeout(RENEW_EVERY, self.heard.wait_for(|heard| *heard >= number)).await {
            Ok(Ok(_)) => Ok(()),
            // Who is deaf would give its lease up, and all that it holds with it.
            _ if is_broken(Guarantee::LeaseCheck) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(RedisError::from((redis::ErrorKind::Io, "nothing was heard on the channel"))),
        }
    }
}

/// Does what is told on the channel, until the connection ends.
async fn hear<C: SteadyClock>(
    shared: &Arc<Shared<C>>,
    mut pushes: mpsc::UnboundedReceiver<PushInfo>,
    heard: watch::Sender<u64>,
) {
    loop {
        let is_idle = pushes.is_empty();
        let Some(push) = pushes.recv().await else { return };
        if is_idle && is_broken(Guarantee::LeaseCheck) {
            sleep(LATE).await;
        }
        match push.kind {
            PushKind::Disconnection => return,
            PushKind::Message => {
                if let Some((channel, told)) = message(&push.data) {
                    obey(shared, channel, told, &heard);
                }
            }
            _ => {}
        }
    }
}

fn message(data: &[Value]) -> Option<(&[u8], Told)> {
    match data {
        [Value::BulkString(channel), Value::BulkString(text)] => Some((channel, Told::parse(text)?)),
        _ => None,
    }
}

fn obey<C: SteadyClock>(shared: &Arc<Shared<C>>, channel: &[u8], told: Told, heard: &watch::Sender<u64>) {
    // What was told on the channel of a lease that is gone concerns nobody.
    let lease = shared.lease.load_full().filter(|lease| lease.id.key().as_bytes() == channel);
    match told {
        Told::Echo(number) => drop(heard.send_replace(number)),
        Told::Renewed(number) => {
            if let Some(lease) = lease {
                lease.renewed(number);
            }
            heard.send_replace(number);
        }
        Told::Drop(session) => {
            let Some(lease) = lease else { return };
            let Some(ticket) = shared.drop_copy(lease.id, session) else { return };
            let shared = Arc::clone(shared);
            tokio::spawn(async move {
                if let Err(error) = shared.redis.confirm(session, lease.id, ticket).await {
                    // It is asked for again.
                    tracing::debug!(cause = chain(&error), "the end of a copy could not be confirmed");
                }
            });
        }
    }
}
