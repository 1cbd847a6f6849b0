//! One instance of a service, as the data path uses it.

use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::HeaderValue;
use pingora::upstreams::peer::HttpPeer;
use proto_contracts::{Endpoint, InstanceName};

use crate::config::{Protocol, UpstreamTls};
use crate::pool::responses::Responses;
use crate::resilience::rate_limit::Client;

/// Concurrent streams per HTTP/2 connection: HAProxy's default.
const MAX_H2_STREAMS: usize = 100;

/// A named instance.
pub struct Instance {
    name: InstanceName,
    name_header: HeaderValue,
    addr: SocketAddr,
    tls: Option<UpstreamTls>,
    peer: HttpPeer,
    h2c_peer: HttpPeer,
    in_flight: AtomicU64,
    streams: AtomicU64,
    transfers: AtomicU64,
    requests: AtomicU64,
    connect_failures: AtomicU64,
    responses: Responses,
    /// Consecutive failed requests.
    failures: AtomicU32,
    /// The client of the last failure; 0 for an exempt client.
    last_failed_client: AtomicU64,
    /// Time of the last timeout. Locked only at timeouts and ejections.
    timed_out: Mutex<Option<Instant>>,
    /// Live sessions by the instance's last report.
    reported_sessions: AtomicU64,
    /// Keys minted onto it since then.
    minted_since: AtomicU64,
}

impl Instance {
    /// The instance of that name at that address, by TLS if its pool has it.
    pub fn new(name: InstanceName, addr: SocketAddr, tls: Option<&UpstreamTls>) -> Self {
        let peer = peer(addr, tls);
        let mut h2c_peer = peer.clone();
        h2c_peer.options.set_http_version(2, 2);
        h2c_peer.options.max_h2_streams = MAX_H2_STREAMS;
        // An instance name is letters, digits and three signs, all of which a header may hold.
        let name_header =
            HeaderValue::from_str(name.as_str()).unwrap_or_else(|_| HeaderValue::from_static(""));
        Self {
            name,
            name_header,
            addr,
            tls: tls.cloned(),
            peer,
            h2c_peer,
            in_flight: AtomicU64::new(0),
            streams: AtomicU64::new(0),
            transfers: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            connect_failures: AtomicU64::new(0),
            responses: Responses::default(),
            failures: AtomicU32::new(0),
            last_failed_client: AtomicU64::new(0),
            timed_out: Mutex::default(),
            reported_sessions: AtomicU64::new(0),
            minted_since: AtomicU64::new(0),
        }
    }

    /// Its name.
    pub fn name(&self) -> &InstanceName {
        &self.name
    }

    /// Its name as the value of a header.
    pub fn name_header(&self) -> HeaderValue {
        self.name_header.clone()
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// How it is reached by TLS; `None`: without.
    pub fn tls(&self) -> Option<&UpstreamTls> {
        self.tls.as_ref()
    }

    /// The peer by this protocol, without timeouts.
    pub fn peer(&self, protocol: Protocol) -> &HttpPeer {
        match protocol {
            Protocol::H2c => &self.h2c_peer,
            Protocol::Http1 => &self.peer,
        }
    }

    /// Requests in flight, streams not counted.
    pub fn in_flight(&self) -> u64 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Open streams.
    pub fn streams(&self) -> u64 {
        self.streams.load(Ordering::Relaxed)
    }

    /// Long responses that are still being sent to clients.
    pub fn transfers(&self) -> u64 {
        self.transfers.load(Ordering::Relaxed)
    }

    /// Requests since it became a member at this address.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Failed connections since then.
    pub fn connect_failures(&self) -> u64 {
        self.connect_failures.load(Ordering::Relaxed)
    }

    /// How its requests ended since then.
    pub fn responses(&self) -> &Responses {
        &self.responses
    }

    /// Counts a failed connection.
    pub fn count_connect_failure(&self) {
        self.connect_failures.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a failed request and returns the number of consecutive failures. Consecutive failures
    /// of one client count once, because its requests may be the cause; those of an exempt client
    /// all count.
    pub fn count_failure(&self, witness: Option<ClientHash>) -> Option<u32> {
        let hash = witness.map_or(0, |ClientHash(hash)| hash);
        let last = self.last_failed_client.swap(hash, Ordering::Relaxed);
        if witness.is_some() && last == hash && self.failures.load(Ordering::Relaxed) != 0 {
            return None;
        }
        Some(self.failures.fetch_add(1, Ordering::Relaxed).wrapping_add(1))
    }

    /// Resets the consecutive failures.
    pub fn clear_failures(&self) {
        // A load is cheap, and usually there is nothing to reset.
        if self.failures.load(Ordering::Relaxed) != 0 {
            self.failures.store(0, Ordering::Relaxed);
        }
    }

    /// Records a timeout.
    pub fn note_timeout(&self, now: Instant) {
        *self.timed_out.lock().unwrap_or_else(PoisonError::into_inner) = Some(now);
    }

    /// Whether it had a timeout within this time.
    pub fn has_timed_out_within(&self, time: Duration, now: Instant) -> bool {
        let timed_out = *self.timed_out.lock().unwrap_or_else(PoisonError::into_inner);
        timed_out.is_some_and(|at| now.saturating_duration_since(at) <= time)
    }

    /// Live sessions by its last report.
    pub fn reported_sessions(&self) -> u64 {
        self.reported_sessions.load(Ordering::Relaxed)
    }

    /// Live sessions for minting: its last report plus keys minted since.
    pub fn sessions(&self) -> u64 {
        self.reported_sessions() + self.minted_since.load(Ordering::Relaxed)
    }

    /// Records its report of live sessions.
    pub fn report_sessions(&self, count: u64) {
        self.reported_sessions.store(count, Ordering::Relaxed);
        self.minted_since.store(0, Ordering::Relaxed);
    }

    /// Counts a minted key.
    pub fn count_minted(&self) {
        self.minted_since.fetch_add(1, Ordering::Relaxed);
    }
}

/// An address as Pingora reaches it, by HTTP/1.1.
pub fn peer(addr: SocketAddr, tls: Option<&UpstreamTls>) -> HttpPeer {
    // Pingora verifies a certificate only for a name, which `UpstreamTls` always has.
    HttpPeer::new(addr, tls.is_some(), tls.map(UpstreamTls::name).unwrap_or_default())
}

impl fmt::Debug for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.name, self.addr)
    }
}

