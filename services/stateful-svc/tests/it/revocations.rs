//! Revocations of a user's tokens, in all stores. Most tests run once for each store.

use std::time::Duration;

use futures_util::future::{join, join_all};
use stateful_svc::domain::caller::IssuedAt;
use stateful_svc::domain::cursor::{Cursor, PageSize};
use stateful_svc::domain::keyed::Keyed;
use stateful_svc::domain::session_tag::Expected;
use stateful_svc::store::{
    Access, AppendError, CreateError, DeleteError, PatchError, ReadError, Source,
};

use crate::behaviour::each_store;
use crate::owned::owner;
use crate::subject::{LIFETIME, Subject, any_session, as_subject, data, key, message, patch};

each_store! {
    a_revoked_token_is_refused_by_every_operation(LIFETIME);
    a_later_token_uses_the_same_sessions(LIFETIME);
    the_latest_revocation_counts_in_any_order(LIFETIME);
    others_are_not_concerned(LIFETIME);
    watchers_learn_of_a_revocation(LIFETIME);
    creates_and_a_revocation_at_once_leave_nothing_usable(LIFETIME);
}

/// The same session, by a token of this age.
fn by(access: Access, issued_at: i64) -> Access {
    Access { issued_at: IssuedAt::at(issued_at), ..access }
}

fn of_ada(issued_at: i64) -> Access {
    by(as_subject(any_session(), "ada"), issued_at)
}

async fn a_revoked_token_is_refused_by_every_operation(subject: Subject) {
    let store = &*subject.store;
    let old = of_ada(99);
    let keyed = Some(Keyed::create(key(1), &data("{}")));
    store.create(old, data("{}"), keyed).await.expect("created");
    store.append(old, message("hi"), None).await.expect("appended");
    store.revoke(owner("ada"), 100).await.expect("revoked");

    assert!(store.peek(old).is_none());
    assert!(matches!(store.read(old).await, Err(ReadError::Revoked)));
    let page = store.history(old, Cursor::default(), PageSize::default()).await;
    assert!(matches!(page, Err(ReadError::Revoked)));
    assert!(matches!(store.append(old, message("x"), None).await, Err(AppendError::Revoked)));
    let patched = store.patch(old, &patch(r#"{"a": 1}"#), &Expected::Any, None).await;
    assert!(matches!(patched, Err(PatchError::Revoked)));
    assert!(matches!(store.delete(old).await, Err(DeleteError::Revoked)));
    let repeated = store.create(old, data("{}"), keyed).await;
    assert!(matches!(repeated, Err(CreateError::Revoked)));
    let another = store.create(of_ada(99), data("{}"), None).await;
    assert!(matches!(another, Err(CreateError::Revoked)));
    assert_eq!(store.not_before(owner("ada")).await.expect("read"), 100);

    let session = store.read(by(old, 100)).await.expect("found").value;
    assert_eq!((session.message_count, session.version), (1, 2), "nothing was changed");
}

async fn a_later_token_uses_the_same_sessions(subject: Subject) {
    let store = &*subject.store;
    let old = of_ada(99);
    store.create(old, data("{}"), None).await.expect("created");
    store.revoke(owner("ada"), 100).await.expect("revoked");
    let new = by(old, 100);
    store.append(new, message("hi"), None).await.expect("appended");
    assert_eq!(store.read(new).await.expect("found").value.message_count, 1);
    // From memory, where the store has one: the copy tells tokens apart.
    for _ in 0..3 {
        store.read(new).await.expect("found");
        assert!(store.peek(old).is_none(), "a copy for a later token is none for an old one");
        assert!(matches!(store.read(old).await, Err(ReadError::Revoked)));
    }
    // Also for a session that was created after the revocation.
    let later = of_ada(150);
    store.create(later, data("{}"), None).await.expect("created");
    assert!(matches!(store.read(by(later, 99)).await, Err(ReadError::Revoked)));
    store.read(later).await.expect("found");
    assert!(store.peek(by(later, 99)).is_none());
}

async fn the_latest_revocation_counts_in_any_order(subject: Subject) {
    let store = &*subject.store;
    let session = of_ada(120);
    store.create(session, data("{}"), None).await.expect("created");
    for not_before in [110, 115, 100, 115] {
        store.revoke(owner("ada"), not_before).await.expect("revoked");
    }
    assert_eq!(store.not_before(owner("ada")).await.expect("read"), 115);
    assert!(matches!(store.read(by(session, 114)).await, Err(ReadError::Revoked)));
    store.read(by(session, 115)).await.expect("found");
}

async fn others_are_not_concerned(subject: Subject) {
    let store = &*subject.store;
    let (anonymous, bob) = (any_session(), by(as_subject(any_session(), "bob"), 50));
    store.create(anonymous, data("{}"), None).await.expect("created");
    store.create(bob, data("{}"), None).await.expect("created");
    store.revoke(owner("ada"), 100).await.expect("revoked");
    store.read(anonymous).await.expect("found");
    store.read(bob).await.expect("found");
    // A session without an owner is whoever's has its id, with any token or none.
    store.read(by(as_subject(anonymous, "ada"), 50)).await.expect("found");
    assert_eq!(store.not_before(owner("bob")).await.expect("read"), 0);
}

async fn watchers_learn_of_a_revocation(subject: Subject) {
    let store = &*subject.store;
    let session = of_ada(99);
    store.create(session, data("{}"), None).await.expect("created");
    let mut changes = store.watch(session.session).await.expect("watched");
    store.revoke(owner("ada"), 100).await.expect("revoked");
    let learned = tokio::time::timeout(Duration::from_secs(10), changes.changed()).await;
    assert!(learned.is_ok(), "no change was announced");
}

/// Whichever comes first, no session is left that the old token can use.
async fn creates_and_a_revocation_at_once_leave_nothing_usable(subject: Subject) {
    let store = &*subject.store;
    for round in 1..=20 {
        let old = round * 10 - 1;
        let sessions = (0..8).map(|_| of_ada(old)).collect::<Vec<_>>();
        let creates = sessions.iter().map(|session| store.create(*session, data("{}"), None));
        let (created, revoked) =
            join(join_all(creates), store.revoke(owner("ada"), round * 10)).await;
        revoked.expect("revoked");
        for created in created {
            assert!(matches!(created, Ok(_) | Err(CreateError::Revoked)), "{created:?}");
        }
        for session in sessions {
            assert!(store.peek(session).is_none());
            let read = store.read(session).await;
            assert!(matches!(read, Err(ReadError::Revoked | ReadError::NotFound)), "{read:?}");
        }
    }
}

/// A hot copy at another instance is dropped before the revocation returns.
#[tokio::test]
async fn a_copy_at_another_instance_is_dropped() {
    let subject = Subject::hybrids(2, LIFETIME).await;
    let (home, other) = (subject.instance(0), subject.instance(1));
    for round in 1..=20 {
        let session = of_ada(round * 10);
        home.create(session, data("{}"), None).await.expect("created");
        assert_eq!(home.read(session).await.expect("found").source, Source::Memory);
        other.revoke(owner("ada"), round * 10 + 1).await.expect("revoked");
        assert!(home.peek(session).is_none());
        assert!(matches!(home.read(session).await, Err(ReadError::Revoked)));
        assert!(matches!(other.read(session).await, Err(ReadError::Revoked)));
    }
}
