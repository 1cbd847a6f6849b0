//! A rate limit per client (a user or an address): GCRA in a table of fixed size.
//!
//! In GCRA (ITU-T I.371) a client's *theoretical arrival time* advances by one interval per
//! request. A request is too early when that time is more than the burst ahead. It needs one word
//! per client.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use http::HeaderValue;
use proto_contracts::AffinityKey;
use xxhash_rust::xxh3::{Xxh3, xxh3_64_with_seed};

/// Number of clients in the table: 8 bytes each, 1 MiB in total.
const CELLS: usize = 1 << 17;
/// Associativity. A full set evicts the client with the earliest arrival time, so many addresses
/// cannot evict one that exceeds its rate.
const WAYS: usize = 4;
/// Bits of a cell for the time in microseconds, enough for 8 years. The others identify the client.
const TIME_BITS: u32 = 48;
const TIME_MASK: u64 = (1 << TIME_BITS) - 1;

/// The rate of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// The interval between requests at the full rate.
    pub interval: Duration,
    /// Maximum burst.
    pub burst: u32,
    /// The value of `RateLimit-Policy`.
    pub header: HeaderValue,
}

impl Policy {
    /// A rate per second with a burst.
    pub fn new(requests_per_second: u32, burst: u32) -> Self {
        let interval = Duration::from_secs(1) / requests_per_second.max(1);
        let window_s = (interval * burst).as_secs_f64().ceil() as u64;
        // Only digits and constants, so it is a valid header value.
        let header = HeaderValue::try_from(format!(r#""client";q={burst};w={window_s}"#))
            .unwrap_or_else(|_| HeaderValue::from_static(""));
        Self { interval, burst, header }
    }
}

/// A client's remaining quota.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Requests that it may send at once.
    pub remaining: u32,
    /// Seconds until the whole burst is available.
    pub reset_s: u64,
    /// Seconds until the next request, if this one is rejected; at least 1.
    pub retry_after_s: Option<u64>,
}

/// The identity that a rate applies to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Client {
    /// An address. For IPv6 its /64, all of which one client may use (RFC 6177).
    Address(IpAddr),
    /// The subject of a verified token.
    User(User),
    /// A session of one of several clients that share an address.
    Session(IpAddr, AffinityKey),
}

impl Client {
    /// Hashes the client. The kinds differ in length, so none collides with another by
    /// construction.
    pub fn hash(self, seed: u64) -> u64 {
        match self {
            Self::User(User(id)) => xxh3_64_with_seed(&id, seed),
            Self::Address(ip) => match ip.to_canonical() {
                IpAddr::V4(ip) => xxh3_64_with_seed(&ip.octets(), seed),
                IpAddr::V6(ip) => xxh3_64_with_seed(&ip.octets()[..8], seed),
            },
            Self::Session(ip, key) => {
                let ip = match ip {
                    IpAddr::V4(ip) => ip.to_ipv6_mapped(),
                    IpAddr::V6(ip) => ip,
                };
                let mut bytes = [0; 24];
                bytes[..16].copy_from_slice(&ip.octets());
                bytes[16..].copy_from_slice(&key.to_ascii());
                xxh3_64_with_seed(&bytes, seed)
            }
        }
    }
}

/// A token's issuer and subject, as a 128-bit hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct User([u8; 16]);

impl User {
    /// The user with this issuer and subject.
    pub fn named(issuer: &str, subject: &str) -> Self {
        let mut hasher = Xxh3::new();
        // The length separates issuer and subject.
        hasher.update(&issuer.len().to_le_bytes());
        hasher.update(issuer.as_bytes());
        hasher.update(subject.as_bytes());
        Self(hasher.digest128().to_le_bytes())
    }
}

/// The arrival times of all clients.
#[derive(Debug)]
pub struct RateLimiter {
    began: Instant,
    /// Seed of the hashes, so that clients cannot choose to share a set.
    seed: u64,
    cells: Box<[AtomicU64]>,
}

impl Default for RateLimiter {
    fn default() -> Self {
        let cells = (0..CELLS).map(|_| AtomicU64::new(0)).collect();
        Self { began: Instant::now(), seed: rand::random(), cells }
    }
}

