//! Ownership of sessions in all stores. Each test runs once for each store.

use std::time::Duration;

use stateful_svc::domain::keyed::Keyed;
use stateful_svc::domain::session_tag::Expected;
use stateful_svc::store::{CreateError, DeleteError};

use crate::behaviour::{all_messages, append_messages, assert_gone, each_store};
use crate::subject::{LIFETIME, Subject, any_session, as_subject, data, key, message, patch};

each_store! {
    an_owned_session_is_not_found_by_other_callers(LIFETIME);
    any_caller_may_use_a_session_without_owner(LIFETIME);
    requests_of_other_callers_do_not_reset_the_idle_time(LIFETIME);
    a_tombstone_has_the_owner_of_its_session(LIFETIME);
}

async fn an_owned_session_is_not_found_by_other_callers(subject: Subject) {
    let (store, anonymous) = (&subject.store, any_session());
    let (ada, bob) = (as_subject(anonymous, "ada"), as_subject(anonymous, "bob"));
    let (given, hi) = (data("{}"), message("hi"));
    let keyed = Keyed::create(key(0), &given);
    store.create(ada, given.clone(), Some(keyed)).await.expect("created");
    store.append(ada, hi.clone(), Some(Keyed::append(key(1), &hi.text))).await.expect("appended");
    for stranger in [bob, anonymous] {
        assert_gone(&**store, stranger).await;
        assert!(matches!(store.delete(stranger).await, Err(DeleteError::NotFound)));
        let again = store.create(stranger, given.clone(), Some(keyed)).await;
        assert!(matches!(again, Err(CreateError::Exists)), "{again:?}");
    }
    let messages = append_messages(&**store, ada, 2).await;
    assert_eq!(all_messages(&**store, ada, 50).await[1..], messages);
    store.patch(ada, &patch("{}"), &Expected::Any, None).await.expect("patched");
    store.delete(ada).await.expect("deleted");
}

async fn any_caller_may_use_a_session_without_owner(subject: Subject) {
    let (store, anonymous) = (&subject.store, any_session());
    let ada = as_subject(anonymous, "ada");
    store.create(anonymous, data("{}"), None).await.expect("created");
    append_messages(&**store, ada, 1).await;
    append_messages(&**store, anonymous, 1).await;
    assert_eq!(
        all_messages(&**store, ada, 50).await.len(),
        2,
        "using it does not change its owner"
    );
    store.delete(ada).await.expect("deleted");
    store.delete(anonymous).await.expect("deleted before");
}

async fn requests_of_other_callers_do_not_reset_the_idle_time(subject: Subject) {
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

async fn a_tombstone_has_the_owner_of_its_session(subject: Subject) {
    let (store, anonymous) = (&subject.store, any_session());
    let (ada, bob) = (as_subject(anonymous, "ada"), as_subject(anonymous, "bob"));
    store.create(ada, data("{}"), None).await.expect("created");
    store.delete(ada).await.expect("deleted");
    store.delete(ada).await.expect("deleted before");
    for stranger in [bob, anonymous] {
        assert!(matches!(store.delete(stranger).await, Err(DeleteError::NotFound)));
        assert!(matches!(
            store.create(stranger, data("{}"), None).await,
            Err(CreateError::Deleted)
        ));
    }
}
