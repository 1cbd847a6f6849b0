//! The hybrid store under faults. Guarantee 3: a client that may know of a version never reads an
//! older one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use proto_contracts::stateful::Session;
use proto_contracts::{Endpoint, SessionId};
use service_kit::testing::Response;
use stateful_svc::store::{
    Access, AppendError, ReadError, Routing, SessionStore, Source, StoreFault,
};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::app::{path, send_with};
use crate::hybrid_store::hybrid;
use crate::program::Program;
use crate::redis_server::RedisServer;
use crate::subject::{LIFETIME, any_session, data, message, redis_store};

const STICKY: [(&str, &str); 1] = [("X-Session-Affinity", "required")];

/// An instance in its own process, which can be stopped and killed.
fn program(server: &RedisServer) -> Program {
    Program::start(&[("SESSION_STORE", "hybrid"), ("SESSION_REDIS_URL", &server.url())])
}

/// A session that is hot in the program.
async fn hot_session(program: &Program) -> SessionId {
    let created = send_with(program.addr, "POST", "/api/v1/stateful/sessions", &STICKY, "{}").await;
    let id = created.json::<Session>().expect("a session").session_id;
    let start = Instant::now();
    while read(program, &id).await.header("x-session-source") != "memory" {
        assert!(start.elapsed() < Duration::from_secs(10), "it is never hot");
    }
    id
}

async fn read(program: &Program, id: &SessionId) -> Response {
    send_with(program.addr, "GET", &path(Endpoint::Session, id), &STICKY, "").await
}

fn sticky(id: &SessionId) -> Access {
    Access { session: id.digest(), ..any_session() }
}

#[tokio::test]
async fn a_paused_home_delays_a_handover_and_serves_no_stale_copy() {
    let server = RedisServer::start().await;
    let home = program(&server);
    let id = hot_session(&home).await;
    let other = hybrid(&server, LIFETIME).await;
    // An instance relies on the absence of a lease only after it has used this Redis for longer
    // than that.
    sleep(Duration::from_millis(1200)).await;
    home.freeze();
    let start = Instant::now();
    other.append(sticky(&id), message("while it is paused"), None).await.expect("appended");
    let waited = start.elapsed();
    assert!(
        (Duration::from_millis(1000)..Duration::from_millis(3000)).contains(&waited),
        "{waited:?}"
    );
    let start = Instant::now();
    let second = any_session();
    other.create(second, data("{}"), None).await.expect("created");
    assert!(start.elapsed() < Duration::from_millis(500), "other sessions need not wait");

    // It resumes with its copy, and with requests that arrived during the pause.
    let early = read(&home, &id);
    let wake = async {
        sleep(Duration::from_millis(50)).await;
        home.resume();
    };
    let (early, ()) = tokio::join!(early, wake);
    assert_eq!((early.status, early.json::<Session>().expect("a session").version), (200, 2));
    assert_eq!(read(&home, &id).await.json::<Session>().expect("a session").version, 2);
}

#[tokio::test]
async fn a_gracefully_stopped_home_delays_no_handover() {
    let server = RedisServer::start().await;
    let home = program(&server);
    let id = hot_session(&home).await;
    let other = hybrid(&server, LIFETIME).await;
    sleep(Duration::from_millis(1200)).await;
    home.stop();
    let start = Instant::now();
    other.append(sticky(&id), message("hi"), None).await.expect("appended");
    assert!(start.elapsed() < Duration::from_millis(500), "{:?}", start.elapsed());
}

#[tokio::test]
async fn an_interrupted_handover_is_completed_by_the_next_operation() {
    let server = RedisServer::start().await;
    let home = program(&server);
    let id = hot_session(&home).await;
    home.freeze();
    {
        let taker = hybrid(&server, LIFETIME).await;
        let half = timeout(
            Duration::from_millis(200),
            taker.append(sticky(&id), message("unknown"), None),
        )
        .await;
        assert!(half.is_err(), "the home cannot have responded: {half:?}");
    }
    // The write was applied, and its writer is gone. No read shows it before the home's lease has
    // ended.
    let reader = redis_store(&server, LIFETIME);
    let start = Instant::now();
    assert_eq!(reader.read(sticky(&id)).await.expect("found").value.version, 2);
    assert!(start.elapsed() > Duration::from_millis(500), "it became visible too early");
    home.resume();
    assert_eq!(read(&home, &id).await.json::<Session>().expect("a session").version, 2);
}

