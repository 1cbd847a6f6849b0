//! What only the memory store has to do: forget by itself.

use stateful_svc::store::SessionStore;
use stateful_svc::store::memory::MemoryStore;

use crate::subject::{LIFETIME, TestClock, any_session, data};

#[tokio::test]
async fn a_sweep_forgets_what_has_expired_and_nothing_else() {
    let clock = TestClock::default();
    let store = MemoryStore::new(LIFETIME, clock.clone());
    let (idle, used) = (any_session(), any_session());
    store.create(idle, data("{}"), None).await.expect("created");
    store.create(used, data("{}"), None).await.expect("created");
    clock.advance(LIFETIME.idle / 2);
    store.read(used).await.expect("there");
    clock.advance(LIFETIME.idle / 2);
    assert_eq!(store.live_sessions(), 2, "nobody has asked for it yet");
    store.sweep();
    assert_eq!(store.live_sessions(), 1);
    store.read(used).await.expect("still there");
}
