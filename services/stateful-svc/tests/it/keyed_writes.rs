//! Idempotency keys in all stores. Each test runs once for each store.

use std::sync::Arc;
use std::time::Duration;

use proto_contracts::stateful::{MAX_CLIENT_DATA_BYTES, MAX_MESSAGES};
use proto_contracts::{AffinityKey, SessionId};
use stateful_svc::domain::caller::Caller;
use stateful_svc::domain::client_data::{ClientData, MergePatch};
use stateful_svc::domain::keyed::{Keyed, MAX_KEPT_PATCHES};
use stateful_svc::domain::message::NewMessage;
use stateful_svc::domain::session_ids::IdReservation;
use stateful_svc::domain::session_tag::Expected;
use stateful_svc::store::{Access, AppendError, CreateError, PatchError, Source, WriteOutcome};

use crate::behaviour::{all_messages, append_messages, at_once, each_store};
use crate::subject::{LIFETIME, Subject, any_session, data, key, message, patch};

each_store! {
    a_repeated_write_is_applied_once_with_equal_results(LIFETIME);
    a_key_belongs_to_one_request(LIFETIME);
    a_key_is_looked_up_before_other_checks(LIFETIME);
    concurrent_repetitions_are_applied_once(LIFETIME);
    of_concurrent_requests_with_one_key_one_is_applied(LIFETIME);
    a_rejected_write_may_be_repeated_with_its_key(LIFETIME);
    the_last_patches_are_kept(LIFETIME);
    a_repeated_create_does_not_recreate_a_session(LIFETIME);
    keys_expire_with_their_session(LIFETIME);
    one_key_is_valid_in_two_sessions(LIFETIME);
    the_first_reserved_id_stays(LIFETIME);
    a_reservation_outlives_what_was_created_under_it(LIFETIME);
}

fn create_key(number: u64, data: &ClientData) -> Option<Keyed> {
    Some(Keyed::create(key(number), data))
}

fn append_key(number: u64, message: &NewMessage) -> Option<Keyed> {
    Some(Keyed::append(key(number), &message.text))
}

fn patch_key(number: u64, patch: &MergePatch) -> Option<Keyed> {
    Some(Keyed::patch(key(number), patch))
}