#[tokio::test]
async fn reads_succeed_after_the_home_was_killed() {
    let server = RedisServer::start().await;
    let home = program(&server);
    let mut ids = Vec::new();
    for _ in 0..20 {
        ids.push(hot_session(&home).await);
    }
    let other = Arc::new(hybrid(&server, LIFETIME).await);
    home.kill();
    let mut reads = JoinSet::new();
    for id in ids {
        let other = Arc::clone(&other);
        reads.spawn(async move {
            other.read(sticky(&id)).await.expect("at the first try").value.version
        });
    }
    let start = Instant::now();
    assert_eq!(reads.join_all().await, [1; 20]);
    assert!(start.elapsed() < Duration::from_secs(4), "they wait together: {:?}", start.elapsed());
}

/// Many clients at two instances, sticky and round robin, while the connections that carry drop
/// requests are cut, leases expire and Redis is paused. Each client compares the version that it
/// reads with the latest known at its request.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_read_is_stale_whatever_is_cut() {
    let server = RedisServer::start().await;
    let instances =
        [Arc::new(hybrid(&server, LIFETIME).await), Arc::new(hybrid(&server, LIFETIME).await)];
    let sessions: Vec<_> = (0..3).map(|_| (any_session(), Arc::new(AtomicU64::new(1)))).collect();
    for (id, _) in &sessions {
        instances[0].create(*id, data("{}"), None).await.expect("created");
    }
    let done = Arc::new(AtomicBool::new(false));
    let mut clients = JoinSet::new();
    for client in 0..24_usize {
        let (store, (id, known)) =
            (Arc::clone(&instances[client % 2]), sessions[client % 3].clone());
        let routing = if client % 4 == 3 { Routing::RoundRobin } else { Routing::Sticky };
        let (id, done) = (Access { routing, ..id }, Arc::clone(&done));
        clients.spawn(async move {
            let (mut from_memory, mut written) = (0_u64, 0_u64);
            let mut turn = client;
            while !done.load(Ordering::Relaxed) {
                turn += 1;
                let before = known.load(Ordering::SeqCst);
                if client < 18 || turn % 8 != 0 {
                    match store.read(id).await {
                        Ok(read) if read.source == Source::Unverified => {}
                        Ok(read) => {
                            assert!(
                                read.value.version >= before,
                                "{} after {before}",
                                read.value.version
                            );
                            known.fetch_max(read.value.version, Ordering::SeqCst);
                            from_memory += u64::from(read.source == Source::Memory);
                        }
                        Err(ReadError::Store(
                            StoreFault::Unavailable(_) | StoreFault::NoResponse(_),
                        )) => {}
                        Err(error) => panic!("{error:?}"),
                    }
                } else {
                    match store.append(id, message("x"), None).await {
                        Ok(appended) => {
                            assert!(
                                appended.value.version > before,
                                "{} after {before}",
                                appended.value.version
                            );
                            known.fetch_max(appended.value.version, Ordering::SeqCst);
                            written += 1;
                        }
                        Err(AppendError::Store(
                            StoreFault::Unavailable(_) | StoreFault::NoResponse(_),
                        )) => {}
                        Err(error) => panic!("{error:?}"),
                    }
                }
                // Reads from memory never yield by themselves.
                tokio::task::yield_now().await;
            }
            (from_memory, written)
        });
    }
    for round in 0..8 {
        sleep(Duration::from_millis(300)).await;
        if round % 3 == 2 {
            server.freeze();
            sleep(Duration::from_millis(if round == 5 { 1500 } else { 300 })).await;
            server.resume();
        } else if let Ok(mut redis) = server.connect().await {
            let cut = redis::cmd("CLIENT")
                .arg("KILL")
                .arg("TYPE")
                .arg("pubsub")
                .query_async::<u64>(&mut redis)
                .await;
            assert!(cut.is_ok_and(|cut| cut > 0), "there are channels to cut");
        }
    }
    done.store(true, Ordering::Relaxed);
    let (mut from_memory, mut written) = (0, 0);
    while let Some(client) = clients.join_next().await {
        let (reads, writes) = client.expect("no client was shown an older version");
        from_memory += reads;
        written += writes;
    }
    assert!(from_memory > 100 && written > 20, "{from_memory} reads from memory, {written} writes");
}
