//! A Pingora service whose listener is bound when the gateway is built, so that a port that is taken is an error at
//! start-up, and port 0 tells what it became. Pingora itself binds late, and panics when it cannot.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::IntoRawFd;

use async_trait::async_trait;
use pingora::apps::ServerApp;
use pingora::server::{ListenFds, ShutdownWatch};
use pingora::services::Service as PingoraService;
use pingora::services::listening::Service;
use socket2::{Domain, Protocol, Socket, Type};

/// Connections that wait to be accepted.
const BACKLOG: i32 = 4_096;

/// Opens a listener there.
pub(super) fn bind(wanted: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(wanted), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&wanted.into())?;
    socket.listen(BACKLOG)?;
    Ok(TcpListener::from(socket))
}

/// A service and the listener that it will take over.
pub(super) struct BoundService<A> {
    service: Service<A>,
    listener: Option<TcpListener>,
    addr: SocketAddr,
}

impl<A> BoundService<A> {
    /// Has the service use this listener.
    pub(super) fn new(mut service: Service<A>, listener: TcpListener) -> io::Result<Self> {
        let addr = listener.local_addr()?;
        service.add_tcp(&addr.to_string());
        Ok(Self { service, listener: Some(listener), addr })
    }

    /// The bound address.
    pub(super) fn addr(&self) -> SocketAddr {
        self.addr
    }
}

#[async_trait]
impl<A: ServerApp + Send + Sync + 'static> PingoraService for BoundService<A> {
    async fn start_service(&mut self, fds: Option<ListenFds>, shutdown: ShutdownWatch, listeners_per_fd: usize) {
        if let (Some(fds), Some(listener)) = (&fds, self.listener.take()) {
            // Pingora looks its listeners up by address before it binds them, as it does after an upgrade.
            fds.lock().add(self.addr.to_string(), listener.into_raw_fd());
        }
        PingoraService::start_service(&mut self.service, fds, shutdown, listeners_per_fd).await;
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
