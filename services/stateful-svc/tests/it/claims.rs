//! Claims of sessions without owner, in all stores.

use futures_util::future::join_all;
use proto_contracts::SessionId;
use stateful_svc::domain::caller::Caller;
use stateful_svc::domain::digest::ShortDigest;
use stateful_svc::domain::keyed::Keyed;
use stateful_svc::domain::owned::OwnedPageSize;
use stateful_svc::domain::session_ids::IdSeal;
use stateful_svc::domain::session_tag::Expected;
use stateful_svc::store::owned::list;
use stateful_svc::store::{
    Access, AdoptError, Adopted, Adoption, AppendError, CreateError, DeleteError, SessionStore,
    WriteOutcome, Written,
};

use crate::behaviour::{all_messages, append_messages, assert_gone, each_store};
use crate::hybrid_store::hybrid;
use crate::redis_server::RedisServer;
use crate::subject::{LIFETIME, Subject, any_session, as_subject, data, key, message};

each_store! {
    a_claimed_session_lives_under_its_new_id_alone(LIFETIME);
    a_repeated_claim_returns_the_same_id(LIFETIME);
    concurrent_claims_leave_one_id(LIFETIME);
    a_session_of_another_or_in_another_state_is_not_claimed(LIFETIME);
}

fn user(access: Access) -> ShortDigest {
    match access.caller {
        Caller::Subject(user) => user,
        Caller::Anonymous => unreachable!("a user"),
    }
}

/// Claims the session for this access's user. Returns access to the new id, too.
pub(crate) async fn claim(
    store: &dyn SessionStore,
    access: Access,
    keyed: Option<Keyed>,
) -> Result<Written<Access>, AdoptError> {
    // The old id does not matter to a store.
    let seal = IdSeal::of_claim(&SessionId::from_parts(access.affinity, [7; 16]), user(access));
    let new = SessionId::generate(access.affinity);
    let adoption = Adoption { session: new.digest(), sealed: seal.seal(&new) };
    let Written { value, source, outcome } =
        store.adopt(access, &adoption, &Expected::Any, keyed).await?;
    let session = match value {
        Adopted::Under(sealed) => seal.open(&sealed).digest(),
        Adopted::Already => access.session,
    };
    Ok(Written { value: Access { session, ..access }, source, outcome })
}

pub(crate) async fn listed(
    store: &dyn SessionStore,
    access: Access,
) -> Vec<proto_contracts::SessionDigest> {
    let page = list(store, user(access), None, OwnedPageSize::default()).await.expect("listed");
    page.sessions.iter().map(|owned| owned.entry.session).collect()
}

