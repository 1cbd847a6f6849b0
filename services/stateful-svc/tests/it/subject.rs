//! A store under test, whose clock can be advanced.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use proto_contracts::{AffinityKey, IdempotencyKey, MessageId, SessionId};
use secrecy::SecretString;
use serde_json::value::RawValue;
use service_kit::redis::{RedisTarget, RedisTimeouts};
use service_kit::tls::Trust;
use stateful_svc::domain::caller::{Caller, IssuedAt};
use stateful_svc::domain::client_data::{ClientData, MergePatch};
use stateful_svc::domain::clock::{BootClock, Clock, SteadyClock};
use stateful_svc::domain::lifetime::Lifetime;
use stateful_svc::domain::message::{MessageText, NewMessage};
use stateful_svc::store::hybrid::HybridStore;
use stateful_svc::store::memory::MemoryStore;
use stateful_svc::store::redis::RedisStore;
use stateful_svc::store::{Access, Routing, SessionStore};

use crate::redis_server::RedisServer;

pub(crate) const LIFETIME: Lifetime =
    Lifetime { idle: Duration::from_secs(1800), absolute: Duration::from_secs(86_400) };

/// A store with a movable clock; the hybrid one may have several instances.
pub(crate) struct Subject {
    pub(crate) store: Arc<dyn SessionStore>,
    others: Vec<Arc<dyn SessionStore>>,
    time: Time,
}

enum Time {
    Memory(TestClock),
    Redis(RedisServer),
    Hybrid(RedisServer, MovedClock, Vec<Arc<HybridStore<MovedClock>>>),
}

impl Subject {
    pub(crate) async fn memory(lifetime: Lifetime) -> Self {
        let clock = TestClock::default();
        let store = Arc::new(MemoryStore::new(lifetime, clock.clone()));
        Self { store, others: Vec::new(), time: Time::Memory(clock) }
    }

    pub(crate) async fn redis(lifetime: Lifetime) -> Self {
        let server = RedisServer::start().await;
        Self {
            store: Arc::new(redis_store(&server, lifetime)),
            others: Vec::new(),
            time: Time::Redis(server),
        }
    }

    pub(crate) async fn hybrid(lifetime: Lifetime) -> Self {
        Self::hybrids(1, lifetime).await
    }

    /// Several instances on one Redis.
    pub(crate) async fn hybrids(instances: usize, lifetime: Lifetime) -> Self {
        let (server, clock) = (RedisServer::start().await, MovedClock::default());
        let hybrids: Vec<_> = (0..instances)
            .map(|_| Arc::new(hybrid_store(&server, lifetime, clock.clone())))
            .collect();
        for hybrid in &hybrids {
            holds_lease(hybrid).await;
        }
        let mut stores = hybrids.iter().map(|hybrid| Arc::clone(hybrid) as Arc<dyn SessionStore>);
        let store = stores.next().expect("one instance at least");
        Self { store, others: stores.collect(), time: Time::Hybrid(server, clock, hybrids) }
    }

    /// One of the instances; numbers wrap around.
    pub(crate) fn instance(&self, number: usize) -> &Arc<dyn SessionStore> {
        let instances = 1 + self.others.len();
        (number % instances).checked_sub(1).map_or(&self.store, |other| &self.others[other])
    }

    /// Advances the time. Redis's clock cannot be set, so its sessions are made older instead.
    pub(crate) async fn advance(&self, by: Duration) {
        match &self.time {
            Time::Memory(clock) => clock.advance(by),
            Time::Redis(server) => age_sessions(server, by).await,
            Time::Hybrid(server, clock, hybrids) => {
                // In that time they would have flushed their touches and renewed their leases.
                for hybrid in hybrids {
                    hybrid.flush_touches().await.expect("flushed");
                }
                clock.advance(by);
                age_sessions(server, by).await;
                for hybrid in hybrids {
                    holds_lease(hybrid).await;
                }
            }
        }
    }
}

