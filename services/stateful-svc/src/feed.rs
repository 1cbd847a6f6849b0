//! What a live connection is told of a session: the session as it is, then its messages, one by one, in their order.
//!
//! A feed knows the number of the last message that it told and reads the ones after it, so it needs no memory of its own: it
//! misses nothing, however long the connection to Redis or the reader stood still, and holds a handful of messages at most.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use service_kit::health::Draining;
use tokio::time::{Instant, sleep_until};

use crate::domain::cursor::{Cursor, PageSize};
use crate::domain::message::Message;
use crate::domain::session::Session;
use crate::store::changes::Changes;
use crate::store::{Access, ReadError, Routing, SessionStore};

/// How many messages are read ahead of the reader: at most some 300 KiB.
const READ_AHEAD: u32 = 16;
/// Pause before a store that could not be asked is asked again.
const ASK_AGAIN: Duration = Duration::from_millis(500);

/// What happens in a session, as one live connection hears of it.
pub struct Feed {
    store: Arc<dyn SessionStore>,
    access: Access,
    changes: Changes,
    draining: Draining,
    /// After which time without any news a feed looks for itself, and tells that it is quiet.
    heartbeat: Duration,
    /// The place after the last message that was told.
    told: Cursor,
    /// The session when it was last looked at.
    session: Session,
    /// Whether that is to be told.
    is_news: bool,
    ahead: VecDeque<Message>,
    /// The session may have changed since.
    outdated: bool,
    look_at: Instant,
}

/// What a feed tells.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The session as it is: first of all, and when its client data has changed.
    Session(Session),
    /// The next message.
    Message(Message),
    /// The session is no more; nothing follows.
    Ended,
    /// The instance is shutting down; nothing follows.
    GoingAway,
    /// Nothing has happened for a while. It keeps the connection open, and the session alive.
    Quiet,
}

impl Feed {
    /// A feed of the messages after this place; of those that are posted from now on when none is named.
    ///
    /// # Errors
    /// When the caller has no such session, or the store cannot be asked.
    pub async fn open(
        store: Arc<dyn SessionStore>,
        access: Access,
        after: Option<Cursor>,
        draining: Draining,
        heartbeat: Duration,
    ) -> Result<Self, ReadError> {
        // A feed outlives its session's stay at this instance, so it must not claim it.
        let access = Access { routing: Routing::RoundRobin, ..access };
        // Before the session is read: what changes later is told.
        let changes = store.watch(access.session).await?;
        let session = store.read(access).await?.value;
        let newest = Cursor::after(session.message_count).unwrap_or_default();
        // Nobody has seen more than there is.
        let told = after.filter(|after| after.number() < newest.number()).unwrap_or(newest);
        let outdated = told != newest;
        let look_at = Instant::now() + heartbeat;
        let ahead = VecDeque::new();
        Ok(Self { store, access, changes, draining, heartbeat, told, session, is_news: true, ahead, outdated, look_at })
    }

    /// The next event, as soon as there is one. Whoever gives up waiting loses nothing.
    pub async fn next(&mut self) -> Event {
        loop {
            if std::mem::take(&mut self.is_news) {
                return Event::Session(self.session.clone());
            }
            if let Some(message) = self.ahead.pop_front() {
                self.told = Cursor::after(message.number).unwrap_or(self.told);
                return Event::Message(message);
            }
            if self.outdated {
                match self.look().await {
                    Ok(()) => continue,
                    Err(ReadError::NotFound) => return Event::Ended,
                    // The store has told the log. The reader has missed nothing yet, and need not know.
                    Err(ReadError::Store(_)) => {
                        self.outdated = false;
                        self.look_at = Instant::now() + ASK_AGAIN;
                    }
                }
            }
            tokio::select! {
                biased;
                () = self.draining.begun() => return Event::GoingAway,
                () = self.changes.changed() => self.outdated = true,
                () = sleep_until(self.look_at) => {
                    self.outdated = true;
                    self.look_at = Instant::now() + self.heartbeat;
                    return Event::Quiet;
                }
            }
        }
    }

    /// Reads what has changed, or the first part of it.
    async fn look(&mut self) -> Result<(), ReadError> {
        let session = self.store.read(self.access).await?.value;
        let size = PageSize::parse(READ_AHEAD).unwrap_or_default();
        if session.message_count > self.told.number() {
            self.ahead = self.store.history(self.access, self.told, size).await?.value.messages.into();
        }
        // From here on nothing waits, so that nothing is done by half.
        let last = self.ahead.back().map_or(self.told.number(), |message| message.number);
        self.is_news = session.client_data != self.session.client_data;
        self.outdated = last < session.message_count;
        self.session = session;
        self.look_at = Instant::now() + self.heartbeat;
        Ok(())
    }
}
