//! How many messages a client may send over its WebSockets: as many as it may send requests.
//!
//! The gateway limits requests and cannot see messages, so it tells the instance by which rate it limits the client
//! ([`CLIENT_RATE`](proto_contracts::headers::CLIENT_RATE)). All sockets of a client at this instance share one allowance.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use moka::sync::Cache;

use super::caller::Caller;

/// How many clients are remembered; some 200 bytes each. Beyond that, the one who was idle for longest is forgotten.
const REMEMBERED: u64 = 50_000;
/// For how long after its last message a client is remembered, so that a new socket is no new allowance.
const REMEMBERED_FOR: Duration = Duration::from_mins(2);

/// The allowances of all clients. Cheap to clone; the clones share everything.
#[derive(Clone)]
pub struct MessageRates(Cache<Client, Arc<Mutex<Debt>>>);

/// Who has one allowance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Client {
    /// The subject of a token, wherever it comes from.
    Subject(Caller),
    /// An address; of IPv6 its /64, which one client has at its disposal.
    Address(IpAddr),
}

/// When the allowance is whole again (GCRA's theoretical arrival time).
type Debt = Option<Instant>;

/// A rate, as the gateway tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientRate {
    address: IpAddr,
    /// How many messages may come at once.
    burst: u32,
    /// In which time as many may come again.
    window: Duration,
}

impl ClientRate {
    /// Reads the header's value; `None` when it is not one that a gateway writes.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let mut parts = str::from_utf8(text).ok()?.split(';');
        let address: IpAddr = parts.next()?.parse().ok()?;
        let burst: u32 = parts.next()?.strip_prefix("q=")?.parse().ok()?;
        let window_s: u64 = parts.next()?.strip_prefix("w=")?.parse().ok()?;
        let is_whole = burst > 0 && (1..=86_400).contains(&window_s) && parts.next().is_none();
        is_whole.then(|| Self { address, burst, window: Duration::from_secs(window_s) })
    }
}

impl Default for MessageRates {
    fn default() -> Self {
        Self(Cache::builder().max_capacity(REMEMBERED).time_to_idle(REMEMBERED_FOR).build())
    }
}

impl MessageRates {
    /// The allowance of a client that has opened a socket; one without limit when the gateway does not limit it.
    pub fn of(&self, caller: Caller, rate: Option<ClientRate>) -> Allowance {
        let client = |rate: ClientRate| match (caller, rate.address.to_canonical()) {
            (Caller::Subject(_), _) => Client::Subject(caller),
            (Caller::Anonymous, IpAddr::V6(ip)) => {
                Client::Address(IpAddr::from((u128::from(ip) & !u128::from(u64::MAX)).to_be_bytes()))
            }
            (Caller::Anonymous, ip) => Client::Address(ip),
        };
        Allowance { rates: self.clone(), limit: rate.map(|rate| (client(rate), rate)), refused: 0 }
    }
}

/// What a socket's messages are counted against.
pub struct Allowance {
    rates: MessageRates,
    limit: Option<(Client, ClientRate)>,
    /// How many more were refused than taken on this socket; never below 0.
    refused: u32,
}

/// A message came too early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooMany {
    /// In how many seconds the next one may come; at least 1.
    pub retry_after_s: u64,
    /// The client goes on in spite of as many refusals as messages may come at once.
    pub goes_on: bool,
}

impl Allowance {
    /// Counts a message.
    ///
    /// # Errors
    /// When it came too early.
    pub fn take(&mut self, now: Instant) -> Result<(), TooMany> {
        let Some((client, rate)) = self.limit else { return Ok(()) };
        let interval = rate.window / rate.burst;
        let debt = self.rates.0.get_with(client, Arc::default);
        let mut debt = debt.lock().unwrap_or_else(PoisonError::into_inner);
        let next = debt.map_or(now, |due| due.max(now)) + interval;
        match (next - now).checked_sub(rate.window) {
            None | Some(Duration::ZERO) => {
                *debt = Some(next);
                self.refused = self.refused.saturating_sub(1);
                Ok(())
            }
            Some(early) => {
                self.refused += 1;
                let retry_after_s = early.as_secs() + u64::from(early.subsec_nanos() > 0);
                Err(TooMany { retry_after_s: retry_after_s.max(1), goes_on: self.refused > rate.burst })
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
        let refused = sockets[0].take(now).expect_err("too early");
        assert_eq!((refused.retry_after_s, refused.goes_on), (1, true), "as many as the burst were refused here");
        // Five a second come back; a new socket is no new allowance.
        let later = now + Duration::from_secs(1);
        let mut another = rates.of(Caller::Anonymous, limit);
        assert_eq!((0..10).filter(|_| another.take(later).is_ok()).count(), 5);
        let elsewhere = Some(rate("192.0.2.2;q=10;w=2"));
        assert!(rates.of(Caller::Anonymous, elsewhere).take(later).is_ok(), "another client");
    }

    #[test]
    fn a_subject_is_one_client_wherever_it_comes_from() {
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
    fn who_is_not_limited_may_send_anything() {
        let mut allowance = MessageRates::default().of(Caller::Anonymous, None);
        assert!((0..10_000).all(|_| allowance.take(Instant::now()).is_ok()));
        for bad in ["", "192.0.2.1", "192.0.2.1;q=0;w=1", "192.0.2.1;q=1;w=0", "x;q=1;w=1", "192.0.2.1;q=1;w=1;z=1"] {
            assert_eq!(ClientRate::parse(bad.as_bytes()), None, "{bad}");
        }
    }
}