async fn a_claimed_session_lives_under_its_new_id_alone(subject: Subject) {
    let (store, old) = (&*subject.store, any_session());
    let ada = as_subject(old, "ada");
    let given = data(r#"{"name":"Ada"}"#);
    let create_key = Some(Keyed::create(key(0), &given));
    store.create(old, given.clone(), create_key).await.expect("created");
    let messages = append_messages(store, old, 3).await;
    let before = store.read(old).await.expect("found").value;

    let mut changes = store.watch(old.session).await.expect("watched");
    let claimed = claim(store, ada, None).await.expect("claimed");
    changes.changed().await;
    assert_eq!(claimed.outcome, WriteOutcome::Applied);
    let new = claimed.value;
    assert_ne!(new.session, old.session);
    for caller in [old, ada, as_subject(old, "bob")] {
        assert_gone(store, caller).await;
        assert!(matches!(store.delete(caller).await, Err(DeleteError::NotFound)));
    }
    let again = store.create(old, given.clone(), create_key).await;
    assert!(matches!(again, Err(CreateError::Deleted)), "{again:?}");
    for stranger in [Access { caller: Caller::Anonymous, ..new }, as_subject(new, "bob")] {
        assert_gone(store, stranger).await;
    }

    let after = store.read(new).await.expect("found").value;
    assert_eq!((after.version, after.message_count), (before.version + 1, 3));
    assert!(after.nonce != before.nonce && after.client_data == given);
    assert_eq!(after.created_at, before.created_at);
    assert_eq!(all_messages(store, new, 50).await, messages);
    append_messages(store, new, 1).await;
    assert_eq!(listed(store, ada).await, [new.session]);
    store.delete(new).await.expect("deleted");
    assert_eq!(listed(store, ada).await, []);
}

async fn a_repeated_claim_returns_the_same_id(subject: Subject) {
    let (store, old) = (&*subject.store, any_session());
    let ada = as_subject(old, "ada");
    store.create(old, data("{}"), None).await.expect("created");
    let keyed = Some(Keyed::claim(key(1)));
    let new = claim(store, ada, keyed).await.expect("claimed").value;
    for keyed in [keyed, None, Some(Keyed::claim(key(2)))] {
        let again = claim(store, ada, keyed).await.expect("claimed before");
        assert_eq!((again.value, again.outcome), (new, WriteOutcome::Replayed));
    }
    let bob = claim(store, as_subject(old, "bob"), keyed).await;
    assert!(matches!(bob, Err(AdoptError::NotFound)), "{bob:?}");
    // Under its new id it is hers already.
    assert_eq!(claim(store, new, None).await.expect("hers").value, new);
    assert_eq!(listed(store, ada).await, [new.session]);
    // The key of the claim is used up.
    let hi = message("hi");
    let reused = store.append(new, hi.clone(), Some(Keyed::append(key(1), &hi.text))).await;
    assert!(matches!(reused, Err(AppendError::KeyReused)), "{reused:?}");
}

async fn concurrent_claims_leave_one_id(subject: Subject) {
    let store = &*subject.store;
    for _ in 0..20 {
        let old = any_session();
        store.create(old, data("{}"), None).await.expect("created");
        let callers =
            ["ada", "bob", "ada", "carol", "bob", "ada"].map(|name| as_subject(old, name));
        let claims = callers.iter().map(|caller| claim(store, *caller, None));
        let claims = join_all(claims).await;
        let new: Vec<_> = claims.iter().filter_map(|claim| claim.as_ref().ok()).collect();
        let applied = new.iter().filter(|claim| claim.outcome == WriteOutcome::Applied).count();
        assert_eq!(applied, 1, "{claims:?}");
        assert!(new.iter().all(|claim| claim.value == new[0].value), "{claims:?}");
        store.read(new[0].value).await.expect("it lives");
        assert_gone(store, old).await;
    }
}

async fn a_session_of_another_or_in_another_state_is_not_claimed(subject: Subject) {
    let store = &*subject.store;
    let old = any_session();
    let ada = as_subject(old, "ada");
    let never = claim(store, ada, None).await;
    assert!(matches!(never, Err(AdoptError::NotFound)), "{never:?}");
    store.create(as_subject(old, "bob"), data("{}"), None).await.expect("created");
    let bobs = claim(store, ada, None).await;
    assert!(matches!(bobs, Err(AdoptError::NotFound)), "{bobs:?}");
    assert_eq!(store.owned(user(ada)).await.expect("read"), [], "no entry was left");

    let free = any_session();
    let hi = message("hi");
    store.create(free, data("{}"), None).await.expect("created");
    store.append(free, hi.clone(), Some(Keyed::append(key(3), &hi.text))).await.expect("appended");
    let new = SessionId::generate(free.affinity);
    let seal = IdSeal::of_claim(&new, user(ada));
    let adoption = Adoption { session: new.digest(), sealed: seal.seal(&new) };
    let ada = as_subject(free, "ada");
    let none = Expected::OneOf(Vec::new());
    let stale = store.adopt(ada, &adoption, &none, None).await;
    assert!(matches!(stale, Err(AdoptError::PreconditionFailed)), "{stale:?}");
    let reused = store.adopt(ada, &adoption, &Expected::Any, Some(Keyed::claim(key(3)))).await;
    assert!(matches!(reused, Err(AdoptError::KeyReused)), "{reused:?}");
    assert_eq!(store.owned(user(ada)).await.expect("read"), []);
    store.read(free).await.expect("unharmed");
    store.delete(free).await.expect("deleted");
    let gone = claim(store, ada, None).await;
    assert!(matches!(gone, Err(AdoptError::NotFound)), "{gone:?}");
}

#[tokio::test]
async fn a_claim_elsewhere_drops_the_copy_of_the_old_id_first() {
    let server = RedisServer::start().await;
    let (home, other) = (hybrid(&server, LIFETIME).await, hybrid(&server, LIFETIME).await);
    for _ in 0..5 {
        let old = any_session();
        home.create(old, data("{}"), None).await.expect("created");
        assert!(home.peek(old).is_some(), "hot at home");
        let new = claim(&other, as_subject(old, "ada"), None).await.expect("claimed").value;
        assert!(home.peek(old).is_none(), "dropped before the response");
        assert_gone(&home, old).await;
        home.read(new).await.expect("found");
        assert!(home.peek(new).is_some());
    }
}

#[tokio::test]
async fn a_claim_that_was_cut_off_is_completed_by_its_repetition() {
    let server = RedisServer::start().await;
    let (home, other) = (hybrid(&server, LIFETIME).await, hybrid(&server, LIFETIME).await);
    for pause in 0..40 {
        let old = any_session();
        let ada = as_subject(old, "ada");
        home.create(old, data("{}"), None).await.expect("created");
        // The instance dies after some steps, between which it waits for Redis.
        tokio::select! {
            biased;
            _ = claim(&other, ada, None) => {}
            () = async { for _ in 0..pause { tokio::task::yield_now().await } } => {}
        }
        let new = claim(&home, ada, None).await.expect("claimed").value;
        assert!(home.peek(old).is_none());
        assert_gone(&home, old).await;
        home.read(new).await.expect("it lives");
        assert!(listed(&home, ada).await.contains(&new.session));
    }
    let ada = as_subject(any_session(), "ada");
    assert_eq!(listed(&home, ada).await.len(), 40, "each claim left one id");
}
