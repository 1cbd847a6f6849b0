//! Hears of changes of sessions, whoever makes them: each script that changes a session says so on a channel of the record's
//! name (`announce` in `session.lua`).
//!
//! One connection of the instance listens for all who wait. When it breaks, a change may be missed; so everybody is told when
//! there is a new one. On a Cluster, what a script publishes is passed on to all nodes, and the connection may be to any.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use proto_contracts::SessionDigest;
use redis::aio::MultiplexedConnection;
use redis::{ErrorKind, PushInfo, PushKind, RedisError, RedisResult, Value};
use service_kit::redis::{RedisTarget, RedisTimeouts};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{sleep, timeout};

use super::fields::{record_key, session_of_record};
use crate::store::StoreFault;
use crate::store::changes::{Changes, Watchers};

/// Pause before a connection is tried again.
const RETRY_AFTER: Duration = Duration::from_millis(100);
/// How long it may take until the instance listens.
const LISTENS_WITHIN: Duration = Duration::from_secs(1);

/// Who waits in this instance, and the task that listens for them.
pub(super) struct Announcements {
    watchers: Arc<Watchers>,
    orders: mpsc::UnboundedSender<Order>,
}

/// What the listening task is to do. Orders are few and are done at once, so their queue needs no bound.
enum Order {
    /// Listen to what is said of the session, and tell when that is so.
    Listen(SessionDigest, oneshot::Sender<()>),
    /// Listen no longer, unless somebody else wants to hear of it by now.
    Leave(SessionDigest),
}

impl Announcements {
    /// Must be called within a Tokio runtime, on which one connection is kept.
    pub(super) fn new(target: RedisTarget) -> Self {
        let (orders, taken) = mpsc::unbounded_channel();
        let leave = orders.downgrade();
        let watchers = Watchers::new(move |session| {
            // When the store is gone, so is the connection.
            let _gone = leave.upgrade().map(|orders| orders.send(Order::Leave(session)));
        });
        let listener = Listener { target, watchers: Arc::clone(&watchers), orders: taken };
        tokio::spawn(listener.run());
        Self { watchers, orders }
    }

    /// Waits for changes of a session: of all that are made after this has returned.
    pub(super) async fn watch(&self, session: SessionDigest) -> Result<Changes, StoreFault> {
        let changes = self.watchers.watch(session);
        let (ready, listens) = oneshot::channel();
        let sent = self.orders.send(Order::Listen(session, ready)).is_ok();
        match timeout(LISTENS_WITHIN, listens).await {
            Ok(Ok(())) if sent => Ok(changes),
            _ => Err(StoreFault::Unavailable("the channel of changes cannot be subscribed to".into())),
        }
    }
}

struct Listener {
    target: RedisTarget,
    watchers: Arc<Watchers>,
    orders: mpsc::UnboundedReceiver<Order>,
}

impl Listener {
    /// Listens for as long as the store is there.
    async fn run(mut self) {
        while let Err(cause) = self.listen().await {
            tracing::debug!(%cause, "the connection that hears of changes is lost");
            sleep(RETRY_AFTER).await;
        }
    }

    async fn listen(&mut self) -> RedisResult<()> {
        let (connection, mut pushes) = self.target.channel(RedisTimeouts::STORE).await?;
        let mut channels = Channels { connection, heard: HashSet::new() };
        for session in self.watchers.watched() {
            channels.listen(session).await?;
        }
        // What was said while nobody listened.
        self.watchers.tell_all();
        loop {
            tokio::select! {
                order = self.orders.recv() => match order {
                    Some(order) => self.obey(&mut channels, order).await?,
                    None => return Ok(()),
                },
                push = pushes.recv() => match push {
                    Some(push) if push.kind != PushKind::Disconnection => self.pass_on(&push),
                    _ => return Err(RedisError::from((ErrorKind::Io, "the other side has closed it"))),
                },
            }
        }
    }

    async fn obey(&self, channels: &mut Channels, order: Order) -> RedisResult<()> {
        match order {
            Order::Listen(session, ready) => {
                // Who waited for a connection for too long has given up.
                if self.watchers.is_watched(session) {
                    channels.listen(session).await?;
                    let _gave_up = ready.send(());
                }
            }
            Order::Leave(session) if !self.watchers.is_watched(session) => channels.leave(session).await?,
            Order::Leave(_) => {}
        }
        Ok(())
    }

    fn pass_on(&self, push: &PushInfo) {
        if let (PushKind::Message, [Value::BulkString(channel), ..]) = (&push.kind, push.data.as_slice())
            && let Some(session) = session_of_record(channel)
        {
            self.watchers.tell(session);
        }
    }
}

/// The connection, and what it is subscribed to.
struct Channels {
    connection: MultiplexedConnection,
    heard: HashSet<SessionDigest>,
}

impl Channels {
    async fn listen(&mut self, session: SessionDigest) -> RedisResult<()> {
        if self.heard.insert(session) {
            self.connection.subscribe(record_key(session)).await?;
        }
        Ok(())
    }

    async fn leave(&mut self, session: SessionDigest) -> RedisResult<()> {
        if self.heard.remove(&session) {
            self.connection.unsubscribe(record_key(session)).await?;
        }
        Ok(())
    }
}
