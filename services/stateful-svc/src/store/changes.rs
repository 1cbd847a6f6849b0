//! Who waits for changes of sessions, and how they are told.
//!
//! They are told *that* a session has changed and never what: whoever is told reads it, at its own pace. So nothing is
//! buffered for a slow reader, and a change that is told twice, or late, or together with another, does no harm.

use std::sync::Arc;

use dashmap::{DashMap, Entry};
use proto_contracts::SessionDigest;
use tokio::sync::watch;

/// Waits for changes of one session; whoever holds it is told of all changes from its making on.
#[derive(Debug)]
pub struct Changes {
    told: Option<watch::Receiver<()>>,
    session: SessionDigest,
    watchers: Arc<Watchers>,
}

impl Changes {
    /// Waits until the session may have changed since this was made, or since this returned last.
    pub async fn changed(&mut self) {
        let told = match &mut self.told {
            Some(told) => told.changed().await.is_ok(),
            None => false,
        };
        if !told {
            // Nobody is left who could tell.
            std::future::pending().await
        }
    }
}

impl Drop for Changes {
    fn drop(&mut self) {
        // Before it is asked whether anybody is left.
        self.told = None;
        self.watchers.leave(self.session);
    }
}

/// The sessions of which somebody in this instance wants to hear.
pub(super) struct Watchers {
    // Each shard has a lock of its own, which is held for a look and never across an await.
    sessions: DashMap<SessionDigest, watch::Sender<()>>,
    /// Called when nobody waits for a session any more.
    unwatched: Box<dyn Fn(SessionDigest) + Send + Sync>,
}

impl Watchers {
    pub(super) fn new(unwatched: impl Fn(SessionDigest) + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self { sessions: DashMap::new(), unwatched: Box::new(unwatched) })
    }

    /// Waits for changes of a session from now on.
    pub(super) fn watch(self: &Arc<Self>, session: SessionDigest) -> Changes {
        let told = self.sessions.entry(session).or_default().subscribe();
        Changes { told: Some(told), session, watchers: Arc::clone(self) }
    }

    /// Tells all who wait that a session has changed; whether there are any.
    pub(super) fn tell(&self, session: SessionDigest) -> bool {
        let Some(watched) = self.sessions.get(&session) else { return false };
        watched.send_replace(());
        true
    }

    /// Tells everybody: a change may have been missed.
    pub(super) fn tell_all(&self) {
        self.sessions.iter().for_each(|watched| watched.send_replace(()));
    }

    /// Whether somebody waits for the session.
    pub(super) fn is_watched(&self, session: SessionDigest) -> bool {
        self.sessions.contains_key(&session)
    }

    /// Every session that somebody waits for.
    pub(super) fn watched(&self) -> Vec<SessionDigest> {
        self.sessions.iter().map(|watched| *watched.key()).collect()
    }

    fn leave(&self, session: SessionDigest) {
        let Entry::Occupied(watched) = self.sessions.entry(session) else { return };
        if watched.get().receiver_count() > 0 {
            return;
        }
        watched.remove();
        (self.unwatched)(session);
    }
}

impl std::fmt::Debug for Watchers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watchers").field("sessions", &self.sessions.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::FutureExt as _;
    use proto_contracts::{AffinityKey, SessionId};

    use super::*;

    #[tokio::test]
    async fn all_who_wait_are_told_and_the_last_one_is_missed() {
        static UNWATCHED: AtomicUsize = AtomicUsize::new(0);
        let watchers = Watchers::new(|_| {
            UNWATCHED.fetch_add(1, Ordering::Relaxed);
        });
        let session = SessionId::generate(AffinityKey::random()).digest();
        assert!(!watchers.tell(session));
        let (mut one, mut other) = (watchers.watch(session), watchers.watch(session));
        assert!(one.changed().now_or_never().is_none(), "nothing has happened yet");
        assert!(watchers.tell(session) && watchers.tell(session));
        one.changed().await;
        other.changed().await;
        assert!(one.changed().now_or_never().is_none(), "two changes are told as one");
        watchers.tell_all();
        one.changed().await;
        drop(one);
        assert_eq!((watchers.watched(), UNWATCHED.load(Ordering::Relaxed)), (vec![session], 0));
        drop(other);
        assert_eq!((watchers.is_watched(session), UNWATCHED.load(Ordering::Relaxed)), (false, 1));
    }
}
