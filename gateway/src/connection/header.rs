//! Reads a request's header.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use futures_util::future::FusedFuture;
use pingora::protocols::Stream;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::Instant;

use crate::config::ClientTimeouts;
use crate::exchange::{self, Incoming, Timer};
use crate::http_strict::{Fault, HeaderLimits, Progress, Scanner};

/// Size of the first read: most requests fit, with their bodies.
const FIRST_READ: usize = 4 * 1024;
/// With less free space than this the buffer grows.
const MIN_ROOM: usize = 1024;
/// Most requests have fewer fields.
const FIELDS: usize = 16;

thread_local! {
    /// Buffer for first reads.
    static SHARED: RefCell<[u8; FIRST_READ]> = const { RefCell::new([0; FIRST_READ]) };
}

/// Whether this is the connection's first request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// The first.
    First,
    /// A later one.
    Later,
}

/// Why there is no request.
#[derive(Debug)]
pub(super) enum Ending {
    /// No response: there is no request, or the client has disconnected.
    Silent,
    /// The request is rejected.
    Refused(Refused),
}

/// A rejected request.
#[derive(Debug)]
pub(super) struct Refused {
    /// Why.
    pub(super) fault: Fault,
    /// The received bytes.
    pub(super) bytes: BytesMut,
    /// When it was awaited, or its first byte arrived.
    pub(super) since: Instant,
}

/// Reads a header, and the part of the body that arrives with it. `early` came with the request
/// before.
///
/// The first header must be complete within the header timeout. A later one has the idle timeout
/// until its first byte, then the header timeout. A stopping gateway waits for no later request,
/// but still for the first one.
pub(super) async fn read(
    stream: &mut Stream,
    early: BytesMut,
    turn: Turn,
    timer: &mut Timer,
    mut stopping: Pin<&mut (impl FusedFuture<Output = ()> + Send)>,
    limits: HeaderLimits,
    timeouts: ClientTimeouts,
) -> Result<Incoming, Ending> {
    let mut bytes = early;
    let mut scanner = Scanner::with_lines(limits, Vec::with_capacity(FIELDS));
    let mut since = Instant::now();
    let is_first = turn == Turn::First || !bytes.is_empty();
    timer.set(since, if is_first { timeouts.header } else { timeouts.idle });
    let mut empty_line_skipped = false;
    // Bytes that came with the request before.
    let mut unread = bytes.is_empty();
    loop {
        let idle = bytes.is_empty();
        if std::mem::replace(&mut unread, true) {
            let read = poll_fn(|context| {
                if let Poll::Ready(read) = poll_read(stream, &mut bytes, context) {
                    return Poll::Ready(Ok(read));
                }
                let may_stop = idle && !is_first && !stopping.is_terminated();
                if may_stop && stopping.as_mut().poll(context).is_ready() {
                    return Poll::Ready(Err(Awaited::Stop));
                }
                timer.poll_passed(context).map(|()| Err(Awaited::Deadline))
            });
            match read.await {
                Ok(Ok(1..)) => {}
                Err(Awaited::Deadline) if !idle => {
                    return Err(refuse(Fault::TooSlow, bytes, since));
                }
                Ok(Ok(0)) if !idle => return Err(refuse(Fault::CutShort, bytes, since)),
                Ok(Ok(0) | Err(_)) | Err(Awaited::Deadline | Awaited::Stop) => {
                    return Err(Ending::Silent);
                }
            }
        }
        // Some clients send an empty line after a body (RFC 9112, 2.2).
        if !empty_line_skipped && bytes.starts_with(b"\r\n") {
            bytes.advance(2);
            empty_line_skipped = true;
        }
        match scanner.scan(&bytes) {
            Ok(Progress::Complete(header)) => {
                return Ok(Incoming { bytes, scanner, header_len: header.len });
            }
            Ok(Progress::Incomplete) => {}
            Err(fault) => return Err(refuse(fault, bytes, since)),
        }
        if idle && !is_first {
            since = Instant::now();
            timer.set(since, timeouts.header);
        }
        if bytes.capacity() - bytes.len() < MIN_ROOM {
            bytes.reserve(bytes.len().max(MIN_ROOM));
        }
    }
}

/// What ends the wait for bytes.
enum Awaited {
    Deadline,
    Stop,
}

/// Reads first bytes into a buffer shared by the thread's connections, so that idle ones have none,
/// and later bytes into the connection's own.
fn poll_read(
    stream: &mut Stream,
    bytes: &mut BytesMut,
    context: &mut Context<'_>,
) -> Poll<io::Result<usize>> {
    if bytes.capacity() > 0 {
        return exchange::poll_read(stream, bytes, context);
    }
    SHARED.with_borrow_mut(|shared| {
        let mut space = ReadBuf::new(shared);
        ready!(Pin::new(&mut *stream).poll_read(context, &mut space))?;
        // As many as came, which is all of most requests.
        bytes.reserve(space.filled().len());
        bytes.extend_from_slice(space.filled());
        Poll::Ready(Ok(space.filled().len()))
    })
}

fn refuse(fault: Fault, bytes: BytesMut, since: Instant) -> Ending {
    Ending::Refused(Refused { fault, bytes, since })
}
