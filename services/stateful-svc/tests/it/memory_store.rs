//! The memory store alone: expiry.

use stateful_svc::store::SessionStore;
use stateful_svc::store::memory::MemoryStore;

use crate::subject::{LIFETIME, TestClock, any_session, data};

#[tokio::test]
async fn a_sweep_removes_expired_sessions_alone() {
    let clock = TestClock::default();
    let store = MemoryStore::new(LIFETIME, clock.clone());
    let (idle, used) = (any_session(), any_session());
    store.create(idle, data("{}"), None).await.expect("created");
    store.create(used, data("{}"), None).await.expect("created");
    clock.advance(LIFETIME.idle / 2);
    store.read(used).await.expect("found");
    clock.advance(LIFETIME.idle / 2);
    assert_eq!(store.live_sessions(), 2, "it has not been accessed yet");
    store.sweep();
    assert_eq!(store.live_sessions(), 1);
    store.read(used).await.expect("still there");
}
