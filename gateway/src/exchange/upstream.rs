//! Connections to instances, kept for later requests by the thread that opened them.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::AsyncWrite;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, timeout};

use crate::exchange::error::{Broken, ExchangeError, RequestError};
use crate::exchange::read::poll_read;

/// Maximum idle connections of a thread, to all instances.
const MAX_IDLE: usize = 1_024;
/// How often closed and expired connections are removed.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// A connection to an instance, for one request.
#[derive(Debug)]
pub(super) struct Upstream {
    stream: TcpStream,
    addr: SocketAddr,
    /// Whether it served a request before.
    pub(super) reused: bool,
}

impl Upstream {
    /// A kept connection to this address, or a new one.
    ///
    /// # Errors
    /// When there is none and no new one can be opened within this time.
    pub(super) async fn open(addr: SocketAddr, within: Duration) -> Result<Self, Broken> {
        if let Some(stream) = IDLE.with_borrow_mut(|idle| idle.take(addr)) {
            return Ok(Self { stream, addr, reused: true });
        }
        match timeout(within, connect(addr)).await {
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
        poll_read(&mut self.stream, bytes, context)
    }

    /// Writes some of these bytes.
    pub(super) fn poll_write(
        &mut self,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    /// Keeps the connection for another request, for at most this time.
    pub(super) fn keep(self, within: Duration) {
        let sweep = IDLE.with_borrow_mut(|idle| idle.put(self.addr, self.stream, within));
        if sweep {
            tokio::spawn(sweep_regularly());
        }
    }
}

async fn connect(addr: SocketAddr) -> io::Result<TcpStream> {
    let socket = if addr.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_nodelay(true)?;
    socket.connect(addr).await
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
    stream: TcpStream,
    until: Instant,
}

impl Kept {
    /// Whether nothing arrived since the last response. An instance that closed the connection, or
    /// sent something without a request, is noticed here when the runtime has noticed it.
    fn is_quiet(&self) -> bool {
        let read = self.stream.try_read(&mut [0; 1]);
        matches!(read, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }
}

impl Idle {
    const fn new() -> Self {
        Self { by_addr: Vec::new(), count: 0, swept: None }
    }

    /// The connection that was used last: the others may expire.
    fn take(&mut self, addr: SocketAddr) -> Option<TcpStream> {
        let (_, kept) = self.by_addr.iter_mut().find(|(known, _)| *known == addr)?;
        while let Some(newest) = kept.pop() {
            self.count -= 1;
            if newest.is_quiet() {
                return Some(newest.stream);
            }
        }
        None
    }

    /// Returns whether the caller must begin to sweep.
    fn put(&mut self, addr: SocketAddr, stream: TcpStream, within: Duration) -> bool {
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
            kept.retain(|kept| now < kept.until && kept.is_quiet());
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