async fn a_repeated_write_is_applied_once_with_equal_results(subject: Subject) {
    let (store, id) = (&subject.store, any_session());
    let given = data(r#"{"name":"Ada","a":[],"b":":1:2:"}"#);
    let create = store.create(id, given.clone(), create_key(0, &given)).await.expect("created");
    assert_eq!((create.outcome, create.source), (WriteOutcome::Applied, Source::Created));

    let (one, two) = (message("1:2:3 “é”"), message("two\n\u{0}"));
    let first = store.append(id, one.clone(), append_key(1, &one)).await.expect("appended");
    let second = store.append(id, two.clone(), append_key(2, &two)).await.expect("appended");
    let change = patch(r#"{"name":"Éva:\n","c":{"d":1e5}}"#);
    let changed =
        store.patch(id, &change, &Expected::Any, patch_key(3, &change)).await.expect("patched");
    let back = patch(r#"{"c":null}"#);
    let changed_back =
        store.patch(id, &back, &Expected::Any, patch_key(4, &back)).await.expect("patched");
    assert!(
        [first.outcome, second.outcome, changed.outcome, changed_back.outcome]
            .iter()
            .all(|outcome| *outcome == WriteOutcome::Applied)
    );
    append_messages(&**store, id, 3).await;
    store.patch(id, &patch(r#"{"name":null,"z":1}"#), &Expected::Any, None).await.expect("patched");
    let before = store.read(id).await.expect("found").value;

    for _ in 0..2 {
        let again =
            store.create(id, given.clone(), create_key(0, &given)).await.expect("created before");
        assert_eq!((again.outcome, again.value), (WriteOutcome::Replayed, create.value.clone()));
        // Each repetition generates a new message id; the first one is kept.
        for (text, number, result) in [("1:2:3 “é”", 1, &first), ("two\n\u{0}", 2, &second)] {
            let repeated = message(text);
            let again = store
                .append(id, repeated.clone(), append_key(number, &repeated))
                .await
                .expect("replayed");
            assert_eq!((again.outcome, &again.value), (WriteOutcome::Replayed, &result.value));
        }
        for (patch, number, result) in [(&change, 3, &changed), (&back, 4, &changed_back)] {
            let again = store
                .patch(id, patch, &Expected::Any, patch_key(number, patch))
                .await
                .expect("patched before");
            assert_eq!((again.outcome, &again.value), (WriteOutcome::Replayed, &result.value));
        }
    }
    let after = store.read(id).await.expect("found").value;
    assert_eq!(
        (after.tag(), after.client_data, after.message_count),
        (before.tag(), before.client_data, 5)
    );
    assert_eq!(after.last_activity, before.last_activity, "nothing was written");
}

async fn a_key_belongs_to_one_request(subject: Subject) {
    let (store, id) = (&subject.store, any_session());
    let (given, other) = (data("{}"), data(r#"{"a":1}"#));
    let (hi, bye) = (message("hi"), message("bye"));
    let (nothing, change) = (patch("{}"), patch(r#"{"a":1}"#));
    store.create(id, given.clone(), create_key(0, &given)).await.expect("created");
    store.append(id, hi.clone(), append_key(1, &hi)).await.expect("appended");
    store.patch(id, &nothing, &Expected::Any, patch_key(2, &nothing)).await.expect("patched");
    let before = store.read(id).await.expect("found").value.tag();

    assert!(matches!(
        store.create(id, other.clone(), create_key(0, &other)).await,
        Err(CreateError::KeyReused)
    ));
    for number in 0..3 {
        let rejected = store.append(id, bye.clone(), append_key(number, &bye)).await;
        assert!(matches!(rejected, Err(AppendError::KeyReused)), "{rejected:?}");
        let rejected = store.patch(id, &change, &Expected::Any, patch_key(number, &change)).await;
        assert!(matches!(rejected, Err(PatchError::KeyReused)), "{rejected:?}");
    }
    assert_eq!(store.read(id).await.expect("found").value.tag(), before, "nothing was written");
}

async fn a_key_is_looked_up_before_other_checks(subject: Subject) {
    let (store, id) = (&subject.store, any_session());
    let start = store.create(id, data("{}"), None).await.expect("created").value.tag();
    let half = "x".repeat(MAX_CLIENT_DATA_BYTES / 2);
    let (change, hi) = (patch(&format!(r#"{{"a":"{half}"}}"#)), message("hi"));
    let expected = Expected::OneOf(vec![start]);
    let result = store.patch(id, &change, &expected, patch_key(0, &change)).await.expect("patched");
    // As new requests they would be rejected: the state has changed, the data is too large, the
    // session is full.
    let grow = patch(&format!(r#"{{"a":1,"b":"{half}"}}"#));
    store.patch(id, &grow, &Expected::Any, None).await.expect("patched");
    let again =
        store.patch(id, &change, &expected, patch_key(0, &change)).await.expect("patched before");
    assert_eq!((again.outcome, again.value), (WriteOutcome::Replayed, result.value));

    let result = store.append(id, hi.clone(), append_key(1, &hi)).await.expect("appended");
    append_messages(&**store, id, MAX_MESSAGES - 1).await;
    assert!(matches!(
        store.append(id, hi.clone(), append_key(2, &hi)).await,
        Err(AppendError::Full)
    ));
    let again = store.append(id, hi.clone(), append_key(1, &hi)).await.expect("replayed");
    assert_eq!((again.outcome, again.value), (WriteOutcome::Replayed, result.value));
}

async fn concurrent_repetitions_are_applied_once(subject: Subject) {
    let (store, id) = (&subject.store, any_session());
    let given = data(r#"{"name":"Ada"}"#);
    let create = || {
        let (store, given) = (Arc::clone(store), given.clone());
        async move {
            store
                .create(id, given.clone(), create_key(0, &given))
                .await
                .expect("created, now or before")
        }
    };
    let results = at_once((0..8).map(|_| create())).await;
    assert_eq!(results.iter().filter(|result| result.outcome == WriteOutcome::Applied).count(), 1);
    assert!(results.iter().all(|result| result.value == results[0].value));

    let append = || {
        let store = Arc::clone(store);
        async move {
            let hi = message("hi");
            store.append(id, hi.clone(), append_key(1, &hi)).await.expect("applied or replayed")
        }
    };
    let results = at_once((0..8).map(|_| append())).await;
    assert_eq!(results.iter().filter(|result| result.outcome == WriteOutcome::Applied).count(), 1);
    assert!(results.iter().all(|result| result.value == results[0].value));
    assert_eq!(all_messages(&**store, id, 50).await, [results[0].value.message.clone()]);

    let change = |number| {
        let store = Arc::clone(store);
        async move {
            let change = patch(r#"{"a":1}"#);
            store
                .patch(id, &change, &Expected::Any, patch_key(number, &change))
                .await
                .expect("patched, now or before")
        }
    };
    let results = at_once([2, 2, 2, 3, 3, 3].map(change)).await;
    assert_eq!(results.iter().filter(|result| result.outcome == WriteOutcome::Applied).count(), 2);
    for twins in [&results[..3], &results[3..]] {
        assert!(twins.iter().all(|result| result.value == twins[0].value), "{twins:?}");
    }
    assert_eq!(store.read(id).await.expect("found").value.version, 4);
}

async fn of_concurrent_requests_with_one_key_one_is_applied(subject: Subject) {
    let (store, id) = (&subject.store, any_session());
    store.create(id, data("{}"), None).await.expect("created");
    for round in 0..200 {
        let append = || {
            let (store, hi) = (Arc::clone(store), message("hi"));
            async move {
                store
                    .append(id, hi.clone(), append_key(round, &hi))
                    .await
                    .map(|result| result.outcome)
            }
        };
        let change = || {
            let (store, change) = (Arc::clone(store), patch(r#"{"a":1}"#));
            let patched = async move {
                store.patch(id, &change, &Expected::Any, patch_key(round, &change)).await
            };
            async move { patched.await.map(|result| result.outcome) }
        };
        let before = store.read(id).await.expect("found").value.version;
        let (append, change) = tokio::join!(tokio::spawn(append()), tokio::spawn(change()));
        match (append.expect("no panic"), change.expect("no panic")) {
            (Ok(WriteOutcome::Applied), Err(PatchError::KeyReused))
            | (Err(AppendError::KeyReused), Ok(WriteOutcome::Applied)) => {}
            both => panic!("round {round}: {both:?}"),
        }
        assert_eq!(store.read(id).await.expect("found").value.version, before + 1);
    }
}

async fn a_rejected_write_may_be_repeated_with_its_key(subject: Subject) {
    let (store, id) = (&subject.store, any_session());
    store.create(id, data("{}"), None).await.expect("created");
    let change = patch(r#"{"a":1}"#);
    let stale = Expected::OneOf(Vec::new());
    for _ in 0..2 {
        let rejected = store.patch(id, &change, &stale, patch_key(0, &change)).await;
        assert!(matches!(rejected, Err(PatchError::PreconditionFailed)), "{rejected:?}");
    }
    let applied =
        store.patch(id, &change, &Expected::Any, patch_key(0, &change)).await.expect("patched");
    assert_eq!(applied.outcome, WriteOutcome::Applied);

    let (other, hi) = (any_session(), message("hi"));
    for _ in 0..2 {
        assert!(matches!(
            store.append(other, hi.clone(), append_key(0, &hi)).await,
            Err(AppendError::NotFound)
        ));
    }
    store.create(other, data("{}"), None).await.expect("created");
    assert_eq!(
        store.append(other, hi.clone(), append_key(0, &hi)).await.expect("appended").outcome,
        WriteOutcome::Applied
    );
}

async fn the_last_patches_are_kept(subject: Subject) {
    let (store, id) = (&subject.store, any_session());
    let (given, hi) = (data("{}"), message("hi"));
    store.create(id, given.clone(), create_key(1000, &given)).await.expect("created");
    store.append(id, hi.clone(), append_key(1001, &hi)).await.expect("appended");
    let kept = MAX_KEPT_PATCHES as u64;
    let change = |number: u64| patch(&format!(r#"{{"n":{number}}}"#));
    let mut results = Vec::new();
    for number in 0..=kept {
        let change = change(number);
        results.push(
            store
                .patch(id, &change, &Expected::Any, patch_key(number, &change))
                .await
                .expect("patched")
                .value,
        );
    }
    for number in [1, 2, kept / 2, kept] {
        let change = change(number);
        let again = store
            .patch(id, &change, &Expected::Any, patch_key(number, &change))
            .await
            .expect("patched before");
        assert_eq!(
            (again.outcome, &again.value),
            (WriteOutcome::Replayed, &results[number as usize]),
            "patch {number}"
        );
    }
    let forgotten = store
        .patch(id, &change(0), &Expected::Any, patch_key(0, &change(0)))
        .await
        .expect("patched");
    assert_eq!(forgotten.outcome, WriteOutcome::Applied, "older ones are applied again");
    // Patches evict only patches.
    assert_eq!(
        store.create(id, given.clone(), create_key(1000, &given)).await.expect("found").outcome,
        WriteOutcome::Replayed
    );
    assert_eq!(
        store.append(id, hi.clone(), append_key(1001, &hi)).await.expect("appended").outcome,
        WriteOutcome::Replayed
    );
}

async fn a_repeated_create_does_not_recreate_a_session(subject: Subject) {
    let (store, id) = (&subject.store, any_session());
    let (given, hi) = (data("{}"), message("hi"));
    store.create(id, given.clone(), create_key(0, &given)).await.expect("created");
    store.append(id, hi.clone(), append_key(1, &hi)).await.expect("appended");
    store.delete(id).await.expect("deleted");
    let late = || {
        let (store, given, hi) = (Arc::clone(store), given.clone(), hi.clone());
        async move {
            let created = store.create(id, given.clone(), create_key(0, &given)).await;
            assert!(matches!(created, Err(CreateError::Deleted)), "{created:?}");
            assert!(matches!(
                store.append(id, hi.clone(), append_key(1, &hi)).await,
                Err(AppendError::NotFound)
            ));
            assert!(matches!(store.append(id, hi.clone(), None).await, Err(AppendError::NotFound)));
            store.delete(id).await.expect("a repeated delete succeeds");
        }
    };
    at_once((0..8).map(|_| late())).await;
    assert_eq!(store.live_sessions(), 0);
}

async fn keys_expire_with_their_session(subject: Subject) {
    let (store, id) = (&subject.store, any_session());
    let (given, hi) = (data("{}"), message("hi"));
    for _ in 0..2 {
        let create = store.create(id, given.clone(), create_key(0, &given)).await.expect("created");
        assert_eq!((create.outcome, create.value.message_count), (WriteOutcome::Applied, 0));
        let append = store.append(id, hi.clone(), append_key(1, &hi)).await.expect("appended");
        assert_eq!((append.outcome, append.value.message.number), (WriteOutcome::Applied, 1));
        subject.advance(LIFETIME.idle).await;
    }
}

async fn one_key_is_valid_in_two_sessions(subject: Subject) {
    let (store, hi) = (&subject.store, message("hi"));
    for id in [any_session(), any_session()] {
        store.create(id, data("{}"), None).await.expect("created");
        assert_eq!(
            store.append(id, hi.clone(), append_key(0, &hi)).await.expect("appended").outcome,
            WriteOutcome::Applied
        );
    }
}

async fn the_first_reserved_id_stays(subject: Subject) {
    let reservation = IdReservation::new(Caller::Anonymous, key(0));
    let reserve = || {
        let (store, id) = (Arc::clone(&subject.store), SessionId::generate(AffinityKey::random()));
        async move {
            store.reserve_id(reservation.name(), reservation.seal(&id)).await.expect("reserved")
        }
    };
    let ids = at_once((0..8).map(|_| reserve())).await;
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    assert_eq!(reserve().await, ids[0]);

    let other = IdReservation::new(Caller::Anonymous, key(1));
    let id = SessionId::generate(AffinityKey::random());
    let reserved = subject.store.reserve_id(other.name(), other.seal(&id)).await.expect("reserved");
    assert_eq!(other.open(&reserved), id);
}

/// A repetition at any time finds the session or its tombstone.
async fn a_reservation_outlives_what_was_created_under_it(subject: Subject) {
    let store = &subject.store;
    let reservation = IdReservation::new(Caller::Anonymous, key(0));
    let reserve = async || {
        let mine = reservation.seal(&SessionId::generate(AffinityKey::random()));
        reservation.open(&store.reserve_id(reservation.name(), mine).await.expect("reserved"))
    };
    let first = reserve().await;
    // The create failed; a much later repetition succeeds.
    let almost = LIFETIME.absolute - Duration::from_secs(600);
    subject.advance(almost).await;
    assert_eq!(reserve().await, first);
    let session = Access { session: first.digest(), ..any_session() };
    let given = data("{}");
    store.create(session, given.clone(), create_key(0, &given)).await.expect("created");
    for _ in 0..100 {
        subject.advance(almost / 100).await;
        store.read(session).await.expect("in use");
    }
    store.delete(session).await.expect("deleted");
    subject.advance(almost).await;
    let late = store.create(session, given.clone(), create_key(0, &given)).await;
    assert!(matches!(late, Err(CreateError::Deleted)), "{late:?}");
    assert_eq!(reserve().await, first, "kept as long as the tombstone");
    // The TTL counts from the last repetition.
    subject.advance(LIFETIME.reservation()).await;
    assert_ne!(reserve().await, first);
}
