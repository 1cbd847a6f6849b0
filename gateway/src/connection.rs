//! A client's connection: its requests, one after the other.
//!
//! Pingora serves each request; what comes before it is ours. `header` waits for the request's header, within a deadline
//! that no trickle of bytes moves, while [`crate::http_strict`] reads it as it comes. What is refused is answered by `refusal` and
//! never reaches Pingora; what is fine is handed over as bytes that were read already.
//!
//! **Invariant:** Pingora parses only headers that [`crate::http_strict`] has let pass, so its own parser refuses nothing and has
//! nothing to guess. Their target is a canonical path ([`proto_contracts::path`]): what the gateway routes by is what it
//! forwards.

mod bounds;
mod header;
mod refusal;
mod timer;

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use futures_util::FutureExt;
use pingora::apps::{HttpPersistentSettings, HttpServerApp, ServerApp};
use pingora::protocols::Stream;
use pingora::protocols::http::ServerSession;
use pingora::protocols::l4::socket::SocketAddr;
use pingora::proxy::HttpProxy;
use pingora::server::ShutdownWatch;
use tokio::sync::watch;

use crate::config::Traffic;
use crate::connection::bounds::{Bounds, Place};
use crate::connection::header::{Ending, Turn};
use crate::connection::timer::Timer;
use crate::proxy;
use crate::telemetry::{RefusedConnection, Telemetry};

/// How long a gateway that has handed over still answers on idle connections: a client may just be sending, and one that is
/// answered learns from `Connection: close` that the connection ends.
pub const IDLE_LINGER: Duration = Duration::from_secs(5);

/// Serves the connections of one listener.
pub struct Connections {
    bounds: Arc<Bounds>,
    proxy: Arc<HttpProxy<proxy::Gateway>>,
    traffic: Arc<ArcSwap<Traffic>>,
    telemetry: Arc<Telemetry>,
    handed_over: watch::Receiver<bool>,
}

impl Connections {
    /// Serves at most `most` of them by this proxy. `handed_over` tells whether a successor serves new connections.
    pub fn new(
        most: usize,
        proxy: HttpProxy<proxy::Gateway>,
        traffic: Arc<ArcSwap<Traffic>>,
        telemetry: Arc<Telemetry>,
        handed_over: watch::Receiver<bool>,
    ) -> Self {
        let bounds = Arc::new(Bounds::new(most, Arc::clone(&telemetry)));
        Self { bounds, proxy: Arc::new(proxy), traffic, telemetry, handed_over }
    }
}

#[async_trait]
impl ServerApp for Connections {
    async fn process_new(self: &Arc<Self>, mut stream: Stream, shutdown: &ShutdownWatch) -> Option<Stream> {
        // The place is the connection's until it is closed.
        let (_place, strange) = match self.admit(&stream) {
            Ok(admitted) => admitted,
            Err(why) => {
                Box::pin(refusal::turn_away(stream, why)).await;
                return None;
            }
        };
        let mut stopping = pin!(stopping(shutdown.clone(), &self.handed_over).fuse());
        let mut timer = Timer::new();
        let mut turn = Turn::First;
        let mut kept: Option<HttpPersistentSettings> = None;
        loop {
            let (limits, mut timeouts) = {
                let traffic = self.traffic.load();
                (traffic.limits.header, traffic.timeouts.client)
            };
            if strange {
                timeouts.idle = self.bounds.idle(timeouts.idle);
            }
            let next = header::read(&mut stream, turn, &mut timer, stopping.as_mut(), limits, timeouts);
            let bytes = match next.await {
                Ok(bytes) => bytes,
                Err(Ending::Silent) => return None,
                Err(Ending::Refused(refused)) => {
                    // In a box, so that the many that are never refused do not carry it.
                    Box::pin(refusal::answer(stream, &refused, self.traffic.load_full(), &self.telemetry)).await;
                    return None;
                }
            };
            let mut session = ServerSession::new_http1(stream);
            if let Some(settings) = kept.take() {
                settings.apply_to_session(&mut session);
            }
            session.set_pipelined_prefix(bytes);
            (stream, kept) = self.proxy.process_new_http(session, shutdown).await?.consume();
            turn = Turn::Later;
        }
    }

    async fn cleanup(&self) {
        self.proxy.http_cleanup().await;
    }
}

impl Connections {
    /// Takes a place for the connection, and tells whether its peer is a stranger, who is no trusted proxy.
    fn admit(&self, stream: &Stream) -> Result<(Place, bool), RefusedConnection> {
        let digest = stream.get_socket_digest();
        let peer = digest.as_ref().and_then(|digest| digest.peer_addr()).and_then(SocketAddr::as_inet);
        let traffic = self.traffic.load();
        let stranger = peer.map(|addr| addr.ip().to_canonical()).filter(|ip| !traffic.trusted_proxies.contains(*ip));
        let place = self.bounds.take(stranger.map(|ip| (ip, traffic.clients.connections)))?;
        Ok((place, stranger.is_some()))
    }
}

/// Waits until idle connections are closed: when the gateway begins to stop, or a while after that when it has handed over. A
/// request that comes in that while is answered with `Connection: close`, so its client loses nothing.
async fn stopping(mut shutdown: ShutdownWatch, handed_over: &watch::Receiver<bool>) {
    // A sender that has gone has no more to say than that.
    let _stopping_too = shutdown.wait_for(|stopping| *stopping).await.is_ok();
    if *handed_over.borrow() {
        tokio::time::sleep(IDLE_LINGER).await;
    }
}
