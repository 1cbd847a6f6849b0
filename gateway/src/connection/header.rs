//! Reads a request's header.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Poll, ready};

use bytes::{Buf, BytesMut};
use futures_util::future::FusedFuture;
use pingora::protocols::Stream;
use tokio::io::{AsyncRead, AsyncReadExt, ReadBuf};
use tokio::time::Instant;

use crate::config::ClientTimeouts;
use crate::connection::timer::Timer;
use crate::http_strict::{Fault, HeaderLimits, Progress, Scanner};

/// Size of the first read: most requests fit, with their bodies.
const FIRST_READ: usize = 4 * 1024;
/// With less free space than this the buffer grows.
const MIN_ROOM: usize = 1024;

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

/// Reads a header, and the part of the body that arrives with it.
///
/// The first header must be complete within the header timeout. A later one has the idle timeout
/// until its first byte, then the header timeout. A stopping gateway waits for no later request,
/// but still for the first one.
pub(super) async fn read(
    stream: &mut Stream,
    turn: Turn,
    timer: &mut Timer,
    mut stopping: Pin<&mut (impl FusedFuture<Output = ()> + Send)>,
    limits: HeaderLimits,
    timeouts: ClientTimeouts,
) -> Result<BytesMut, Ending> {
    let mut bytes = BytesMut::new();
    let mut scanner = Scanner::new(limits);
    let mut since = Instant::now();
    timer.set(since, if turn == Turn::First { timeouts.header } else { timeouts.idle });
    let mut empty_line_skipped = false;
    loop {
        let idle = bytes.is_empty();
        let read = tokio::select! {
            biased;
            read = read_more(stream, &mut bytes) => read,
            () = timer.passed() => match idle {
                true => return Err(Ending::Silent),
                false => return Err(refuse(Fault::TooSlow, bytes, since)),
            },
            () = &mut stopping, if idle && turn == Turn::Later && !stopping.is_terminated() => {
                return Err(Ending::Silent);
            }
        };
        match read {
            Ok(0) if !idle => return Err(refuse(Fault::CutShort, bytes, since)),
            Ok(0) | Err(_) => return Err(Ending::Silent),
            Ok(_) => {}
        }
        // Some clients send an empty line after a body (RFC 9112, 2.2).
        if !empty_line_skipped && bytes.starts_with(b"\r\n") {
            bytes.advance(2);
            empty_line_skipped = true;
        }
        match scanner.scan(&bytes) {
            Ok(Progress::Complete(_)) => return Ok(with_canonical_target(bytes, &scanner)),
            Ok(Progress::Incomplete) => {}
            Err(fault) => return Err(refuse(fault, bytes, since)),
        }
        if idle && turn == Turn::Later {
            since = Instant::now();
            timer.set(since, timeouts.header);
        }
        if bytes.capacity() - bytes.len() < MIN_ROOM {
            bytes.reserve(bytes.len());
        }
    }
}

/// The header with its canonical target; copied only if that differs.
fn with_canonical_target(bytes: BytesMut, scanner: &Scanner) -> BytesMut {
    let Some((sent, target)) = scanner.rewritten_target() else { return bytes };
    let parts = [&bytes[..sent.start], target.as_bytes(), &bytes[sent.end..]];
    BytesMut::from(&parts.concat()[..])
}

/// Reads first bytes into a buffer shared by the thread's connections, so that idle ones have none,
/// and later bytes into the connection's own.
async fn read_more(stream: &mut Stream, bytes: &mut BytesMut) -> io::Result<usize> {
    if bytes.capacity() > 0 {
        return stream.read_buf(bytes).await;
    }
    poll_fn(|context| {
        SHARED.with_borrow_mut(|shared| {
            let mut space = ReadBuf::new(shared);
            ready!(Pin::new(&mut *stream).poll_read(context, &mut space))?;
            bytes.reserve(FIRST_READ);
            bytes.extend_from_slice(space.filled());
            Poll::Ready(Ok(space.filled().len()))
        })
    })
    .await
}

fn refuse(fault: Fault, bytes: BytesMut, since: Instant) -> Ending {
    Ending::Refused(Refused { fault, bytes, since })
}
