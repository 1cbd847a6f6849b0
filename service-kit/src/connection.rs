//! Access to a client's connection, to close it gracefully.

use std::any::Any;
use std::os::fd::{AsRawFd as _, RawFd};
use std::pin::Pin;
use std::task::{Context, Poll};

use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::Extensions;
use actix_web::rt::net::TcpStream;
use actix_web::web::Bytes;
use actix_web::{Error, HttpRequest};
use nix::sys::socket::{Shutdown, shutdown};
use tokio::sync::oneshot;

/// The connection of a request.
#[derive(Clone, Copy, Debug)]
struct Connection(RawFd);

/// Stores each new connection in its data, where requests find it.
pub(crate) fn store(stream: &dyn Any, data: &mut Extensions) {
    if let Some(stream) = stream.downcast_ref::<TcpStream>() {
        data.insert(Connection(stream.as_raw_fd()));
    }
}

/// A streamed body after which the server closes its side of the connection at once.
///
/// After an upgraded connection ends, the framework waits up to two seconds for the client to close
/// first. WebSocket clients wait for the server (RFC 6455, section 7.1.1), so both would wait, and
/// browsers report an unclean close.
pub struct ClosesAfter {
    body: BoxBody,
    /// Resolves when the connection is to be closed. When its sender is dropped, the framework's
    /// own close applies.
    may_close: oneshot::Receiver<()>,
    connection: Option<Connection>,
    /// The framework has bytes that it has not written to the connection yet.
    is_unflushed: bool,
    is_over: bool,
}

impl ClosesAfter {
    /// Sends the body in response to the request. The connection closes after it once `may_close`
    /// resolves.
    pub fn new(request: &HttpRequest, body: BoxBody, may_close: oneshot::Receiver<()>) -> Self {
        let connection = request.conn_data::<Connection>().copied();
        Self { body, may_close, connection, is_unflushed: false, is_over: false }
    }
}

impl MessageBody for ClosesAfter {
    type Error = Error;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Error>>> {
        if !self.is_over {
            match Pin::new(&mut self.body).poll_next(context) {
                Poll::Ready(Some(Ok(bytes))) => {
                    self.is_unflushed = true;
                    return Poll::Ready(Some(Ok(bytes)));
                }
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(Error::from(error)))),
                Poll::Ready(None) => self.is_over = true,
                Poll::Pending => {
                    self.is_unflushed = false;
                    return Poll::Pending;
                }
            }
        }
        // When a body is pending, the framework flushes and then polls again.
        if std::mem::take(&mut self.is_unflushed) {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        match Pin::new(&mut self.may_close).poll(context) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Ok(())) => {
                if let Some(Connection(socket)) = self.connection.take() {
                    // The framework polls a body only while it owns the connection, so the
                    // descriptor is still this socket's. The client may have closed it already.
                    let _result = shutdown(socket, Shutdown::Write);
                }
            }
            Poll::Ready(Err(_)) => {}
        }
        Poll::Ready(None)
    }
}