/// A client's hash, to tell whose request failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientHash(u64);

impl ClientHash {
    /// The hash of this client.
    pub fn of(client: Client) -> Self {
        // Collisions are negligible.
        Self(client.hash(0) | 1)
    }
}

/// How a request loads its instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Load {
    /// A short request, which counts for limits.
    Counts,
    /// A stream.
    Stream,
    /// A long response that the client is still reading.
    Transfer,
    /// The response is complete.
    Done,
}

impl Load {
    /// The load of a request to this endpoint.
    pub const fn of(endpoint: Endpoint) -> Self {
        if endpoint.is_stream() { Self::Stream } else { Self::Counts }
    }
}

/// Counts a request as in flight at an instance until it is dropped.
#[derive(Debug)]
pub struct InFlight {
    instance: Arc<Instance>,
    load: Load,
    /// Bytes of the response's body so far.
    received: u64,
}

/// From this size on, a response counts as a transfer, so that a slow client does not occupy a
/// place in flight.
const LONG_RESPONSE: u64 = 32 * 1024;

impl InFlight {
    /// Counts a request at the instance.
    pub fn begin(instance: Arc<Instance>, load: Load) -> Self {
        let begun = Self { instance, load, received: 0 };
        if let Some(counter) = begun.counter() {
            counter.fetch_add(1, Ordering::Relaxed);
        }
        begun.instance.requests.fetch_add(1, Ordering::Relaxed);
        begun
    }

    /// The instance.
    pub fn instance(&self) -> &Arc<Instance> {
        &self.instance
    }

    /// Counts received bytes of the response body.
    pub fn received(&mut self, bytes: usize, end: bool) {
        self.received += bytes as u64;
        match self.load {
            Load::Counts | Load::Transfer if end => self.set_load(Load::Done),
            Load::Counts if self.received >= LONG_RESPONSE => self.set_load(Load::Transfer),
            _ => {}
        }
    }

    fn set_load(&mut self, load: Load) {
        let before = std::mem::replace(&mut self.load, load);
        if let Some(counter) = self.counter() {
            counter.fetch_add(1, Ordering::Relaxed);
        }
        if let Some(counter) = self.counter_of(before) {
            counter.fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn counter(&self) -> Option<&AtomicU64> {
        self.counter_of(self.load)
    }

    fn counter_of(&self, load: Load) -> Option<&AtomicU64> {
        match load {
            Load::Counts => Some(&self.instance.in_flight),
            Load::Stream => Some(&self.instance.streams),
            Load::Transfer => Some(&self.instance.transfers),
            Load::Done => None,
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if let Some(counter) = self.counter() {
            counter.fetch_sub(1, Ordering::Relaxed);
        }
    }
}
