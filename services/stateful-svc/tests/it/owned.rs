//! The index of a user's sessions, in all stores. Most tests run once for each store.

use std::time::Duration;

use futures_util::future::join_all;
use proto_contracts::stateful::MAX_OWNED_SESSIONS;
use proto_contracts::{AffinityKey, SessionDigest};
use stateful_svc::domain::caller::Caller;
use stateful_svc::domain::digest::ShortDigest;
use stateful_svc::domain::keyed::Keyed;
use stateful_svc::domain::owned::{OwnedPageSize, OwnedSession};
use stateful_svc::store::owned::{end_all, list};
use stateful_svc::store::{Access, CreateError, SessionStore};

use crate::behaviour::{assert_gone, each_store};
use crate::hybrid_store::hybrid;
use crate::redis_server::RedisServer;
use crate::subject::{LIFETIME, Subject, any_session, as_subject, data, key, message, redis_store};

each_store! {
    a_user_lists_its_own_sessions_in_pages(LIFETIME);
    ended_sessions_are_not_listed(LIFETIME);
    being_listed_does_not_reset_the_idle_time(LIFETIME);
    all_sessions_of_a_user_end_and_no_others(LIFETIME);
    a_user_has_a_limited_number_of_live_sessions(LIFETIME);
}

pub(crate) fn owner(name: &str) -> ShortDigest {
    match Caller::subject("issuer", name) {
        Caller::Subject(owner) => owner,
        Caller::Anonymous => unreachable!("a subject"),
    }
}

/// Creates sessions of this user.
async fn create(store: &dyn SessionStore, name: &str, count: usize) -> Vec<Access> {
    let sessions = (0..count).map(|_| as_subject(any_session(), name)).collect::<Vec<_>>();
    for session in &sessions {
        store.create(*session, data("{}"), None).await.expect("created");
    }
    sessions
}

/// All live sessions of a user, read in pages of this size.
async fn all(store: &dyn SessionStore, name: &str, size: u32) -> Vec<OwnedSession> {
    let size = OwnedPageSize::parse(size).expect("a size");
    let (mut sessions, mut after) = (Vec::new(), None);
    loop {
        let mut page = list(store, owner(name), after, size).await.expect("listed");
        assert!(page.sessions.len() <= size.sessions());
        sessions.append(&mut page.sessions);
        after = page.next;
        if after.is_none() {
            return sessions;
        }
    }
}

fn sorted(mut sessions: Vec<(SessionDigest, AffinityKey)>) -> Vec<(SessionDigest, AffinityKey)> {
    sessions.sort_unstable_by_key(|(session, _)| *session);
    sessions
}

fn digests(sessions: &[OwnedSession]) -> Vec<(SessionDigest, AffinityKey)> {
    sorted(sessions.iter().map(|owned| (owned.entry.session, owned.entry.affinity)).collect())
}

fn expected(sessions: &[Access]) -> Vec<(SessionDigest, AffinityKey)> {
    sorted(sessions.iter().map(|access| (access.session, access.affinity)).collect())
}

async fn a_user_lists_its_own_sessions_in_pages(subject: Subject) {
    let store = &*subject.store;
    store.create(any_session(), data("{}"), None).await.expect("created");
    let ada = create(store, "ada", 5).await;
    create(store, "bob", 2).await;
    store.append(ada[3], message("hi"), None).await.expect("appended");
    for size in [1, 2, 5, 100] {
        let listed = all(store, "ada", size).await;
        assert_eq!(digests(&listed), expected(&ada), "in pages of {size}");
        assert!(listed.windows(2).all(|pair| pair[0].created_at >= pair[1].created_at));
        for owned in &listed {
            let session = ada.iter().find(|access| access.session == owned.entry.session);
            let session = store.read(*session.expect("one of hers")).await.expect("found").value;
            assert_eq!(
                (owned.created_at, owned.last_activity, owned.message_count, owned.version),
                (session.created_at, session.last_activity, session.message_count, session.version)
            );
            assert!(owned.expires_at <= session.expires_at);
        }
    }
    assert_eq!(all(store, "carol", 1).await, []);

    // A session that another user tries to create is not that user's.
    let stolen = as_subject(ada[0], "carol");
    assert!(matches!(store.create(stolen, data("{}"), None).await, Err(CreateError::Exists)));
    assert_eq!(all(store, "carol", 1).await, []);
}

async fn ended_sessions_are_not_listed(subject: Subject) {
    let store = &*subject.store;
    let ada = create(store, "ada", 4).await;
    store.delete(ada[0]).await.expect("deleted");
    assert_eq!(digests(&all(store, "ada", 1).await), expected(&ada[1..]));
    assert_eq!(store.owned(owner("ada")).await.expect("read").len(), 3);

    subject.advance(LIFETIME.idle - Duration::from_secs(5)).await;
    store.append(ada[1], message("hi"), None).await.expect("appended");
    subject.advance(Duration::from_secs(10)).await;
    assert_eq!(digests(&all(store, "ada", 1).await), expected(&ada[1..2]));
}

