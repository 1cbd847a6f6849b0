//! The rate limit of WebSocket messages: the same as of requests.
//!
//! The gateway limits requests but does not see messages, so it passes the client's rate to the
//! instance ([`CLIENT_RATE`](proto_contracts::headers::CLIENT_RATE)). A client's sockets at one
//! instance share one limit.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use moka::sync::Cache;

use super::caller::Caller;

/// How many clients are tracked, at some 200 bytes each. Beyond that, the longest idle one is
/// evicted.
const MAX_CLIENTS: u64 = 50_000;
/// How long a client is tracked after its last message, so that a new socket does not reset its
/// limit.
const CLIENT_TTL: Duration = Duration::from_mins(2);

/// The rate limiters of all clients. Clones share one state.
#[derive(Clone)]
pub struct MessageRates(Cache<Client, Arc<Mutex<ArrivalTime>>>);

/// The key of a rate limiter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Client {
    /// The subject of a token, from any address.
    Subject(Caller),
    /// An address; for IPv6 its /64, which one client can use freely.
    Address(IpAddr),
}

/// When the full burst is available again (GCRA's theoretical arrival time).
type ArrivalTime = Option<Instant>;

/// A client's rate, as the gateway passes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientRate {
    address: IpAddr,
    /// How many messages may be sent at once.
    burst: u32,
    /// The time after which the full burst is available again.
    window: Duration,
}

impl ClientRate {
    /// Parses the header's value; `None` when it is malformed.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let mut parts = str::from_utf8(text).ok()?.split(';');
        let address: IpAddr = parts.next()?.parse().ok()?;
        let burst: u32 = parts.next()?.strip_prefix("q=")?.parse().ok()?;
        let window_s: u64 = parts.next()?.strip_prefix("w=")?.parse().ok()?;
        let is_valid = burst > 0 && (1..=86_400).contains(&window_s) && parts.next().is_none();
        is_valid.then(|| Self { address, burst, window: Duration::from_secs(window_s) })
    }
}

impl Default for MessageRates {
    fn default() -> Self {
        Self(Cache::builder().max_capacity(MAX_CLIENTS).time_to_idle(CLIENT_TTL).build())
    }
}

impl MessageRates {
    /// The limiter of a client's socket; unlimited without a rate from the gateway.
    pub fn of(&self, caller: Caller, rate: Option<ClientRate>) -> Allowance {
        let client = |rate: ClientRate| match (caller, rate.address.to_canonical()) {
            (Caller::Subject(_), _) => Client::Subject(caller),
            (Caller::Anonymous, IpAddr::V6(ip)) => Client::Address(IpAddr::from(
                (u128::from(ip) & !u128::from(u64::MAX)).to_be_bytes(),
            )),
            (Caller::Anonymous, ip) => Client::Address(ip),
        };
        Allowance { rates: self.clone(), limit: rate.map(|rate| (client(rate), rate)), rejected: 0 }
    }
}

/// The rate limiter of one socket, which shares the client's limit.
pub struct Allowance {
    rates: MessageRates,
    limit: Option<(Client, ClientRate)>,
    /// The number of rejected minus accepted messages on this socket; never below 0.
    rejected: u32,
}

/// A message exceeded the rate limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooMany {
    /// Seconds until the next message may be sent; at least 1.
    pub retry_after_s: u64,
    /// The client has ignored as many rejections as its burst.
    pub persists: bool,
}

impl Allowance {
    /// Counts a message.
    ///
    /// # Errors
    /// When it exceeds the limit.
    pub fn take(&mut self, now: Instant) -> Result<(), TooMany> {
        let Some((client, rate)) = self.limit else { return Ok(()) };
        let interval = rate.window / rate.burst;
        let arrival = self.rates.0.get_with(client, Arc::default);
        let mut arrival = arrival.lock().unwrap_or_else(PoisonError::into_inner);
        let next = arrival.map_or(now, |due| due.max(now)) + interval;
        match (next - now).checked_sub(rate.window) {
            None | Some(Duration::ZERO) => {
                *arrival = Some(next);
                self.rejected = self.rejected.saturating_sub(1);
                Ok(())
            }
            Some(early) => {
                self.rejected += 1;
                let retry_after_s = early.as_secs() + u64::from(early.subsec_nanos() > 0);
                Err(TooMany {
                    retry_after_s: retry_after_s.max(1),
                    persists: self.rejected > rate.burst,
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(text: &str) -> ClientRate {
        ClientRate::parse(text.as_bytes()).expect("a rate")
    }

    #[test]
    fn a_client_has_its_burst_and_then_its_rate_over_all_sockets() {
        let (rates, now) = (MessageRates::default(), Instant::now());
        let limit = Some(rate("192.0.2.1;q=10;w=2"));
        let mut sockets = [rates.of(Caller::Anonymous, limit), rates.of(Caller::Anonymous, limit)];
        let taken = (0..40).filter(|i| sockets[i % 2].take(now).is_ok()).count();
        assert_eq!(taken, 10);
        let rejected = sockets[0].take(now).expect_err("too early");
        assert_eq!(
            (rejected.retry_after_s, rejected.persists),
            (1, true),
            "as many as the burst were rejected"
        );
        // Five a second become available; a new socket does not reset the limit.
        let later = now + Duration::from_secs(1);
        let mut another = rates.of(Caller::Anonymous, limit);
        assert_eq!((0..10).filter(|_| another.take(later).is_ok()).count(), 5);
        let elsewhere = Some(rate("192.0.2.2;q=10;w=2"));
        assert!(rates.of(Caller::Anonymous, elsewhere).take(later).is_ok(), "another client");
    }

    #[test]
    fn a_subject_is_one_client_from_any_address() {
        let (rates, now) = (MessageRates::default(), Instant::now());
        let ada = Caller::subject("issuer", "ada");
        let mut first = rates.of(ada, Some(rate("192.0.2.1;q=1;w=1")));
        let mut second = rates.of(ada, Some(rate("192.0.2.2;q=1;w=1")));
        assert!(first.take(now).is_ok() && second.take(now).is_err());
        let of = |text: &str| rates.of(Caller::Anonymous, Some(rate(text)));
        assert!(of("2001:db8::1;q=1;w=1").take(now).is_ok());
        assert!(of("2001:db8::2;q=1;w=1").take(now).is_err(), "a /64 is one client");
    }

    #[test]
    fn without_a_rate_nothing_is_limited() {
        let mut allowance = MessageRates::default().of(Caller::Anonymous, None);
        assert!((0..10_000).all(|_| allowance.take(Instant::now()).is_ok()));
        for bad in [
            "",
            "192.0.2.1",
            "192.0.2.1;q=0;w=1",
            "192.0.2.1;q=1;w=0",
            "x;q=1;w=1",
            "192.0.2.1;q=1;w=1;z=1",
        ] {
            assert_eq!(ClientRate::parse(bad.as_bytes()), None, "{bad}");
        }
    }
}
