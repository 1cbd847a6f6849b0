//! The stores when a reply of Redis is lost together with its connection.

use stateful_svc::domain::keyed::Keyed;
use stateful_svc::domain::session_tag::Expected;
use stateful_svc::store::{AppendError, PatchError, SessionStore, StoreFault, WriteOutcome};

use crate::redis_proxy::RedisProxy;
use crate::redis_server::RedisServer;
use crate::subject::{LIFETIME, any_session, data, key, message, patch, redis_store};

#[tokio::test]
async fn an_operation_whose_reply_is_lost_is_applied_once_and_succeeds() {
    let server = RedisServer::start().await;
    let proxy = RedisProxy::to(&server);
    let (store, beside) = (proxy.store(), redis_store(&server, LIFETIME));
    let (given, change) = (data(r#"{"name":"Ada"}"#), patch(r#"{"a":1}"#));
    for keyed in [false, true] {
        let id = any_session();
        // Loads the scripts into Redis, and opens a connection.
        let warm = any_session();
        store.create(warm, data("{}"), None).await.expect("created");
        store.append(warm, message("hi"), None).await.expect("appended");
        store.patch(warm, &change, &Expected::Any, None).await.expect("patched");
        store.delete(warm).await.expect("deleted");

        proxy.cut_at_once_after(0);
        let key_of_create = keyed.then(|| Keyed::create(key(1), &given));
        let created = store.create(id, given.clone(), key_of_create).await.expect("created");
        assert!(
            proxy.was_cut()
                && created.outcome == WriteOutcome::Applied
                && created.value.version == 1
        );
        let found = beside.read(id).await.expect("found").value;
        assert_eq!(
            (found.nonce, found.created_at),
            (created.value.nonce, created.value.created_at)
        );

        for number in 1..=3 {
            proxy.cut_at_once_after(0);
            let hi = message("hi");
            let key_of_append = keyed.then(|| Keyed::append(key(10 + number), &hi.text));
            let taken = store.append(id, hi.clone(), key_of_append).await.expect("appended");
            assert!(proxy.was_cut() && taken.outcome == WriteOutcome::Applied, "{taken:?}");
            assert_eq!((taken.value.message.number, taken.value.version), (number, 1 + number));
            let page = beside
                .history(id, Default::default(), Default::default())
                .await
                .expect("found")
                .value;
            assert_eq!(
                (page.message_count, page.messages.last()),
                (number, Some(&taken.value.message))
            );
        }

        proxy.cut_at_once_after(0);
        assert_eq!(store.read(id).await.expect("found").value.version, 4);
        assert!(proxy.was_cut());

        // The reply to the patch's read comes first.
        proxy.cut_at_once_after(1);
        let key_of_patch = keyed.then(|| Keyed::patch(key(20), &change));
        let patched =
            store.patch(id, &change, &Expected::Any, key_of_patch).await.expect("patched");
        assert!(proxy.was_cut() && patched.outcome == WriteOutcome::Applied);
        let found = beside.read(id).await.expect("found").value;
        assert_eq!(
            (found.version, found.nonce, &found.client_data),
            (5, patched.value.nonce, &patched.value.client_data)
        );

        proxy.cut_at_once_after(0);
        store.delete(id).await.expect("deleted");
        assert!(proxy.was_cut() && beside.read(id).await.is_err());
    }
}

#[tokio::test]
async fn a_lost_reply_hidden_by_later_writes_stays_unknown() {
    let server = RedisServer::start().await;
    let proxy = RedisProxy::to(&server);
    let (store, beside) = (proxy.store(), redis_store(&server, LIFETIME));
    let id = any_session();
    store.create(id, data("{}"), None).await.expect("created");
    store.append(id, message("first"), None).await.expect("appended");
    store.patch(id, &patch("{}"), &Expected::Any, None).await.expect("patched");

    let (is_done, go_on) = proxy.cut_after(0);
    let others = async {
        is_done.await.expect("it was sent");
        beside.append(id, message("of another client"), None).await.expect("appended");
        go_on.send(()).expect("the proxy waits");
    };
    let (taken, ()) = tokio::join!(store.append(id, message("mine"), None), others);
    assert!(matches!(taken, Err(AppendError::Store(StoreFault::NoResponse(_)))), "{taken:?}");
    let page =
        beside.history(id, Default::default(), Default::default()).await.expect("found").value;
    let texts: Vec<_> = page.messages.iter().map(|message| message.text.as_str()).collect();
    assert_eq!(texts, ["first", "mine", "of another client"]);

    // A keyed write is recognized by its key, whatever came later.
    let (is_done, go_on) = proxy.cut_after(0);
    let others = async {
        is_done.await.expect("it was sent");
        beside.append(id, message("once more"), None).await.expect("appended");
        go_on.send(()).expect("the proxy waits");
    };
    let mine = message("mine, under a key");
    let keyed = Some(Keyed::append(key(1), &mine.text));
    let (taken, ()) = tokio::join!(store.append(id, mine, keyed), others);
    assert_eq!(taken.expect("appended").value.message.number, 4);

    // The reply to the patch's read comes first.
    let (is_done, go_on) = proxy.cut_after(1);
    let others = async {
        is_done.await.expect("it was sent");
        beside.patch(id, &patch(r#"{"a":2}"#), &Expected::Any, None).await.expect("patched");
        go_on.send(()).expect("the proxy waits");
    };
    let mine = patch(r#"{"a":1}"#);
    let (patched, ()) = tokio::join!(store.patch(id, &mine, &Expected::Any, None), others);
    assert!(matches!(patched, Err(PatchError::Store(StoreFault::NoResponse(_)))), "{patched:?}");
    let found = beside.read(id).await.expect("found").value;
    assert_eq!(found.client_data.as_str(), r#"{"a":2}"#, "the later patch is not overwritten");
}