async fn being_listed_does_not_reset_the_idle_time(subject: Subject) {
    let store = &*subject.store;
    let ada = create(store, "ada", 1).await;
    for _ in 0..3 {
        assert_eq!(all(store, "ada", 1).await.len(), 1);
        subject.advance(LIFETIME.idle / 3 - Duration::from_secs(1)).await;
    }
    subject.advance(Duration::from_secs(4)).await;
    assert_eq!(all(store, "ada", 1).await, []);
    assert_gone(store, ada[0]).await;
}

async fn all_sessions_of_a_user_end_and_no_others(subject: Subject) {
    let store = &*subject.store;
    let (ada, bob) = (create(store, "ada", 20).await, create(store, "bob", 1).await);
    let anonymous = any_session();
    store.create(anonymous, data("{}"), None).await.expect("created");
    assert_eq!(end_all(store, owner("ada")).await.expect("ended"), 20);
    assert_eq!(end_all(store, owner("ada")).await.expect("nothing left"), 0);
    for session in ada {
        assert_gone(store, session).await;
        store.delete(session).await.expect("a tombstone is left");
    }
    assert_eq!(all(store, "ada", 5).await, []);
    store.read(bob[0]).await.expect("not hers");
    store.read(anonymous).await.expect("nobody's");
}

async fn a_user_has_a_limited_number_of_live_sessions(subject: Subject) {
    let store = &*subject.store;
    let sessions: Vec<_> =
        (0..MAX_OWNED_SESSIONS).map(|_| as_subject(any_session(), "ada")).collect();
    let given = data("{}");
    let keyed = Some(Keyed::create(key(0), &given));
    for some in sessions.chunks(50) {
        let creates = some.iter().map(|session| store.create(*session, given.clone(), keyed));
        for created in join_all(creates).await {
            created.expect("created");
        }
    }
    let further = as_subject(any_session(), "ada");
    for _ in 0..2 {
        let rejected = store.create(further, given.clone(), None).await;
        assert!(matches!(rejected, Err(CreateError::TooMany)), "{rejected:?}");
    }
    assert_gone(store, further).await;
    store.create(sessions[7], given.clone(), keyed).await.expect("repeated");
    create(store, "bob", 1).await;

    store.delete(sessions[0]).await.expect("deleted");
    store.create(further, given.clone(), None).await.expect("there is room again");
    assert_eq!(digests(&all(store, "ada", 100).await).len(), MAX_OWNED_SESSIONS);
}

#[tokio::test]
async fn the_entry_of_a_create_that_was_cut_off_is_skipped_and_later_removed() {
    let server = RedisServer::start().await;
    let store = redis_store(&server, LIFETIME);
    let ada = create(&store, "ada", 1).await[0];
    let mut redis = server.connect().await.expect("a connection");
    let index = format!("owned:{{{}}}", owner("ada"));
    let other = any_session();
    let mut add_entry = async |added: i64| {
        let value = format!("{added}:{}", other.affinity);
        let () = ::redis::cmd("HSET")
            .arg(&index)
            .arg(other.session.to_string())
            .arg(value)
            .query_async(&mut redis)
            .await
            .expect("added");
    };
    let now = jiff::Timestamp::now().as_millisecond();
    add_entry(now).await;
    assert_eq!(digests(&all(&store, "ada", 1).await), expected(&[ada]));
    assert_eq!(store.owned(owner("ada")).await.expect("read").len(), 2, "it may still come");
    add_entry(now - 120_000).await;
    assert_eq!(digests(&all(&store, "ada", 1).await), expected(&[ada]));
    assert_eq!(store.owned(owner("ada")).await.expect("read").len(), 1);
}

#[tokio::test]
async fn the_end_of_all_sessions_drops_the_copies_of_other_instances_first() {
    let server = RedisServer::start().await;
    let (home, other) = (hybrid(&server, LIFETIME).await, hybrid(&server, LIFETIME).await);
    let ada = create(&home, "ada", 10).await;
    assert!(ada.iter().all(|session| home.peek(*session).is_some()), "hot at home");
    assert_eq!(end_all(&other, owner("ada")).await.expect("ended"), 10);
    assert!(ada.iter().all(|session| home.peek(*session).is_none()));
}

#[tokio::test]
async fn the_index_holds_no_id_and_expires_after_its_sessions() {
    let server = RedisServer::start().await;
    let store = redis_store(&server, LIFETIME);
    let ada = create(&store, "ada", 2).await;
    let mut redis = server.connect().await.expect("a connection");
    let index = format!("owned:{{{}}}", owner("ada"));
    let fields: std::collections::HashMap<String, String> =
        ::redis::cmd("HGETALL").arg(&index).query_async(&mut redis).await.expect("the index");
    for session in &ada {
        let value = &fields[&session.session.to_string()];
        let (added, affinity) = value.split_once(':').expect("two parts");
        assert_eq!(affinity, session.affinity.to_string());
        assert!(added.parse::<i64>().is_ok(), "{value}");
    }
    let ttl: i64 = ::redis::cmd("PTTL").arg(&index).query_async(&mut redis).await.expect("a time");
    assert!(ttl > LIFETIME.absolute.as_millis() as i64, "{ttl}");
    assert_eq!(end_all(&store, owner("ada")).await.expect("ended"), 2);
    let exists: bool =
        ::redis::cmd("EXISTS").arg(&index).query_async(&mut redis).await.expect("a reply");
    assert!(!exists, "an empty index is gone");
}
