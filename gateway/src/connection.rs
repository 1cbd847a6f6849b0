//! Client connections: reads request headers, then lets one of the engines serve the requests.
//!
//! `header` reads a header within a fixed deadline, and [`crate::http_strict`] checks it as it
//! arrives. A rejected request gets a response from `refusal`. A valid one is served by the plain
//! exchange ([`crate::exchange`]), or by Pingora ([`crate::proxy`]) as bytes that were already
//! read.
//!
//! **Invariant:** Pingora parses only headers that [`crate::http_strict`] accepted, so its own
//! parser never rejects one. Their target is a canonical path ([`proto_contracts::path`]): the
//! gateway forwards what it routes by.

mod bounds;
mod handshake;
mod header;
mod refusal;

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use bytes::BytesMut;
use futures_util::FutureExt;
use pingora::apps::{HttpPersistentSettings, HttpServerApp, ServerApp};
use pingora::protocols::Stream;
use pingora::protocols::http::ServerSession;
use pingora::proxy::HttpProxy;
use pingora::server::ShutdownWatch;
use service_kit::tls::ServerCertificate;
use tokio::sync::watch;

use crate::config::Traffic;
use crate::connection::bounds::{Bounds, Place};
use crate::connection::handshake::Handshakes;
use crate::connection::header::{Ending, Turn};
use crate::exchange::{PlainExchange, Timer};
use crate::proxy;
use crate::telemetry::{RefusedConnection, Telemetry};

/// After a hot restart, how long the old process keeps idle connections: a request on one still
/// gets a response, with `Connection: close`.
pub const IDLE_LINGER: Duration = Duration::from_secs(5);

/// Serves the connections of one listener.
pub struct Connections {
    bounds: Arc<Bounds>,
    plain: PlainExchange,
    proxy: Arc<HttpProxy<proxy::DataPlane>>,
    traffic: Arc<ArcSwap<Traffic>>,
    telemetry: Arc<Telemetry>,
    handed_over: watch::Receiver<bool>,
    handshakes: Option<Handshakes>,
}

impl Connections {
    /// Serves at most `most` connections by these engines. `handed_over` is true when a new process
    /// accepts connections.
    pub fn new(
        most: usize,
        plain: PlainExchange,
        proxy: HttpProxy<proxy::DataPlane>,
        traffic: Arc<ArcSwap<Traffic>>,
        telemetry: Arc<Telemetry>,
        handed_over: watch::Receiver<bool>,
    ) -> Self {
        let bounds = Arc::new(Bounds::new(most, Arc::clone(&telemetry)));
        let proxy = Arc::new(proxy);
        Self { bounds, plain, proxy, traffic, telemetry, handed_over, handshakes: None }
    }

    /// By TLS with this certificate, if there is one.
    pub fn with_tls(self, certificate: Option<&ServerCertificate>) -> Self {
        Self { handshakes: certificate.map(Handshakes::new), ..self }
    }
}

#[async_trait]
impl ServerApp for Connections {
    async fn process_new(
        self: &Arc<Self>,
        mut stream: Stream,
        shutdown: &ShutdownWatch,
    ) -> Option<Stream> {
        // Held until the connection is closed.
        let (_place, untrusted) = match self.admit(&stream) {
            Ok(admitted) => admitted,
            Err(why) => {
                // A response to a client that has yet to begin TLS would be unreadable.
                if self.handshakes.is_none() {
                    Box::pin(refusal::reject(stream, why)).await;
                }
                return None;
            }
        };
        if let Some(handshakes) = &self.handshakes {
            let within = self.traffic.load().timeouts.client.header;
            stream = Box::pin(handshakes.accept(stream, within)).await?;
        }
        let mut stopping = pin!(stopping(shutdown.clone(), &self.handed_over).fuse());
        let mut timer = Timer::new();
        let peer = refusal::peer_address(&stream).as_ref().map(SocketAddr::ip);
        let mut turn = Turn::First;
        let mut early = BytesMut::new();
        let mut kept: Option<HttpPersistentSettings> = None;
        loop {
            let (limits, mut timeouts) = {
                let traffic = self.traffic.load();
                (traffic.limits.header, traffic.timeouts.client)
            };
            if untrusted {
                timeouts.idle = self.bounds.idle(timeouts.idle);
            }
            let next = header::read(
                &mut stream,
                early,
                turn,
                &mut timer,
                stopping.as_mut(),
                limits,
                timeouts,
            );
            let incoming = match next.await {
                Ok(incoming) => incoming,
                Err(Ending::Silent) => return None,
                Err(Ending::Refused(refused)) => {
                    // Boxed to keep the common future small.
                    Box::pin(refusal::respond(
                        stream,
                        refused,
                        self.traffic.load_full(),
                        &self.telemetry,
                    ))
                    .await;
                    return None;
                }
            };
            turn = Turn::Later;
            if incoming.scanner.request().is_some_and(|head| self.plain.takes(&head)) {
                let served = self.plain.serve(&mut stream, &mut timer, shutdown, peer, &incoming);
                early = served.await?;
                continue;
            }
            let mut session = ServerSession::new_http1(stream);
            if let Some(settings) = kept.take() {
                settings.apply_to_session(&mut session);
            }
            let (request, later) = incoming.into_canonical();
            early = later;
            session.set_pipelined_prefix(request);
            let served = Box::pin(self.proxy.process_new_http(session, shutdown));
            (stream, kept) = served.await?.consume();
        }
    }

    async fn cleanup(&self) {
        self.proxy.http_cleanup().await;
    }
}

impl Connections {
    /// Takes a place for the connection. Returns it and whether the peer is not a trusted proxy.
    fn admit(&self, stream: &Stream) -> Result<(Place, bool), RefusedConnection> {
        let traffic = self.traffic.load();
        let untrusted = refusal::peer_address(stream)
            .map(|addr| addr.ip().to_canonical())
            .filter(|ip| !traffic.trusted_proxies.contains(*ip));
        let place = self.bounds.take(untrusted.map(|ip| (ip, traffic.clients.connections)))?;
        Ok((place, untrusted.is_some()))
    }
}

/// Waits until idle connections are closed: when the gateway begins to stop, plus [`IDLE_LINGER`]
/// after a hot restart.
async fn stopping(mut shutdown: ShutdownWatch, handed_over: &watch::Receiver<bool>) {
    // A dropped sender means the same.
    let _stopping_too = shutdown.wait_for(|stopping| *stopping).await.is_ok();
    if *handed_over.borrow() {
        tokio::time::sleep(IDLE_LINGER).await;
    }
}
