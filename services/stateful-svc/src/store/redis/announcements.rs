//! Receives notifications of changes by any instance: each script that changes a session publishes
//! to a channel with the record's name (`announce` in `session.lua`).
//!
//! One connection of the instance serves all watchers. When it breaks, a change may be missed, so
//! all watchers are notified after the reconnection. On a Cluster, messages reach all nodes, and
//! the connection may be to any of them.

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

/// Delay before a reconnection.
const RECONNECT_DELAY: Duration = Duration::from_millis(100);
const SUBSCRIBE_TIMEOUT: Duration = Duration::from_secs(1);

/// The watchers of this instance, and the task that receives notifications for them.
pub(super) struct Announcements {
    watchers: Arc<Watchers>,
    commands: mpsc::UnboundedSender<Command>,
}

/// A command to the receiving task. Commands are few and executed at once, so their queue needs no
/// bound.
enum Command {
    /// Subscribe to the session, and notify the sender once that is done.
    Subscribe(SessionDigest, oneshot::Sender<()>),
    /// Unsubscribe, unless the session has a new watcher.
    Unsubscribe(SessionDigest),
}

impl Announcements {
    /// Must be called within a Tokio runtime, on which one connection is kept.
    pub(super) fn new(target: RedisTarget) -> Self {
        let (commands, receiver) = mpsc::unbounded_channel();
        let unsubscribe = commands.downgrade();
        let watchers = Watchers::new(move |session| {
            // When the store has been dropped, so has the connection.
            let _gone =
                unsubscribe.upgrade().map(|commands| commands.send(Command::Unsubscribe(session)));
        });
        let task = Receiver { target, watchers: Arc::clone(&watchers), commands: receiver };
        tokio::spawn(task.run());
        Self { watchers, commands }
    }

    /// Subscribes to changes of a session, from the return of this call on.
    pub(super) async fn watch(&self, session: SessionDigest) -> Result<Changes, StoreFault> {
        let changes = self.watchers.watch(session);
        let (ready, subscribed) = oneshot::channel();
        let sent = self.commands.send(Command::Subscribe(session, ready)).is_ok();
        match timeout(SUBSCRIBE_TIMEOUT, subscribed).await {
            Ok(Ok(())) if sent => Ok(changes),
            _ => Err(StoreFault::Unavailable("the subscription to changes timed out".into())),
        }
    }
}

struct Receiver {
    target: RedisTarget,
    watchers: Arc<Watchers>,
    commands: mpsc::UnboundedReceiver<Command>,
}

impl Receiver {
    /// Receives notifications until the store is dropped.
    async fn run(mut self) {
        while let Err(cause) = self.connect_and_receive().await {
            tracing::debug!(%cause, "connection for change notifications lost; reconnecting");
            sleep(RECONNECT_DELAY).await;
        }
    }

    async fn connect_and_receive(&mut self) -> RedisResult<()> {
        let (connection, mut pushes) = self.target.channel(RedisTimeouts::STORE).await?;
        let mut channels = Channels { connection, subscribed: HashSet::new() };
        for session in self.watchers.watched() {
            channels.subscribe(session).await?;
        }
        // Changes may have been missed before the subscriptions.
        self.watchers.notify_all();
        loop {
            tokio::select! {
                command = self.commands.recv() => match command {
                    Some(command) => self.execute(&mut channels, command).await?,
                    None => return Ok(()),
                },
                push = pushes.recv() => match push {
                    Some(push) if push.kind != PushKind::Disconnection => self.notify(&push),
                    _ => return Err(RedisError::from((ErrorKind::Io, "connection closed by Redis"))),
                },
            }
        }
    }

    async fn execute(&self, channels: &mut Channels, command: Command) -> RedisResult<()> {
        match command {
            Command::Subscribe(session, ready) => {
                // The watcher may have timed out and left.
                if self.watchers.is_watched(session) {
                    channels.subscribe(session).await?;
                    let _timed_out = ready.send(());
                }
            }
            Command::Unsubscribe(session) if !self.watchers.is_watched(session) => {
                channels.unsubscribe(session).await?;
            }
            Command::Unsubscribe(_) => {}
        }
        Ok(())
    }

    fn notify(&self, push: &PushInfo) {
        if let (PushKind::Message, [Value::BulkString(channel), ..]) =
            (&push.kind, push.data.as_slice())
            && let Some(session) = session_of_record(channel)
        {
            self.watchers.notify(session);
        }
    }
}

/// The connection and its subscriptions.
struct Channels {
    connection: MultiplexedConnection,
    subscribed: HashSet<SessionDigest>,
}

impl Channels {
    async fn subscribe(&mut self, session: SessionDigest) -> RedisResult<()> {
        if self.subscribed.insert(session) {
            self.connection.subscribe(record_key(session)).await?;
        }
        Ok(())
    }

    async fn unsubscribe(&mut self, session: SessionDigest) -> RedisResult<()> {
        if self.subscribed.remove(&session) {
            self.connection.unsubscribe(record_key(session)).await?;
        }
        Ok(())
    }
}
