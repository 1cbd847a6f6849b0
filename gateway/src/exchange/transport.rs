//! The bytes of a connection to an instance, with or without TLS.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::FutureExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWrite as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::config::UpstreamTls;
use crate::exchange::read::poll_read;

/// A connection to an instance.
#[derive(Debug)]
pub(super) enum Transport {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Transport {
    /// A new connection.
    ///
    /// # Errors
    /// When it cannot be opened, or the handshake fails.
    pub(super) async fn connect(addr: SocketAddr, tls: Option<&UpstreamTls>) -> io::Result<Self> {
        let socket = if addr.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        socket.set_nodelay(true)?;
        let stream = socket.connect(addr).await?;
        let Some(tls) = tls else { return Ok(Self::Plain(stream)) };
        let connector = TlsConnector::from(Arc::clone(&tls.client));
        // Boxed to keep the common future small.
        let stream = Box::pin(connector.connect(tls.server_name.clone(), stream)).await?;
        Ok(Self::Tls(Box::new(stream)))
    }

    /// Reads into the free capacity of `bytes`, which is not empty.
    pub(super) fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        bytes: &mut Vec<u8>,
    ) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(stream) => poll_read(stream, bytes, context),
            Self::Tls(stream) => poll_read(stream, bytes, context),
        }
    }

    /// Writes some of these bytes.
    pub(super) fn poll_write(
        &mut self,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    /// Sends what was written: TLS may still hold some of it.
    pub(super) fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(_) => Poll::Ready(Ok(())),
            Self::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    /// Whether nothing arrived since the last response. An instance that closed the connection, or
    /// sent something without a request, is noticed here when the runtime has noticed it.
    pub(super) fn is_quiet(&mut self) -> bool {
        match self {
            Self::Plain(stream) => {
                let read = stream.try_read(&mut [0; 1]);
                matches!(read, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
            }
            // Also what was received and is not decrypted yet. Tickets of the session are no data.
            Self::Tls(stream) => {
                let mut byte = [0; 1];
                tokio::task::unconstrained(stream.read(&mut byte)).now_or_never().is_none()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use service_kit::testing::{Authority, VALID};
    use tokio::io::AsyncWriteExt as _;
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;

    use super::*;

    /// A connection, and the instance's side of it.
    async fn connected() -> (Transport, tokio_rustls::server::TlsStream<TcpStream>) {
        let authority = Authority::new();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let addr = listener.local_addr().expect("bound");
        let acceptor = TlsAcceptor::from(authority.server("an-instance", VALID));
        let tls = UpstreamTls::new("an-instance", &authority.trusted()).expect("a name");
        let accepted = async {
            let (stream, _) = listener.accept().await.expect("a connection");
            acceptor.accept(stream).await.expect("a handshake")
        };
        let (transport, instance) = tokio::join!(Transport::connect(addr, Some(&tls)), accepted);
        (transport.expect("a handshake"), instance)
    }

    async fn read(transport: &mut Transport, bytes: &mut Vec<u8>) -> usize {
        poll_fn(|context| transport.poll_read(context, bytes)).await.expect("open")
    }

    #[tokio::test]
    async fn what_came_without_a_request_is_noticed_wherever_it_is_held() {
        let (mut transport, mut instance) = connected().await;
        instance.write_all(b"ab").await.expect("written");
        instance.flush().await.expect("sent");
        // The tickets of the session precede it, and are no data.
        let mut one = Vec::with_capacity(1);
        assert_eq!(read(&mut transport, &mut one).await, 1);
        assert!(!transport.is_quiet(), "the other byte is decrypted already");

        let (mut transport, mut instance) = connected().await;
        instance.write_all(b"ab").await.expect("written");
        let mut both = Vec::with_capacity(64);
        while both.len() < 2 {
            read(&mut transport, &mut both).await;
        }
        assert!(transport.is_quiet(), "all is read");
        instance.shutdown().await.expect("closed");
        drop(instance);
        // The runtime must notice it.
        let begin = std::time::Instant::now();
        while transport.is_quiet() {
            assert!(begin.elapsed().as_secs() < 20, "the end is not noticed");
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn all_that_was_written_is_sent_by_a_flush() {
        let (mut transport, mut instance) = connected().await;
        let sent = vec![b'x'; 1 << 20];
        let writing = async {
            let mut rest = &sent[..];
            while !rest.is_empty() {
                let count = poll_fn(|context| transport.poll_write(context, rest)).await;
                rest = &rest[count.expect("written")..];
            }
            poll_fn(|context| transport.poll_flush(context)).await.expect("sent");
        };
        let reading = async {
            let mut received = vec![0; 1 << 20];
            instance.read_exact(&mut received).await.expect("all of it");
            received
        };
        let ((), received) = tokio::join!(writing, reading);
        assert!(received == sent);
    }
}
