//! What every store does for those whom a session does not belong to: nothing. Each test runs once for each store.

use std::time::Duration;

use stateful_svc::domain::keyed::Keyed;
use stateful_svc::domain::session_tag::Expected;
use stateful_svc::store::{CreateError, DeleteError};

use crate::behaviour::{all_messages, assert_gone, each_store, say};
use crate::subject::{LIFETIME, Subject, any_session, as_subject, data, key, message, patch};

each_store! {
    a_session_of_somebody_is_nobody_elses(LIFETIME);
    a_session_of_nobody_is_everybodys(LIFETIME);
    strangers_do_not_keep_a_session_alive(LIFETIME);
    a_tombstone_is_its_owners(LIFETIME);
}

async fn a_session_of_somebody_is_nobody_elses(subject: Subject) {
    let (store, anonymous) = (&subject.store, any_session());
    let (ada, bob) = (as_subject(anonymous, "ada"), as_subject(anonymous, "bob"));
    let (given, hi) = (data("{}"), message("hi"));
    let keyed = Keyed::create(key(0), &given);
    store.create(ada, given.clone(), Some(keyed)).await.expect("created");
    store.append(ada, hi.clone(), Some(Keyed::append(key(1), &hi.text))).await.expect("taken");
    for stranger in [bob, anonymous] {
        assert_gone(&**store, stranger).await;
        assert!(matches!(store.delete(stranger).await, Err(DeleteError::NotFound)));
        let again = store.create(stranger, given.clone(), Some(keyed)).await;
        assert!(matches!(again, Err(CreateError::Exists)), "{again:?}");
    }
    let said = say(&**store, ada, 2).await;
    assert_eq!(all_messages(&**store, ada, 50).await[1..], said);
    store.patch(ada, &patch("{}"), &Expected::Any, None).await.expect("patched");
    store.delete(ada).await.expect("deleted");
}

async fn a_session_of_nobody_is_everybodys(subject: Subject) {
    let (store, anonymous) = (&subject.store, any_session());
    let ada = as_subject(anonymous, "ada");
    store.create(anonymous, data("{}"), None).await.expect("created");
    say(&**store, ada, 1).await;
    say(&**store, anonymous, 1).await;
    assert_eq!(all_messages(&**store, ada, 50).await.len(), 2, "using it does not make it hers");
    store.delete(ada).await.expect("deleted");
    store.delete(anonymous).await.expect("deleted before");
}

async fn strangers_do_not_keep_a_session_alive(subject: Subject) {
    let (store, anonymous) = (&subject.store, any_session());
    let (ada, bob) = (as_subject(anonymous, "ada"), as_subject(anonymous, "bob"));
    store.create(ada, data("{}"), None).await.expect("created");
    for _ in 0..3 {
        subject.advance(LIFETIME.idle / 3 - Duration::from_secs(1)).await;
        assert_gone(&**store, bob).await;
    }
    subject.advance(Duration::from_secs(3)).await;
    assert_gone(&**store, ada).await;
}

async fn a_tombstone_is_its_owners(subject: Subject) {
    let (store, anonymous) = (&subject.store, any_session());
    let (ada, bob) = (as_subject(anonymous, "ada"), as_subject(anonymous, "bob"));
    store.create(ada, data("{}"), None).await.expect("created");
    store.delete(ada).await.expect("deleted");
    store.delete(ada).await.expect("deleted before");
    for stranger in [bob, anonymous] {
        assert!(matches!(store.delete(stranger).await, Err(DeleteError::NotFound)));
        assert!(matches!(store.create(stranger, data("{}"), None).await, Err(CreateError::Deleted)));
    }
}
