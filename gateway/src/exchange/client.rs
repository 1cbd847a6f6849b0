//! The client's side of an exchange.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::BytesMut;
use pingora::protocols::Stream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use crate::exchange::buffers::Buffer;
use crate::exchange::error::ClientError;
use crate::exchange::read::poll_read;
use crate::exchange::timer::Timer;

/// Maximum bytes of later requests that are read while one is served. Beyond it the client is not
/// watched, and the kernel keeps what it sends.
const MAX_EARLY: usize = 64 * 1024;

/// A client's connection while one of its requests is served.
pub(super) struct Client<'a> {
    pub(super) stream: &'a mut Stream,
    pub(super) timer: &'a mut Timer,
    /// What the client sent after the request.
    pub(super) early: BytesMut,
}

impl Client<'_> {
    /// Reads bytes of the request's body, at least one. Has no buffer while it waits.
    pub(super) fn poll_read(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Result<Buffer, ClientError>> {
        let mut piece = Buffer::take();
        Poll::Ready(match ready!(poll_read(self.stream, &mut *piece, context)) {
            Ok(1..) => Ok(piece),
            Ok(0) | Err(_) => Err(ClientError::Gone),
        })
    }

    /// Waits until the client closes the connection. Later requests that arrive meanwhile are kept.
    ///
    /// A half-closed connection counts as closed, as in Nginx: the two cannot be distinguished.
    pub(super) fn poll_left(&mut self, context: &mut Context<'_>) -> Poll<()> {
        while self.early.len() < MAX_EARLY {
            let mut piece = [0; 1024];
            let mut space = ReadBuf::new(&mut piece);
            match ready!(Pin::new(&mut *self.stream).poll_read(context, &mut space)) {
                Ok(()) if !space.filled().is_empty() => {
                    self.early.extend_from_slice(space.filled());
                }
                Ok(()) | Err(_) => return Poll::Ready(()),
            }
        }
        Poll::Pending
    }

    /// Whether the client sent more. Closing the connection then would send a reset.
    pub(super) async fn has_unread(&mut self) -> bool {
        poll_fn(|context| {
            let _left_or_not = self.poll_left(context);
            Poll::Ready(!self.early.is_empty())
        })
        .await
    }

    /// Writes both parts in order within this time.
    ///
    /// # Errors
    /// When the client is gone or reads too slowly.
    pub(super) async fn write(
        &mut self,
        bytes: [&[u8]; 2],
        within: Duration,
    ) -> Result<(), ClientError> {
        let [mut first, mut then] = bytes;
        let mut timed = false;
        poll_fn(|context| {
            loop {
                let stream = Pin::new(&mut *self.stream);
                let (piece, polled) = match (first, then) {
                    ([], []) => match stream.poll_flush(context) {
                        Poll::Ready(Ok(())) => return Poll::Ready(Ok(())),
                        other => (&mut then, other.map_ok(|()| 0)),
                    },
                    ([], rest) => (&mut then, stream.poll_write(context, rest)),
                    (rest, _) => (&mut first, stream.poll_write(context, rest)),
                };
                match polled {
                    Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Err(ClientError::Gone)),
                    Poll::Ready(Ok(count)) => *piece = &piece[count..],
                    Poll::Pending => {
                        if !timed {
                            timed = true;
                            self.timer.set(Instant::now(), within);
                        }
                        ready!(self.timer.poll_passed(context));
                        return Poll::Ready(Err(ClientError::SlowRead));
                    }
                }
            }
        })
        .await
    }
}
