//! Conditional writes in all stores. Each test runs once for each store.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use stateful_svc::domain::cursor::{Cursor, PageSize};
use stateful_svc::domain::keyed::Keyed;
use stateful_svc::domain::session_tag::{Expected, SessionTag, WriteNonce};
use stateful_svc::store::{AppendError, DeleteError, PatchError, WriteOutcome};

use crate::behaviour::{at_once, each_store};
use crate::subject::{LIFETIME, Subject, any_session, data, key, message, patch};

each_store! {
    each_write_makes_a_new_tag_and_no_read_does(LIFETIME);
    a_patch_for_another_state_changes_nothing(LIFETIME);
    a_message_or_a_delete_for_another_state_changes_nothing(LIFETIME);
    of_patches_for_one_state_one_is_applied(LIFETIME);
    nothing_comes_between_the_expected_state_and_the_patch(LIFETIME);
}

async fn each_write_makes_a_new_tag_and_no_read_does(subject: Subject) {
    let (store, id) = (&subject.store, any_session());
    let mut tags = vec![store.create(id, data("{}"), None).await.expect("created").value.tag()];
    for write in 0..4 {
        let read = store.read(id).await.expect("found").value.tag();
        store.history(id, Cursor::START, PageSize::default()).await.expect("found");
        assert_eq!(store.read(id).await.expect("found").value.tag(), read);
        assert_eq!(Some(&read), tags.last());
        if write % 2 == 0 {
            store.append(id, message("hi"), None).await.expect("appended");
            tags.push(store.read(id).await.expect("found").value.tag());
        } else {
            // A patch without effect is a write, too.
            tags.push(
                store
                    .patch(id, &patch("{}"), &Expected::Any, None)
                    .await
                    .expect("patched")
                    .value
                    .tag(),
            );
        }
    }
    let versions: Vec<_> = tags.iter().map(|tag| tag.version).collect();
    assert_eq!(versions, [1, 2, 3, 4, 5]);
    let other = any_session();
    let twin = store.create(other, data("{}"), None).await.expect("created").value.tag();
    assert!(
        twin.version == tags[0].version && twin != tags[0],
        "the same version by another write: {twin}"
    );
}

