//! The behaviour that all stores have in common. Each test runs once for each store.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use proto_contracts::stateful::{MAX_CLIENT_DATA_BYTES, MAX_MESSAGES};
use stateful_svc::domain::client_data::InvalidClientData;
use stateful_svc::domain::cursor::{Cursor, PageSize};
use stateful_svc::domain::lifetime::Lifetime;
use stateful_svc::domain::message::Message;
use stateful_svc::domain::session_tag::Expected;
use stateful_svc::store::{
    Access, AppendError, CreateError, DeleteError, PatchError, ReadError, SessionStore, Source,
};

use crate::subject::{LIFETIME, Subject, any_session, data, message, patch};

macro_rules! each_store {
    ($($behaviour:ident($lifetime:expr);)*) => {
        mod memory {
            use super::*;
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $behaviour() {
                super::$behaviour(Subject::memory($lifetime).await).await;
            })*
        }

        mod redis {
            use super::*;
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $behaviour() {
                super::$behaviour(Subject::redis($lifetime).await).await;
            })*
        }

        mod hybrid {
            use super::*;
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $behaviour() {
                super::$behaviour(Subject::hybrid($lifetime).await).await;
            })*
        }
    };
}

pub(crate) use each_store;

const SHORT: Lifetime =
    Lifetime { idle: Duration::from_secs(600), absolute: Duration::from_secs(1000) };

each_store! {
    a_session_starts_as_it_was_created(LIFETIME);
    an_unknown_session_is_not_found(LIFETIME);
    messages_are_numbered_and_kept_with_their_replies(LIFETIME);
    history_is_read_in_pages(LIFETIME);
    history_grows_while_it_is_read(LIFETIME);
    a_patch_merges_and_later_replies_use_the_result(LIFETIME);
    a_rejected_patch_changes_nothing(LIFETIME);
    a_delete_is_final(LIFETIME);
    every_use_resets_the_idle_time(LIFETIME);
    the_absolute_limit_ends_a_session_in_use(SHORT);
    a_full_session_rejects_messages(LIFETIME);
    concurrent_messages_get_one_order(LIFETIME);
    concurrent_patches_are_all_kept(LIFETIME);
    messages_do_not_conflict_with_a_patch(LIFETIME);
    a_delete_wins_over_concurrent_messages(LIFETIME);
}

