//! A Pingora service with a listener that is bound when the gateway is built, so that a port in use
//! is an error at the start, and port 0 works. Pingora itself binds later, and panics on errors.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, IntoRawFd};
use std::sync::Arc;

use async_trait::async_trait;
use pingora::apps::ServerApp;
use pingora::listeners::{L4BufferSettings, ListenerConfig};
use pingora::protocols::l4::stream::Stream;
use pingora::protocols::{GetSocketDigest, SocketDigest};
use pingora::server::{ListenFds, ShutdownWatch};
use pingora::services::Service as PingoraService;
use pingora::services::listening::Service;
use tokio::sync::watch;

use socket2::{Domain, Protocol, Socket, Type};

/// The listen backlog.
const BACKLOG: i32 = 4_096;

/// Binds a listener.
pub(super) fn bind(wanted: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(wanted), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&wanted.into())?;
    socket.listen(BACKLOG)?;
    Ok(TcpListener::from(socket))
}

/// A service and its bound listener.
pub(super) struct BoundService<A> {
    service: Service<Shared<A>>,
    app: Arc<A>,
    listener: Option<TcpListener>,
    addr: SocketAddr,
    handed_over: watch::Receiver<bool>,
}

impl<A: ServerApp + Send + Sync + 'static> BoundService<A> {
    /// A service on this listener. `handed_over` is true when a new process accepts its
    /// connections.
    pub(super) fn new(
        name: &str,
        app: A,
        listener: TcpListener,
        handed_over: watch::Receiver<bool>,
    ) -> io::Result<Self> {
        let (addr, app) = (listener.local_addr()?, Arc::new(app));
        let mut service = Service::new(name.to_owned(), Shared(Arc::clone(&app)));
        // Our own code reads headers, and bodies come in large pieces: a read buffer would cost
        // each connection 64 KiB.
        let buffers = L4BufferSettings::default().read(0);
        service.add_listener(ListenerConfig::tcp(addr.to_string()).l4_buffer(buffers));
        Ok(Self { service, app, listener: Some(listener), addr, handed_over })
    }

    /// The bound address.
    pub(super) fn addr(&self) -> SocketAddr {
        self.addr
    }
}

#[async_trait]
impl<A: ServerApp + Send + Sync + 'static> PingoraService for BoundService<A> {
    async fn start_service(
        &mut self,
        fds: Option<ListenFds>,
        shutdown: ShutdownWatch,
        listeners_per_fd: usize,
    ) {
        let mut last = None;
        if let (Some(fds), Some(listener)) = (&fds, self.listener.take()) {
            // Keeps the socket open after Pingora closes its copy.
            last = listener
                .try_clone()
                .inspect_err(|error| tracing::error!(%error, "cannot duplicate the listener"))
                .ok();
            // Pingora looks up listeners by address before it binds, as after its own upgrade.
            fds.lock().add(self.addr.to_string(), listener.into_raw_fd());
        }
        PingoraService::start_service(&mut self.service, fds, shutdown.clone(), listeners_per_fd)
            .await;
        if let Some(listener) = last.filter(|_| !*self.handed_over.borrow()) {
            serve_queued(&self.app, &listener, &shutdown);
        }
    }

    fn name(&self) -> &str {
        PingoraService::name(&self.service)
    }

    fn threads(&self) -> Option<usize> {
        self.service.threads
    }

    fn listen_addresses(&self) -> Option<Vec<String>> {
        PingoraService::listen_addresses(&self.service)
    }
}

/// An application that is shared with the listener's owner.
struct Shared<A>(Arc<A>);

#[async_trait]
impl<A: ServerApp + Send + Sync + 'static> ServerApp for Shared<A> {
    /// Serves the connection in a task of its own: Pingora's task has room for a TLS handshake, 9
    /// KB that an idle connection would keep.
    async fn process_new(
        self: &Arc<Self>,
        stream: pingora::protocols::Stream,
        shutdown: &ShutdownWatch,
    ) -> Option<pingora::protocols::Stream> {
        serve(&self.0, stream, shutdown);
        None
    }

    async fn cleanup(&self) {
        self.0.cleanup().await;
    }
}

/// Serves the connections in the accept queue. The kernel would reset them when the listener
/// closes, and their clients could not know whether a request was read.
fn serve_queued<A: ServerApp + Send + Sync + 'static>(
    app: &Arc<A>,
    listener: &TcpListener,
    shutdown: &ShutdownWatch,
) {
    for _ in 0..BACKLOG {
        let accepted = listener.accept().and_then(|(stream, peer)| connection(stream, peer));
        match accepted {
            Ok(stream) => serve(app, Box::new(stream), shutdown),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
            Err(error) => {
                return tracing::warn!(%error, "connections in the accept queue are reset");
            }
        }
    }
}

/// Serves a connection in a task of its own.
fn serve<A: ServerApp + Send + Sync + 'static>(
    app: &Arc<A>,
    stream: pingora::protocols::Stream,
    shutdown: &ShutdownWatch,
) {
    let (app, shutdown) = (Arc::clone(app), shutdown.clone());
    tokio::spawn(async move {
        let mut next = Some(stream);
        while let Some(stream) = next {
            next = app.process_new(stream, &shutdown).await;
        }
    });
}

/// A connection as Pingora's own accept loop makes one.
fn connection(stream: TcpStream, peer: SocketAddr) -> io::Result<Stream> {
    stream.set_nonblocking(true)?;
    stream.set_nodelay(true)?;
    let digest = SocketDigest::from_raw_fd(stream.as_raw_fd());
    let mut stream = Stream::from(tokio::net::TcpStream::from_std(stream)?);
    // The cell is new, so nobody has set it.
    let _first = digest.peer_addr.set(Some(peer.into()));
    stream.set_socket_digest(digest);
    Ok(stream)
}
