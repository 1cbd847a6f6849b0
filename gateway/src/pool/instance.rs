//! One instance of a service, as the data path uses it.

use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::HeaderValue;
use pingora::upstreams::peer::HttpPeer;
use proto_contracts::{Endpoint, InstanceName};

use crate::config::Protocol;
use crate::resilience::rate_limit::Client;

/// Requests that share a connection of HTTP/2. HAProxy's default; more would wait for each other's bytes.
const MAX_H2_STREAMS: usize = 100;

/// An instance that has told its name.
pub struct Instance {
    name: InstanceName,
    name_header: HeaderValue,
    addr: SocketAddr,
    peer: HttpPeer,
    h2c_peer: HttpPeer,
    in_flight: AtomicU64,
    streams: AtomicU64,
    transfers: AtomicU64,
    requests: AtomicU64,
    connect_failures: AtomicU64,
    /// Requests in a row that it failed.
    failures: AtomicU32,
    /// Whose request was the last of them; 0 for one whom no limit concerns.
    last_witness: AtomicU64,
    /// When it last let a request wait for too long. Locked then, and to decide about an ejection: seldom.
    timed_out: Mutex<Option<Instant>>,
    /// Live sessions by the instance's last report.
    reported_sessions: AtomicU64,
    /// Keys minted onto it since then.
    minted_since: AtomicU64,
}

impl Instance {
    /// The instance of that name at that address.
    pub fn new(name: InstanceName, addr: SocketAddr) -> Self {
        let peer = HttpPeer::new(addr, false, String::new());
        let mut h2c_peer = peer.clone();
        h2c_peer.options.set_http_version(2, 2);
        h2c_peer.options.max_h2_streams = MAX_H2_STREAMS;
        // An instance name is letters, digits and three signs, all of which a header may hold.
        let name_header = HeaderValue::from_str(name.as_str()).unwrap_or_else(|_| HeaderValue::from_static(""));
        Self {
            name,
            name_header,
            addr,
            peer,
            h2c_peer,
            in_flight: AtomicU64::new(0),
            streams: AtomicU64::new(0),
            transfers: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            connect_failures: AtomicU64::new(0),
            failures: AtomicU32::new(0),
            last_witness: AtomicU64::new(0),
            timed_out: Mutex::default(),
            reported_sessions: AtomicU64::new(0),
            minted_since: AtomicU64::new(0),
        }
    }

    /// The name it told.
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

    /// What Pingora connects to for a request to this endpoint; how long it may take is the request's affair. A stream keeps
    /// to HTTP/1.1: a WebSocket needs a connection of its own.
    pub fn peer(&self, endpoint: Endpoint, protocol: Protocol) -> &HttpPeer {
        match protocol {
            Protocol::H2c if !endpoint.is_stream() => &self.h2c_peer,
            Protocol::H2c | Protocol::Http1 => &self.peer,
        }
    }

    /// Requests sent to it and not yet answered, streams not counted.
    pub fn in_flight(&self) -> u64 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Streams of it that clients listen to.
    pub fn streams(&self) -> u64 {
        self.streams.load(Ordering::Relaxed)
    }

    /// Long responses of it that are still on their way to their clients.
    pub fn transfers(&self) -> u64 {
        self.transfers.load(Ordering::Relaxed)
    }

    /// Requests sent to it since it became a member at this address.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Connections to it that failed since then.
    pub fn connect_failures(&self) -> u64 {
        self.connect_failures.load(Ordering::Relaxed)
    }

    /// Notes a connection that failed.
    pub fn count_connect_failure(&self) {
        self.connect_failures.fetch_add(1, Ordering::Relaxed);
    }

    /// Notes a request that it failed, and tells how many that are in a row. Of the failures that one client saw one
    /// after the other, only the first counts: its requests may be what is wrong. One whom no limit concerns is believed.
    pub fn count_failure(&self, witness: Option<Witness>) -> Option<u32> {
        let hash = witness.map_or(0, |Witness(hash)| hash);
        let last = self.last_witness.swap(hash, Ordering::Relaxed);
        if witness.is_some() && last == hash && self.failures.load(Ordering::Relaxed) != 0 {
            return None;
        }
        Some(self.failures.fetch_add(1, Ordering::Relaxed).wrapping_add(1))
    }

