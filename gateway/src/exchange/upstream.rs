//! Connections to instances, kept for later requests by the thread that opened them.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, timeout};

use crate::config::UpstreamTls;
use crate::exchange::error::{Broken, ExchangeError, RequestError};
use crate::exchange::room::{Place, Room};
use crate::exchange::transport::Transport;

/// How often closed and expired connections are removed.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// A connection to an instance, for one request.
#[derive(Debug)]
pub(super) struct Upstream {
    stream: Transport,
    place: Place,
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
        room: &Arc<Room>,
    ) -> Result<Self, Broken> {
        if let Some(Kept { stream, place, .. }) = IDLE.with_borrow_mut(|idle| idle.take(addr)) {
            return Ok(Self { stream, place, addr, reused: true });
        }
        let place = room.take();
        if place.is_beyond() {
            IDLE.with_borrow_mut(Idle::close_one);
        }
        match timeout(within, Transport::connect(addr, tls)).await {
            Ok(Ok(stream)) => Ok(Self { stream, place, addr, reused: false }),
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

    /// Keeps the connection for another request, for at most this time, unless there are too many.
    pub(super) fn keep(self, within: Duration) {
        let Self { stream, place, addr, .. } = self;
        if place.is_beyond() {
            return;
        }
        if IDLE.with_borrow_mut(|idle| idle.put(addr, stream, place, within)) {
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
    /// When the last sweep was; `None` while nothing sweeps. Serves as the time, so that a
    /// connection may expire up to a second early.
    swept: Option<Instant>,
}

struct Kept {
    stream: Transport,
    place: Place,
    until: Instant,
}

impl Idle {
    const fn new() -> Self {
        Self { by_addr: Vec::new(), swept: None }
    }

    /// The connection that was used last: the others may expire.
    fn take(&mut self, addr: SocketAddr) -> Option<Kept> {
        let (_, kept) = self.by_addr.iter_mut().find(|(known, _)| *known == addr)?;
        while let Some(mut newest) = kept.pop() {
            if newest.stream.is_quiet() {
                return Some(newest);
            }
        }
        None
    }

    /// Closes a connection to the instance that has the most.
    fn close_one(&mut self) {
        let most = self.by_addr.iter_mut().map(|(_, kept)| kept).max_by_key(|kept| kept.len());
        most.and_then(Vec::pop);
    }

    /// Returns whether the caller must begin to sweep.
    fn put(&mut self, addr: SocketAddr, stream: Transport, place: Place, within: Duration) -> bool {
        let sweeps = self.swept.is_some();
        let now = *self.swept.get_or_insert_with(Instant::now);
        let kept = Kept { stream, place, until: now + within };
        match self.by_addr.iter_mut().find(|(known, _)| *known == addr) {
            Some((_, others)) => others.push(kept),
            None => self.by_addr.push((addr, vec![kept])),
        }
        !sweeps
    }

    /// Removes closed and expired connections, and those that other threads need the room of.
    /// Returns whether any is left.
    fn sweep(&mut self) -> bool {
        let now = Instant::now();
        for (_, kept) in &mut self.by_addr {
            kept.retain_mut(|kept| {
                now < kept.until && !kept.place.is_beyond() && kept.stream.is_quiet()
            });
        }
        self.by_addr.retain(|(_, kept)| !kept.is_empty());
        let any = !self.by_addr.is_empty();
        self.swept = any.then_some(now);
        any
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

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn idle_connections_leave_when_another_thread_needs_their_room() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let addr = listener.local_addr().expect("bound");
        let (room, within) = (Arc::new(Room::new(3)), Duration::from_secs(60));
        let mut idle = Idle::new();
        for _ in 0..3 {
            let stream = Transport::connect(addr, None).await.expect("a connection");
            idle.put(addr, stream, room.take(), within);
        }
        let kept = |idle: &Idle| idle.by_addr.iter().map(|(_, kept)| kept.len()).sum::<usize>();
        assert!(idle.sweep());
        assert_eq!(kept(&idle), 3);
        let others = [room.take(), room.take()];
        assert!(idle.sweep());
        assert_eq!(kept(&idle), 1, "as many as are too many");
        assert!(!others[0].is_beyond());
    }
}
