//! A client's connection, for who has to close it in good order.

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

/// The connection that a request came by.
#[derive(Clone, Copy, Debug)]
struct Connection(RawFd);

/// Notes each connection, for the requests that come by it.
pub(crate) fn note(stream: &dyn Any, data: &mut Extensions) {
    if let Some(stream) = stream.downcast_ref::<TcpStream>() {
        data.insert(Connection(stream.as_raw_fd()));
    }
}

/// A streamed body after whose end the server closes its side of the connection at once.
///
/// The framework lingers after the response to an upgrade: it waits up to two seconds for the client to close first. Clients of
/// WebSockets wait for the server (RFC 6455, section 7.1.1), so both would wait, and browsers report an unclean end.
pub struct ClosesAfter {
    body: BoxBody,
    /// Completes when the connection is to be closed. When it is dropped, the framework closes as it does by itself.
    may_close: oneshot::Receiver<()>,
    connection: Option<Connection>,
    /// Something was handed over that has not been written to the connection yet.
    is_unflushed: bool,
    is_over: bool,
}

impl ClosesAfter {
    /// Sends this body in response to the request, and closes after it when the other end of the channel is used.
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

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Error>>> {
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
        // The framework writes what it has when a body is pending, and then polls again.
        if std::mem::take(&mut self.is_unflushed) {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        match Pin::new(&mut self.may_close).poll(context) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Ok(())) => {
                if let Some(Connection(socket)) = self.connection.take() {
                    // The framework polls a body only while it owns the connection, so the number is still this socket's. The
                    // client may have closed it already.
                    let _closed = shutdown(socket, Shutdown::Write);
                }
            }
            Poll::Ready(Err(_)) => {}
        }
        Poll::Ready(None)
    }
}
