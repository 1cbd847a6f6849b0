//! Notifications of changes of sessions, within an instance.
//!
//! A notification carries no data; the watcher reads the changed session at its own pace. So
//! nothing is buffered for a slow reader, and duplicate, late or merged notifications do no harm.

use std::sync::Arc;

use dashmap::{DashMap, Entry};
use proto_contracts::SessionDigest;
use tokio::sync::watch;

/// A subscription to the changes of one session, from its creation on.
#[derive(Debug)]
pub struct Changes {
    notified: Option<watch::Receiver<()>>,
    session: SessionDigest,
    watchers: Arc<Watchers>,
}

impl Changes {
    /// Waits until the session may have changed since the subscription, or since the last return.
    pub async fn changed(&mut self) {
        let notified = match &mut self.notified {
            Some(notified) => notified.changed().await.is_ok(),
            None => false,
        };
        if !notified {
            // The sender is gone.
            std::future::pending().await
        }
    }
}

impl Drop for Changes {
    fn drop(&mut self) {
        // Before `leave` counts the receivers.
        self.notified = None;
        self.watchers.leave(self.session);
    }
}

/// The watched sessions of this instance.
pub(super) struct Watchers {
    // Each shard has a lock of its own, which is held for a lookup and never across an await.
    sessions: DashMap<SessionDigest, watch::Sender<()>>,
    /// Called when the last watcher of a session has left.
    unwatched: Box<dyn Fn(SessionDigest) + Send + Sync>,
}

impl Watchers {
    pub(super) fn new(unwatched: impl Fn(SessionDigest) + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self { sessions: DashMap::new(), unwatched: Box::new(unwatched) })
    }

    /// Subscribes to changes of a session.
    pub(super) fn watch(self: &Arc<Self>, session: SessionDigest) -> Changes {
        let notified = self.sessions.entry(session).or_default().subscribe();
        Changes { notified: Some(notified), session, watchers: Arc::clone(self) }
    }

    /// Notifies the watchers of a session; `false` when there are none.
    pub(super) fn notify(&self, session: SessionDigest) -> bool {
        let Some(watched) = self.sessions.get(&session) else { return false };
        watched.send_replace(());
        true
    }

    /// Notifies the watchers of all sessions, after a change may have been missed.
    pub(super) fn notify_all(&self) {
        self.sessions.iter().for_each(|watched| watched.send_replace(()));
    }

    /// Whether the session has a watcher.
    pub(super) fn is_watched(&self, session: SessionDigest) -> bool {
        self.sessions.contains_key(&session)
    }

    /// All watched sessions.
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
    async fn all_watchers_are_notified_and_the_last_to_leave_is_reported() {
        static UNWATCHED: AtomicUsize = AtomicUsize::new(0);
        let watchers = Watchers::new(|_| {
            UNWATCHED.fetch_add(1, Ordering::Relaxed);
        });
        let session = SessionId::generate(AffinityKey::random()).digest();
        assert!(!watchers.notify(session));
        let (mut one, mut other) = (watchers.watch(session), watchers.watch(session));
        assert!(one.changed().now_or_never().is_none(), "no change yet");
        assert!(watchers.notify(session) && watchers.notify(session));
        one.changed().await;
        other.changed().await;
        assert!(one.changed().now_or_never().is_none(), "two changes merge into one notification");
        watchers.notify_all();
        one.changed().await;
        drop(one);
        assert_eq!((watchers.watched(), UNWATCHED.load(Ordering::Relaxed)), (vec![session], 0));
        drop(other);
        assert_eq!((watchers.is_watched(session), UNWATCHED.load(Ordering::Relaxed)), (false, 1));
    }
}