impl RateLimiter {
    /// Counts a request of this client.
    pub fn take(&self, client: Client, now: Instant, policy: &Policy) -> Quota {
        let hash = client.hash(self.seed);
        let micros = |duration: Duration| duration.as_micros() as u64;
        // Offset by a burst, so that 0 is in the past for every policy.
        let now = (micros(now.saturating_duration_since(self.began))
            + micros(Duration::from_hours(24)))
            & TIME_MASK;
        let interval = micros(policy.interval).max(1);
        let whole = interval * u64::from(policy.burst);
        let cell = self.cell(hash);
        let tag = hash & !TIME_MASK;
        let mut known = cell.load(Ordering::Relaxed);
        loop {
            let due = if known & !TIME_MASK == tag { (known & TIME_MASK).max(now) } else { now };
            let next = due + interval;
            if next - now > whole {
                let early = next - now - whole;
                let retry_after_s = Some(early.div_ceil(1_000_000).max(1));
                return Quota {
                    remaining: 0,
                    reset_s: (due - now).div_ceil(1_000_000),
                    retry_after_s,
                };
            }
            match cell.compare_exchange_weak(
                known,
                tag | (next & TIME_MASK),
                Ordering::Relaxed,
                Ordering::Relaxed,
            ) {
                Ok(_) => {
                    // At most the burst, a `u32`.
                    let remaining = ((whole - (next - now)) / interval) as u32;
                    return Quota {
                        remaining,
                        reset_s: (next - now).div_ceil(1_000_000),
                        retry_after_s: None,
                    };
                }
                Err(other) => known = other,
            }
        }
    }

    /// The client's cell, or the one to replace.
    fn cell(&self, hash: u64) -> &AtomicU64 {
        let set = (hash as usize % (CELLS / WAYS)) * WAYS;
        let set = &self.cells[set..set + WAYS];
        let is_it =
            |cell: &&AtomicU64| cell.load(Ordering::Relaxed) & !TIME_MASK == hash & !TIME_MASK;
        let earliest = || set.iter().min_by_key(|cell| cell.load(Ordering::Relaxed) & TIME_MASK);
        set.iter().find(is_it).or_else(earliest).unwrap_or(&set[0])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> Policy {
        Policy::new(10, 20)
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    fn at(text: &str) -> Client {
        Client::Address(ip(text))
    }

    #[test]
    fn a_burst_passes_and_then_the_rate() {
        let (limiter, policy, now) = (RateLimiter::default(), policy(), Instant::now());
        let client = at("192.0.2.1");
        for left in (0..20).rev() {
            let quota = limiter.take(client, now, &policy);
            assert_eq!((quota.remaining, quota.retry_after_s), (left, None));
        }
        assert_eq!(limiter.take(client, now, &policy).retry_after_s, Some(1));
        let later = now + Duration::from_secs(1);
        assert_eq!(
            (0..100)
                .filter(|_| limiter.take(client, later, &policy).retry_after_s.is_none())
                .count(),
            10
        );
        assert_eq!(
            limiter.take(at("192.0.2.2"), later, &policy).remaining,
            19,
            "another client is not affected"
        );
        let much_later = now + Duration::from_mins(1);
        assert_eq!(
            limiter.take(client, much_later, &policy),
            Quota { remaining: 19, reset_s: 1, retry_after_s: None }
        );
    }

    #[test]
    fn an_ipv6_network_is_one_client() {
        let (limiter, policy, now) = (RateLimiter::default(), policy(), Instant::now());
        for host in 0..20 {
            limiter.take(at(&format!("2001:db8::{host:x}")), now, &policy);
        }
        assert_eq!(limiter.take(at("2001:db8::ffff"), now, &policy).retry_after_s, Some(1));
        assert_eq!(limiter.take(at("2001:db8:0:1::1"), now, &policy).retry_after_s, None);
    }

    #[test]
    fn users_differ_by_issuer_and_subject() {
        let ada = User::named("i", "ada");
        assert_eq!(ada, User::named("i", "ada"));
        for (issuer, subject) in [("i", "bob"), ("j", "ada"), ("ia", "da"), ("", "iada")] {
            assert_ne!(ada, User::named(issuer, subject), "{issuer} {subject}");
        }
    }

    #[test]
    fn a_million_addresses_do_not_reset_a_limited_client_or_limit_others() {
        let (limiter, policy, now) = (RateLimiter::default(), policy(), Instant::now());
        let flooder = at("192.0.2.1");
        (0..20).for_each(|_| assert_eq!(limiter.take(flooder, now, &policy).retry_after_s, None));
        let limited = (0..1_000_000_u32)
            .filter(|&i| {
                let client = Client::Address((0x0a00_0000 + i).to_be_bytes().into());
                limiter.take(client, now, &policy).retry_after_s.is_some()
            })
            .count();
        // With tags of 16 bits and sets of four, one in 16,000 collides.
        assert!(limited <= 20, "{limited} of a million clients with one request each");
        assert_eq!(
            limiter.take(flooder, now, &policy).retry_after_s,
            Some(1),
            "the limit still applies"
        );
    }

    #[test]
    fn the_policy_has_a_header_value() {
        assert_eq!(policy().header, r#""client";q=20;w=2"#);
    }
}
