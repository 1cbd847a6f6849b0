//! Waits for a request's header.

use std::pin::Pin;

use bytes::{Buf, BytesMut};
use futures_util::future::FusedFuture;
use pingora::protocols::Stream;
use tokio::io::AsyncReadExt;
use tokio::time::Instant;

use crate::config::ClientTimeouts;
use crate::connection::hygiene::{Fault, HeaderLimits, Progress, Scanner};
use crate::connection::timer::Timer;

/// What is read at first: most requests fit, their bodies too.
const FIRST_READ: usize = 4 * 1024;
/// With less room than this the buffer grows before the next read.
const MIN_ROOM: usize = 1024;

/// Whether the connection has served a request before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// Its first request is awaited.
    First,
    /// A further one may come.
    Later,
}

/// Why no request comes.
#[derive(Debug)]
pub(super) enum Ending {
    /// There is nobody to tell, or nothing to tell of.
    Silent,
    /// What came is refused.
    Refused(Refused),
}

/// A request that is refused before it is complete.
#[derive(Debug)]
pub(super) struct Refused {
    /// Why.
    pub(super) fault: Fault,
    /// What had come of it.
    pub(super) bytes: BytesMut,
    /// When it was awaited, or its first byte came.
    pub(super) since: Instant,
}

/// Reads a header, and what of the body comes with it.
///
/// The first request of a connection must be complete within the header timeout; a later one may be awaited for as long as
/// the connection may be idle, and has the header timeout from its first byte on. A gateway that stops awaits no further
/// request, but still the first one: its client has connected just to send it.
pub(super) async fn read(
    stream: &mut Stream,
    turn: Turn,
    timer: &mut Timer,
    mut stopping: Pin<&mut (impl FusedFuture<Output = ()> + Send)>,
    limits: HeaderLimits,
    timeouts: ClientTimeouts,
) -> Result<BytesMut, Ending> {
    let mut bytes = BytesMut::with_capacity(FIRST_READ);
    let mut scanner = Scanner::new(limits);
    let mut since = Instant::now();
    timer.set(since, if turn == Turn::First { timeouts.header } else { timeouts.idle });
    let mut empty_line_skipped = false;
    loop {
        let idle = bytes.is_empty();
        let read = tokio::select! {
            biased;
            read = stream.read_buf(&mut bytes) => read,
            () = timer.passed() => match idle {
                true => return Err(Ending::Silent),
                false => return Err(refuse(Fault::TooSlow, bytes, since)),
            },
            () = &mut stopping, if idle && turn == Turn::Later && !stopping.is_terminated() => return Err(Ending::Silent),
        };
        match read {
            Ok(0) if !idle => return Err(refuse(Fault::CutShort, bytes, since)),
            Ok(0) | Err(_) => return Err(Ending::Silent),
            Ok(_) => {}
        }
        // An empty line before a request is the end of a body that some clients send one line too long (RFC 9112, 2.2).
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

/// The header with the one form of its target. Most have it already and are not copied.
fn with_canonical_target(bytes: BytesMut, scanner: &Scanner) -> BytesMut {
    let Some((sent, target)) = scanner.rewritten_target() else { return bytes };
    let parts = [&bytes[..sent.start], target.as_bytes(), &bytes[sent.end..]];
    BytesMut::from(&parts.concat()[..])
}

fn refuse(fault: Fault, bytes: BytesMut, since: Instant) -> Ending {
    Ending::Refused(Refused { fault, bytes, since })
}