pub(crate) fn hybrid_store<C: SteadyClock>(
    server: &RedisServer,
    lifetime: Lifetime,
    clock: C,
) -> HybridStore<C> {
    let target = RedisTarget::parse(&SecretString::from(server.url()), &Trust::system())
        .expect("a Redis URL");
    HybridStore::new(&target, lifetime, 64 << 20, None, clock).expect("a store").0
}

/// Waits until the instance may serve sessions from memory.
pub(crate) async fn holds_lease<C: SteadyClock>(store: &HybridStore<C>) {
    let start = std::time::Instant::now();
    while !store.holds_lease() {
        assert!(start.elapsed() < Duration::from_secs(10), "no lease was taken");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

pub(crate) fn redis_store(server: &RedisServer, lifetime: Lifetime) -> RedisStore {
    let target = RedisTarget::parse(&SecretString::from(server.url()), &Trust::system())
        .expect("a Redis URL");
    RedisStore::new(&target, target.pool(RedisTimeouts::STORE).expect("a pool"), lifetime)
}

async fn age_sessions(server: &RedisServer, by: Duration) {
    let script = redis::Script::new(
        "for _, key in ipairs(redis.call('KEYS', '[sr]es*')) do
            if redis.call('TYPE', key).ok == 'hash' then
                for _, field in ipairs({'created', 'active', 'deleted'}) do
                    if redis.call('HEXISTS', key, field) == 1 then
                        redis.call('HINCRBY', key, field, -ARGV[1])
                    end
                end
            end
            redis.call('PEXPIREAT', key, redis.call('PEXPIRETIME', key) - ARGV[1])
        end",
    );
    let mut connection = server.connect().await.expect("a connection");
    let () = script
        .arg(by.as_millis() as u64)
        .invoke_async(&mut connection)
        .await
        .expect("sessions made older");
}

/// A clock that only the test advances.
#[derive(Clone)]
pub(crate) struct TestClock(Arc<AtomicI64>);

impl Default for TestClock {
    fn default() -> Self {
        Self(Arc::new(AtomicI64::new(1_770_249_600_000)))
    }
}

impl TestClock {
    pub(crate) fn advance(&self, by: Duration) {
        self.0.fetch_add(by.as_millis() as i64, Ordering::Relaxed);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millisecond(self.0.load(Ordering::Relaxed)).expect("in range")
    }
}

/// The machine's clock with an offset.
#[derive(Clone, Default)]
pub(crate) struct MovedClock(Arc<AtomicU64>);

impl MovedClock {
    pub(crate) fn advance(&self, by: Duration) {
        self.0.fetch_add(by.as_millis() as u64, Ordering::SeqCst);
    }
}

impl SteadyClock for MovedClock {
    fn now(&self) -> Duration {
        BootClock.now() + Duration::from_millis(self.0.load(Ordering::SeqCst))
    }
}

/// A new session id, for an anonymous caller.
pub(crate) fn any_session() -> Access {
    let affinity = AffinityKey::random();
    let session = SessionId::generate(affinity).digest();
    Access {
        session,
        affinity,
        caller: Caller::Anonymous,
        issued_at: IssuedAt::NEVER_REVOKED,
        routing: Routing::Sticky,
    }
}

/// The same session, for this subject.
pub(crate) fn as_subject(access: Access, name: &str) -> Access {
    Access { caller: Caller::subject("issuer", name), ..access }
}

/// An idempotency key; the same one for the same number.
pub(crate) fn key(number: u64) -> IdempotencyKey {
    IdempotencyKey::parse_bytes(format!("{:032x}", number + 1).as_bytes()).expect("a UUID")
}

pub(crate) fn data(json: &str) -> ClientData {
    ClientData::parse(&raw(json)).expect("client data")
}

pub(crate) fn patch(json: &str) -> MergePatch {
    MergePatch::parse(&raw(json)).expect("a patch")
}

pub(crate) fn message(text: &str) -> NewMessage {
    NewMessage {
        id: MessageId::generate(),
        text: MessageText::parse(text.to_owned()).expect("a message"),
    }
}

fn raw(json: &str) -> Box<RawValue> {
    RawValue::from_string(json.to_owned()).expect("JSON")
}
