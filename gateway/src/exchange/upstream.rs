//! Connections to instances, kept for later requests by the thread that opened them.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, timeout};

use crate::config::UpstreamTls;
use crate::exchange::error::{Broken, ExchangeError, RequestError};
use crate::exchange::transport::Transport;

/// Maximum idle connections of a thread, to all instances.
const MAX_IDLE: usize = 1_024;
/// How often closed and expired connections are removed.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// A connection to an instance, for one request.
#[derive(Debug)]
pub(super) struct Upstream {
    stream: Transport,
    addr: SocketAddr,
    /// Whether it served a request before.
    pub(super) reused: bool,
}

impl Upstream {
    /// A kept connection to this address, or a new one. Whether an address has TLS never changes.
    ///
    /// # Errors
    /// When there is none and no new one can be opened within this time.
    pub(super) async fn open(
        addr: SocketAddr,
        tls: Option<&UpstreamTls>,
        within: Duration,
    ) -> Result<Self, Broken> {
        if let Some(stream) = IDLE.with_borrow_mut(|idle| idle.take(addr)) {
            return Ok(Self { stream, addr, reused: true });
        }
        match timeout(within, Transport::connect(addr, tls)).await {
            Ok(Ok(stream)) => Ok(Self { stream, addr, reused: false }),
            Ok(Err(error)) => Err(Broken::Connect(error)),
            Err(_) => Err(Broken::ConnectTimeout),
        }
    }

    /// The error of this exchange.
    pub(super) fn broken(&self, kind: Broken) -> RequestError {
        ExchangeError { addr: self.addr, kind }.into()
    }

    /// Reads into the free capacity of `bytes`, which is not empty.
    pub(super) fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        bytes: &mut Vec<u8>,
    ) -> Poll<io::Result<usize>> {
        self.stream.poll_read(context, bytes)
    }

    /// Writes some of these bytes.
    pub(super) fn poll_write(
        &mut self,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.stream.poll_write(context, bytes)
    }

    /// Sends what was written.
    pub(super) fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.poll_flush(context)
    }

    /// Keeps the connection for another request, for at most this time.
    pub(super) fn keep(self, within: Duration) {
        let sweep = IDLE.with_borrow_mut(|idle| idle.put(self.addr, self.stream, within));
        if sweep {
            tokio::spawn(sweep_regularly());
        }
    }
}

thread_local! {
    static IDLE: RefCell<Idle> = const { RefCell::new(Idle::new()) };
}

/// The idle connections of a thread.
struct Idle {
    /// There are few instances, so a linear search is fastest. The newest connection comes last.
    by_addr: Vec<(SocketAddr, Vec<Kept>)>,
    count: usize,
    /// When the last sweep was; `None` while nothing sweeps. Serves as the time, so that a
    /// connection may expire up to a second early.
    swept: Option<Instant>,
}

struct Kept {
    stream: Transport,
    until: Instant,
}

impl Idle {
    const fn new() -> Self {
        Self { by_addr: Vec::new(), count: 0, swept: None }
    }

    /// The connection that was used last: the others may expire.
    fn take(&mut self, addr: SocketAddr) -> Option<Transport> {
        let (_, kept) = self.by_addr.iter_mut().find(|(known, _)| *known == addr)?;
        while let Some(mut newest) = kept.pop() {
            self.count -= 1;
            if newest.stream.is_quiet() {
                return Some(newest.stream);
            }
        }
        None
    }

    /// Returns whether the caller must begin to sweep.
    fn put(&mut self, addr: SocketAddr, stream: Transport, within: Duration) -> bool {
        if self.count == MAX_IDLE {
            return false;
        }
        self.count += 1;
        let sweeps = self.swept.is_some();
        let now = *self.swept.get_or_insert_with(Instant::now);
        let kept = Kept { stream, until: now + within };
        match self.by_addr.iter_mut().find(|(known, _)| *known == addr) {
            Some((_, others)) => others.push(kept),
            None => self.by_addr.push((addr, vec![kept])),
        }
        !sweeps
    }

    /// Removes closed and expired connections. Returns whether any is left.
    fn sweep(&mut self) -> bool {
        let now = Instant::now();
        for (_, kept) in &mut self.by_addr {
            kept.retain_mut(|kept| now < kept.until && kept.stream.is_quiet());
        }
        self.by_addr.retain(|(_, kept)| !kept.is_empty());
        self.count = self.by_addr.iter().map(|(_, kept)| kept.len()).sum();
        self.swept = (self.count > 0).then_some(now);
        self.count > 0
    }
}

async fn sweep_regularly() {
    loop {
        tokio::time::sleep(SWEEP_EVERY).await;
        if !IDLE.with_borrow_mut(Idle::sweep) {
            return;
        }
    }
}
