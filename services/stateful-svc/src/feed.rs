//! The events of one live connection: the session's state, then its messages in order.
//!
//! A feed keeps the number of the last message that it returned and reads the next ones from the
//! store. So it misses nothing, however long Redis or the reader stalls, and buffers at most a few
//! messages.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use service_kit::health::Draining;
use tokio::time::{Instant, sleep, sleep_until};

use crate::domain::cursor::{Cursor, PageSize};
use crate::domain::message::Message;
use crate::domain::session::Session;
use crate::store::changes::Changes;
use crate::store::{Access, ReadError, Routing, SessionStore};

/// How many messages are read ahead: at most some 300 KiB.
const READ_AHEAD: u32 = 16;
/// A read that takes longer is repeated when the session has changed meanwhile.
const SLOW_READ: Duration = Duration::from_millis(50);
/// Delay before a failed read is retried.
const RETRY_DELAY: Duration = Duration::from_millis(500);

/// The event source of one live connection.
pub struct Feed {
    store: Arc<dyn SessionStore>,
    access: Access,
    changes: Changes,
    draining: Draining,
    /// After this time without an event the feed polls the store and returns [`Event::Quiet`].
    heartbeat: Duration,
    /// The position after the last message that was returned.
    position: Cursor,
    /// The session at the last poll.
    session: Session,
    /// Whether `session` is still to be returned as an event.
    is_changed: bool,
    ahead: VecDeque<Message>,
    /// The session may have changed since the last poll.
    outdated: bool,
    poll_at: Instant,
}

/// An event of a feed.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The session's state: the first event, and after each change of its client data.
    Session(Session),
    /// The next message.
    Message(Message),
    /// The session has ended, or the caller's token was revoked; the last event.
    Ended,
    /// The instance is shutting down; the last event.
    GoingAway,
    /// A heartbeat. It keeps the connection open and the session alive.
    Quiet,
}

impl Feed {
    /// A feed of the messages after this position; `None`: of those that are posted from now on.
    ///
    /// # Errors
    /// When the caller has no such session, or the store is unavailable.
    pub async fn open(
        store: Arc<dyn SessionStore>,
        access: Access,
        after: Option<Cursor>,
        draining: Draining,
        heartbeat: Duration,
    ) -> Result<Self, ReadError> {
        // The session's home may change while the feed is open, so the feed must not claim the
        // session.
        let access = Access { routing: Routing::RoundRobin, ..access };
        // Before the session is read, so that no later change is missed.
        let changes = store.watch(access.session).await?;
        let session = store.read(access).await?.value;
        let newest = Cursor::after(session.message_count).unwrap_or_default();
        // A position beyond the newest message is the newest one.
        let position = after.filter(|after| after.number() < newest.number()).unwrap_or(newest);
        let outdated = position != newest;
        let poll_at = Instant::now() + heartbeat;
        Ok(Self {
            store,
            access,
            changes,
            draining,
            heartbeat,
            position,
            session,
            is_changed: true,
            ahead: VecDeque::new(),
            outdated,
            poll_at,
        })
    }

    /// The next event, as soon as there is one. Cancel-safe.
    pub async fn next(&mut self) -> Event {
        loop {
            if std::mem::take(&mut self.is_changed) {
                return Event::Session(self.session.clone());
            }
            if let Some(message) = self.ahead.pop_front() {
                self.position = Cursor::after(message.number).unwrap_or(self.position);
                return Event::Message(message);
            }
            if self.outdated {
                let reading = read(&*self.store, self.access, self.position);
                let read = tokio::select! {
                    read = reading => read,
                    () = changed_meanwhile(&mut self.changes) => continue,
                };
                match read {
                    Ok((session, messages)) => {
                        self.update(session, messages);
                        continue;
                    }
                    Err(ReadError::NotFound | ReadError::Revoked) => return Event::Ended,
                    // The store has logged the failure. The reader has missed nothing yet.
                    Err(ReadError::Store(_)) => {
                        self.outdated = false;
                        self.poll_at = Instant::now() + RETRY_DELAY;
                    }
                }
            }
            tokio::select! {
                biased;
                () = self.draining.begun() => return Event::GoingAway,
                () = self.changes.changed() => self.outdated = true,
                () = sleep_until(self.poll_at) => {
                    self.outdated = true;
                    self.poll_at = Instant::now() + self.heartbeat;
                    return Event::Quiet;
                }
            }
        }
    }

    /// Takes over the session and the next messages.
    fn update(&mut self, session: Session, messages: Vec<Message>) {
        if !messages.is_empty() {
            self.ahead = messages.into();
        }
        let last = self.ahead.back().map_or(self.position.number(), |message| message.number);
        self.is_changed = session.client_data != self.session.client_data;
        self.outdated = last < session.message_count;
        self.session = session;
        self.poll_at = Instant::now() + self.heartbeat;
    }
}

/// The session, and the next messages after this position.
async fn read(
    store: &dyn SessionStore,
    access: Access,
    position: Cursor,
) -> Result<(Session, Vec<Message>), ReadError> {
    let session = store.read(access).await?.value;
    if session.message_count <= position.number() {
        return Ok((session, Vec::new()));
    }
    let size = PageSize::parse(READ_AHEAD).unwrap_or_default();
    Ok((session, store.history(access, position, size).await?.value.messages))
}

/// Returns when a change follows that the present read may not show. A read may wait for a stopped
/// instance's copy, and the change may be a revocation, which waits for none.
async fn changed_meanwhile(changes: &mut Changes) {
    sleep(SLOW_READ).await;
    changes.changed().await;
}