async fn a_patch_for_another_state_changes_nothing(subject: Subject) {
    let (store, id) = (&subject.store, any_session());
    let created = store.create(id, data("{}"), None).await.expect("created").value.tag();
    let change = patch(r#"{"a":1}"#);
    let now = store
        .patch(id, &change, &Expected::OneOf(vec![created]), None)
        .await
        .expect("patched")
        .value
        .tag();
    let twin = SessionTag { nonce: WriteNonce::random(), ..now };
    let later = SessionTag { version: now.version + 1, ..now };
    for wrong in [vec![], vec![created], vec![twin], vec![later], vec![created, twin, later]] {
        let rejected = store.patch(id, &patch(r#"{"a":2}"#), &Expected::OneOf(wrong), None).await;
        assert!(matches!(rejected, Err(PatchError::PreconditionFailed)), "{rejected:?}");
    }
    let read = store.read(id).await.expect("found").value;
    assert_eq!((read.tag(), read.client_data.as_str()), (now, r#"{"a":1}"#));
    store.append(id, message("hi"), None).await.expect("appended");
    let rejected = store.patch(id, &change, &Expected::OneOf(vec![now]), None).await;
    assert!(
        matches!(rejected, Err(PatchError::PreconditionFailed)),
        "a message is a write, too: {rejected:?}"
    );
    let read = store.read(id).await.expect("found").value.tag();
    store
        .patch(id, &change, &Expected::OneOf(vec![created, read]), None)
        .await
        .expect("one matching tag suffices");
}

async fn a_message_or_a_delete_for_another_state_changes_nothing(subject: Subject) {
    let (store, id) = (&subject.store, any_session());
    let created = store.create(id, data("{}"), None).await.expect("created").value.tag();
    let (first, only_after_create) = (message("first"), Expected::OneOf(vec![created]));
    let keyed = Some(Keyed::append(key(1), &first.text));
    let appended = store
        .append_if(id, first.clone(), &only_after_create, keyed)
        .await
        .expect("appended")
        .value;
    let now = store.read(id).await.expect("found").value;
    assert_eq!(
        appended.tag(),
        Some(now.tag()),
        "the result of an append has the tag of the new state"
    );

    for wrong in [
        only_after_create.clone(),
        Expected::OneOf(vec![]),
        Expected::NoneOf(vec![created, now.tag()]),
    ] {
        let rejected = store.append_if(id, message("second"), &wrong, None).await;
        assert!(matches!(rejected, Err(AppendError::PreconditionFailed)), "{rejected:?}");
        let rejected = store
            .append_if(id, message("second"), &wrong, Some(Keyed::append(key(2), &first.text)))
            .await;
        assert!(matches!(rejected, Err(AppendError::PreconditionFailed)), "{rejected:?}");
        let rejected = store.delete_if(id, &wrong).await;
        assert!(matches!(rejected, Err(DeleteError::PreconditionFailed)), "{rejected:?}");
    }
    assert_eq!(store.read(id).await.expect("found").value.tag(), now.tag(), "nothing was changed");
    // A repetition is recognized before its precondition is evaluated.
    let again = store.append_if(id, first, &only_after_create, keyed).await.expect("replayed");
    assert_eq!((again.outcome, &again.value), (WriteOutcome::Replayed, &appended));

    store
        .delete_if(id, &Expected::OneOf(vec![created, now.tag()]))
        .await
        .expect("one matching tag suffices");
    store.delete_if(id, &only_after_create).await.expect("it is deleted already");
    assert!(matches!(
        store.append_if(id, message("x"), &Expected::Any, None).await,
        Err(AppendError::NotFound)
    ));
}

async fn of_patches_for_one_state_one_is_applied(subject: Subject) {
    let (store, id) = (&subject.store, any_session());
    let mut tag = store.create(id, data("{}"), None).await.expect("created").value.tag();
    for round in 0..10 {
        let racer = |n: u64| {
            let (store, expected) = (Arc::clone(store), Expected::OneOf(vec![tag]));
            async move {
                store.patch(id, &patch(&format!(r#"{{"winner":{n}}}"#)), &expected, None).await
            }
        };
        let (made, rejected): (Vec<_>, Vec<_>) =
            at_once((0..8).map(racer)).await.into_iter().partition(Result::is_ok);
        assert_eq!(made.len(), 1, "round {round}: {made:?}");
        assert!(
            rejected.iter().all(|rejected| matches!(rejected, Err(PatchError::PreconditionFailed))),
            "{rejected:?}"
        );
        let winner = made.into_iter().flatten().next().expect("one").value;
        let read = store.read(id).await.expect("found").value;
        assert_eq!((read.tag(), &read.client_data), (winner.tag(), &winner.client_data));
        tag = winner.tag();
    }
}

async fn nothing_comes_between_the_expected_state_and_the_patch(subject: Subject) {
    let (store, id) = (&subject.store, any_session());
    store.create(id, data("{}"), None).await.expect("created");
    let done = Arc::new(AtomicBool::new(false));
    let speak = || {
        let (store, done) = (Arc::clone(store), Arc::clone(&done));
        async move {
            // Until the end, or until the session is full.
            while !done.load(Ordering::Relaxed)
                && store.append(id, message("hi"), None).await.is_ok()
            {
                tokio::task::yield_now().await;
            }
        }
    };
    let patch_on = async {
        let (mut made, mut conflicts) = (0, 0);
        for _ in 0..300 {
            let tag = store.read(id).await.expect("found").value.tag();
            match store.patch(id, &patch("{}"), &Expected::OneOf(vec![tag]), None).await {
                Ok(patched) => {
                    assert_eq!(patched.value.version, tag.version + 1, "a message came between");
                    made += 1;
                }
                Err(PatchError::PreconditionFailed) => conflicts += 1,
                Err(error) => panic!("{error:?}"),
            }
        }
        done.store(true, Ordering::Relaxed);
        (made, conflicts)
    };
    let ((made, conflicts), _) = tokio::join!(patch_on, at_once([speak(), speak()]));
    assert_eq!(made + conflicts, 300);
}