    /// Notes that it works: what it failed before no longer counts.
    pub fn clear_failures(&self) {
        // Almost always there is none, and a look costs the other threads nothing.
        if self.failures.load(Ordering::Relaxed) != 0 {
            self.failures.store(0, Ordering::Relaxed);
        }
    }

    /// Notes that it let a request wait for too long.
    pub fn note_timeout(&self, now: Instant) {
        *self.timed_out.lock().unwrap_or_else(PoisonError::into_inner) = Some(now);
    }

    /// Whether it has done so within this time.
    pub fn has_timed_out_within(&self, time: Duration, now: Instant) -> bool {
        let timed_out = *self.timed_out.lock().unwrap_or_else(PoisonError::into_inner);
        timed_out.is_some_and(|at| now.saturating_duration_since(at) <= time)
    }

    /// Live sessions by its last report.
    pub fn reported_sessions(&self) -> u64 {
        self.reported_sessions.load(Ordering::Relaxed)
    }

    /// Live sessions as minting sees them: its last report, and the keys minted onto it since.
    pub fn sessions(&self) -> u64 {
        self.reported_sessions() + self.minted_since.load(Ordering::Relaxed)
    }

    /// Takes its report of live sessions.
    pub fn report_sessions(&self, count: u64) {
        self.reported_sessions.store(count, Ordering::Relaxed);
        self.minted_since.store(0, Ordering::Relaxed);
    }

    /// Notes that a key was minted onto it.
    pub fn count_minted(&self) {
        self.minted_since.fetch_add(1, Ordering::Relaxed);
    }
}

impl fmt::Debug for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.name, self.addr)
    }
}

/// A client whose request an instance failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Witness(u64);

impl Witness {
    /// This client.
    pub fn of(client: Client) -> Self {
        // Two clients of one hash count as one, which is once in 2^64.
        Self(client.hash(0) | 1)
    }
}

/// What a request is to its instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Load {
    /// Work that is soon done: it counts against the load bound.
    Counts,
    /// A stream, which is mostly silent and lasts for as long as its client likes.
    Stream,
    /// A long response, which lasts for as long as its client takes to read it.
    Transfer,
    /// Nothing any more: the response has come, and what is left is the gateway's.
    Done,
}

impl Load {
    /// What a request to this endpoint is.
    pub const fn of(endpoint: Endpoint) -> Self {
        if endpoint.is_stream() { Self::Stream } else { Self::Counts }
    }
}

/// Counts a request as in flight at an instance for as long as it lives.
#[derive(Debug)]
pub struct InFlight {
    instance: Arc<Instance>,
    load: Load,
    /// Bytes of the response's body so far.
    received: u64,
}

/// The instance has done its work when so much of a response has come. The rest, which its client may read slowly,
/// counts as a transfer.
const LONG_RESPONSE: u64 = 32 * 1024;

impl InFlight {
    /// Begins a request at the instance.
    pub fn begin(instance: Arc<Instance>, load: Load) -> Self {
        let begun = Self { instance, load, received: 0 };
        if let Some(counter) = begun.counter() {
            counter.fetch_add(1, Ordering::Relaxed);
        }
        begun.instance.requests.fetch_add(1, Ordering::Relaxed);
        begun
    }

    /// The instance that it counts at.
    pub fn instance(&self) -> &Arc<Instance> {
        &self.instance
    }

    /// Notes that a piece of the response has come. A slow reader holds its place for no longer than the instance works.
    pub fn received(&mut self, bytes: usize, end: bool) {
        self.received += bytes as u64;
        match self.load {
            Load::Counts | Load::Transfer if end => self.become_a(Load::Done),
            Load::Counts if self.received >= LONG_RESPONSE => self.become_a(Load::Transfer),
            _ => {}
        }
    }

    fn become_a(&mut self, load: Load) {
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