async fn a_session_starts_as_it_was_created(subject: Subject) {
    let (store, id) = (&subject.store, any_session());
    let given = data(r#"{"name":"Ada","list":[],"big":123456789012345678901234567890}"#);
    let created = store.create(id, given.clone(), None).await.expect("created");
    assert_eq!(created.source, Source::Created);
    assert_eq!((created.value.version, created.value.message_count), (1, 0));
    assert_eq!(created.value.client_data, given);
    assert_eq!(created.value.created_at, created.value.last_activity);
    assert_eq!(created.value.expires_at, created.value.created_at + LIFETIME.idle);

    let read = store.read(id).await.expect("found").value;
    assert!(read.expires_at >= created.value.expires_at);
    assert_eq!(
        stateful_svc::domain::session::Session { expires_at: created.value.expires_at, ..read },
        created.value
    );

    assert!(matches!(store.create(id, data("{}"), None).await, Err(CreateError::Exists)));
    assert_eq!(store.read(id).await.expect("untouched").value.client_data, given);
}

async fn an_unknown_session_is_not_found(subject: Subject) {
    let id = any_session();
    assert_gone(&*subject.store, id).await;
    assert!(matches!(subject.store.delete(id).await, Err(DeleteError::NotFound)));
}

async fn messages_are_numbered_and_kept_with_their_replies(subject: Subject) {
    let (store, id) = (&subject.store, any_session());
    store.create(id, data(r#"{"name":"Ada"}"#), None).await.expect("created");
    let long = "ä 🚲\u{0}\"'{}: ".repeat(1000);
    let mut messages = Vec::new();
    for (i, text) in ["hi", "1:2:3:x", &long, "bye"].into_iter().enumerate() {
        let new = message(text);
        let appended = store.append(id, new.clone(), None).await.expect("appended").value;
        assert_eq!((appended.message.id, &appended.message.text), (new.id, &new.text));
        assert_eq!((appended.message.number, appended.version), (i as u64 + 1, i as u64 + 2));
        messages.push(appended.message);
    }
    assert_eq!(messages[0].reply, "Hello Ada. This is message 1 of our conversation.");
    assert_eq!(
        messages[1].reply,
        "Hello Ada. This is message 2 of our conversation. It began with “hi”."
    );
    assert!(
        messages[2].reply.ends_with("It began with “hi”; before this you said “1:2:3:x”."),
        "{}",
        messages[2].reply
    );
    assert!(
        messages[3].reply.ends_with("…”.") && messages[3].reply.len() < 300,
        "{}",
        messages[3].reply
    );
    assert_eq!(all_messages(&**store, id, 50).await, messages);

    let session = store.read(id).await.expect("found").value;
    assert_eq!((session.message_count, session.version), (4, 5));
    assert_eq!(session.last_activity, messages[3].created_at);
}

async fn history_is_read_in_pages(subject: Subject) {
    let (store, id) = (&subject.store, any_session());
    store.create(id, data("{}"), None).await.expect("created");
    for at in [Cursor::START, Cursor::END] {
        let empty = store.history(id, at, PageSize::default()).await.expect("found").value;
        assert_eq!((empty.messages.len(), empty.message_count), (0, 0));
    }
    let messages = append_messages(&**store, id, 7).await;
    for size in [1, 2, 3, 6, 7, 8, 200] {
        assert_eq!(all_messages(&**store, id, size).await, messages, "in pages of {size}");
    }
    let page = async |at, size| {
        let size = PageSize::parse(size).expect("a size");
        store.history(id, at, size).await.expect("found").value.messages
    };
    assert_eq!(page(Cursor::After(9), 50).await, []);
    assert_eq!(page(Cursor::Before(1), 50).await, []);
    for size in [1, 2, 3, 6, 7, 8, 200] {
        let (mut at, mut all) = (Cursor::END, Vec::new());
        loop {
            let mut messages = page(at, size).await;
            let Some(first) = messages.first() else { break };
            at = Cursor::before(first.number).expect("fits");
            messages.append(&mut all);
            all = messages;
        }
        assert_eq!(all, messages, "backwards in pages of {size}");
    }
}

async fn history_grows_while_it_is_read(subject: Subject) {
    let (store, id) = (&subject.store, any_session());
    store.create(id, data("{}"), None).await.expect("created");
    let mut messages = append_messages(&**store, id, 5).await;
    let size = PageSize::parse(2).expect("a size");
    let (mut read, mut after) = (Vec::new(), Cursor::START);
    for _ in 0..4 {
        let page = store.history(id, after, size).await.expect("found").value;
        assert_eq!(page.message_count, messages.len() as u64);
        read.extend(page.messages);
        after = Cursor::after(read.len() as u64).expect("fits");
        messages
            .push(store.append(id, message("more"), None).await.expect("appended").value.message);
    }
    assert_eq!(read, messages[..8]);
}

async fn a_patch_merges_and_later_replies_use_the_result(subject: Subject) {
    let (store, id) = (&subject.store, any_session());
    store.create(id, data(r#"{"name":"Ada","a":{"b":1,"c":[]}}"#), None).await.expect("created");
    let mut messages =
        vec![store.append(id, message("one"), None).await.expect("appended").value.message];
    let change = patch(r#"{"name":"Éva","a":{"b":null,"d":98765432109876543210}}"#);
    let patched = store.patch(id, &change, &Expected::Any, None).await.expect("patched").value;
    assert_eq!(
        patched.client_data,
        data(r#"{"name":"Éva","a":{"c":[],"d":98765432109876543210}}"#)
    );
    assert_eq!((patched.version, patched.message_count), (3, 1));
    assert_eq!(store.read(id).await.expect("found").value.client_data, patched.client_data);
    messages.push(store.append(id, message("two"), None).await.expect("appended").value.message);
    store.patch(id, &patch(r#"{"name":null}"#), &Expected::Any, None).await.expect("patched");
    messages.push(store.append(id, message("three"), None).await.expect("appended").value.message);

    let greetings: Vec<_> =
        messages.iter().map(|m| m.reply.split('.').next().unwrap_or_default()).collect();
    assert_eq!(greetings, ["Hello Ada", "Hello Éva", "Hello"]);
    assert_eq!(
        all_messages(&**store, id, 1).await,
        messages,
        "the history keeps the names at the time of each message"
    );
}

async fn a_rejected_patch_changes_nothing(subject: Subject) {
    let (store, id) = (&subject.store, any_session());
    let half = "x".repeat(MAX_CLIENT_DATA_BYTES / 2);
    store.create(id, data(&format!(r#"{{"a":"{half}"}}"#)), None).await.expect("created");
    let before = store.read(id).await.expect("found").value;
    let rejected =
        store.patch(id, &patch(&format!(r#"{{"b":"{half}"}}"#)), &Expected::Any, None).await;
    assert!(
        matches!(rejected, Err(PatchError::Invalid(InvalidClientData::TooLarge { .. }))),
        "{rejected:?}"
    );
    let after = store.read(id).await.expect("found").value;
    assert_eq!((after.client_data, after.version), (before.client_data, 1));
}

async fn a_delete_is_final(subject: Subject) {
    let (store, id) = (&subject.store, any_session());
    store.create(id, data("{}"), None).await.expect("created");
    append_messages(&**store, id, 3).await;
    store.delete(id).await.expect("deleted");
    assert_gone(&**store, id).await;
    assert_eq!(store.live_sessions(), 0);
    assert!(matches!(store.create(id, data("{}"), None).await, Err(CreateError::Deleted)));
    store.delete(id).await.expect("a repeated delete succeeds");

    subject.advance(LIFETIME.absolute - Duration::from_secs(10)).await;
    store.delete(id).await.expect("until the tombstone expires");
    assert!(matches!(store.create(id, data("{}"), None).await, Err(CreateError::Deleted)));
    subject.advance(Duration::from_secs(10)).await;
    assert!(matches!(store.delete(id).await, Err(DeleteError::NotFound)));
    store.create(id, data("{}"), None).await.expect("created again");
    assert_eq!(all_messages(&**store, id, 50).await, [], "the old messages are gone");
}

async fn every_use_resets_the_idle_time(subject: Subject) {
    let almost = LIFETIME.idle - Duration::from_secs(10);
    for operation in ["read", "append", "patch", "history"] {
        let (store, id) = (&subject.store, any_session());
        store.create(id, data("{}"), None).await.expect("created");
        append_messages(&**store, id, 1).await;
        for _ in 0..3 {
            subject.advance(almost).await;
            let used = match operation {
                "read" => store.read(id).await.is_ok(),
                "append" => store.append(id, message("x"), None).await.is_ok(),
                "patch" => store.patch(id, &patch("{}"), &Expected::Any, None).await.is_ok(),
                _ => store.history(id, Cursor::START, PageSize::default()).await.is_ok(),
            };
            assert!(used, "{operation} within the idle time");
        }
        assert!(
            !all_messages(&**store, id, 50).await.is_empty(),
            "the messages expire with the session"
        );
        subject.advance(LIFETIME.idle).await;
        assert_gone(&**store, id).await;
    }
}

async fn the_absolute_limit_ends_a_session_in_use(subject: Subject) {
    let (store, id) = (&subject.store, any_session());
    store.create(id, data("{}"), None).await.expect("created");
    for _ in 0..9 {
        subject.advance(Duration::from_secs(110)).await;
        let session = store.read(id).await.expect("found").value;
        assert!(session.expires_at <= session.created_at + SHORT.absolute);
    }
    let session = store.read(id).await.expect("found").value;
    assert_eq!(session.expires_at, session.created_at + SHORT.absolute);
    subject.advance(Duration::from_secs(10)).await;
    assert_gone(&**store, id).await;
}

async fn a_full_session_rejects_messages(subject: Subject) {
    let (store, id) = (&subject.store, any_session());
    store.create(id, data("{}"), None).await.expect("created");
    at_once((0..20).map(|_| spawnable_append(store, id, MAX_MESSAGES / 20))).await;
    assert!(matches!(store.append(id, message("x"), None).await, Err(AppendError::Full)));
    let session = store.read(id).await.expect("found").value;
    assert_eq!((session.message_count, session.version), (MAX_MESSAGES, MAX_MESSAGES + 1));
    let last = store
        .history(id, Cursor::after(MAX_MESSAGES - 1).expect("fits"), PageSize::default())
        .await;
    assert_eq!(last.expect("found").value.messages[0].number, MAX_MESSAGES);
    store
        .patch(id, &patch("{\"a\":1}"), &Expected::Any, None)
        .await
        .expect("a full session can be patched");
}

async fn concurrent_messages_get_one_order(subject: Subject) {
    let (store, id) = (&subject.store, any_session());
    store.create(id, data(r#"{"name":"Ada"}"#), None).await.expect("created");
    let speakers = at_once((0..8).map(|_| spawnable_append(store, id, 25))).await;
    for own in &speakers {
        assert!(own.is_sorted_by_key(|message| message.number), "sequential messages are in order");
    }
    let mut all: Vec<_> = speakers.into_iter().flatten().collect();
    all.sort_by_key(|message| message.number);
    assert!(all.iter().map(|message| message.number).eq(1..=200), "no gap and no duplicate");
    assert_eq!(all_messages(&**store, id, 33).await, all, "ids, order and replies as returned");
}

async fn concurrent_patches_are_all_kept(subject: Subject) {
    let (store, id) = (&subject.store, any_session());
    store.create(id, data("{}"), None).await.expect("created");
    let patches =
        (0..12).map(|i| {
            let store = Arc::clone(store);
            async move {
                store.patch(id, &patch(&format!("{{\"m{i}\":{i}}}")), &Expected::Any, None).await
            }
        });
    for patched in at_once(patches).await {
        patched.expect(
            "one of the concurrent patches wins each round, and there are more rounds than patches",
        );
    }
    let session = store.read(id).await.expect("found").value;
    assert_eq!(session.version, 13);
    let members: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(session.client_data.as_str()).expect("JSON");
    assert_eq!(members.len(), 12, "{members:?}");
    assert!((0..12).all(|i| members[&format!("m{i}")] == i));
}

async fn messages_do_not_conflict_with_a_patch(subject: Subject) {
    let (store, id) = (&subject.store, any_session());
    store.create(id, data("{}"), None).await.expect("created");
    let patches = async {
        for i in 0..50 {
            store
                .patch(id, &patch(&format!("{{\"n\":{i}}}")), &Expected::Any, None)
                .await
                .expect("patched");
        }
    };
    tokio::join!(patches, at_once((0..2).map(|_| spawnable_append(store, id, 100))));
    let session = store.read(id).await.expect("found").value;
    assert_eq!((session.version, session.message_count), (251, 200));
    assert_eq!(session.client_data.as_str(), "{\"n\":49}");
}

async fn a_delete_wins_over_concurrent_messages(subject: Subject) {
    let (store, id) = (&subject.store, any_session());
    store.create(id, data("{}"), None).await.expect("created");
    let speak = || {
        let store = Arc::clone(store);
        async move {
            let mut taken = 0;
            while store.append(id, message("x"), None).await.is_ok() {
                taken += 1;
            }
            taken
        }
    };
    let delete = async {
        while store.read(id).await.expect("found").value.message_count < 20 {
            tokio::task::yield_now().await;
        }
        store.delete(id).await.expect("deleted");
    };
    let (taken, ()) = tokio::join!(at_once([speak(), speak()]), delete);
    assert!(taken.iter().sum::<u32>() >= 20, "both end, since the session is deleted");
    assert_gone(&**store, id).await;
    subject.advance(LIFETIME.absolute).await;
    store.create(id, data("{}"), None).await.expect("created again");
    assert_eq!(all_messages(&**store, id, 50).await, [], "no late message recreated its list");
}

/// Runs all of them in parallel, like requests of different clients.
pub(crate) async fn at_once<F>(operations: impl IntoIterator<Item = F>) -> Vec<F::Output>
where
    F: Future<Output: Send> + Send + 'static,
{
    let running: Vec<_> = operations.into_iter().map(tokio::spawn).collect();
    join_all(running).await.into_iter().map(|done| done.expect("no panic")).collect()
}

/// [`append_messages`] for a spawned task.
fn spawnable_append(
    store: &Arc<dyn SessionStore>,
    id: Access,
    count: u64,
) -> impl Future<Output = Vec<Message>> + use<> {
    let store = Arc::clone(store);
    async move { append_messages(&*store, id, count).await }
}

/// Posts messages sequentially.
pub(crate) async fn append_messages(
    store: &dyn SessionStore,
    id: Access,
    count: u64,
) -> Vec<Message> {
    let mut messages = Vec::new();
    for i in 0..count {
        messages.push(
            store
                .append(id, message(&format!("message {i}")), None)
                .await
                .expect("appended")
                .value
                .message,
        );
    }
    messages
}

/// The whole history, read in pages of this size.
pub(crate) async fn all_messages(store: &dyn SessionStore, id: Access, size: u32) -> Vec<Message> {
    let size = PageSize::parse(size).expect("a size");
    let mut all = Vec::new();
    loop {
        let after = Cursor::after(all.len() as u64).expect("fits");
        let page = store.history(id, after, size).await.expect("found").value;
        assert!(page.messages.len() <= size.messages() as usize);
        all.extend(page.messages);
        if all.len() as u64 == page.message_count {
            return all;
        }
    }
}

/// Asserts that no operation finds the session.
pub(crate) async fn assert_gone(store: &dyn SessionStore, id: Access) {
    assert!(matches!(store.read(id).await, Err(ReadError::NotFound)));
    assert!(matches!(store.append(id, message("x"), None).await, Err(AppendError::NotFound)));
    assert!(matches!(
        store.patch(id, &patch("{}"), &Expected::Any, None).await,
        Err(PatchError::NotFound)
    ));
    let history = store.history(id, Cursor::START, PageSize::default()).await;
    assert!(matches!(history, Err(ReadError::NotFound)));
}
