//! TLS of client connections.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use pingora::listeners::tls::Acceptor;
use pingora::protocols::{Stream, l4};
use service_kit::tls::ServerCertificate;

use crate::connection::refusal::peer_address;

/// Failed handshakes are logged this often at most: any client can cause them.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// Accepts TLS from clients.
pub(super) struct Handshakes {
    acceptor: Acceptor,
    /// When a failure was last logged. Locked for failures alone.
    logged: Mutex<Option<Instant>>,
}

impl Handshakes {
    /// With this certificate.
    pub(super) fn new(certificate: &ServerCertificate) -> Self {
        let mut config = certificate.server_config();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Self { acceptor: Acceptor::from_server_config(Arc::new(config)), logged: Mutex::default() }
    }

    /// The connection by TLS; `None` when the client does not complete the handshake within this
    /// time, or cannot: it speaks no TLS, or does not trust the certificate. Then it is closed.
    pub(super) async fn accept(&self, stream: Stream, within: Duration) -> Option<Stream> {
        let peer = peer_address(&stream);
        // All connections of our listeners are of this type.
        let stream = stream.into_any().downcast::<l4::stream::Stream>().ok()?;
        let handshake = self.acceptor.tls_handshake(*stream);
        let error = match tokio::time::timeout(within, handshake).await {
            Ok(Ok(stream)) => return Some(Box::new(stream)),
            Ok(Err(error)) => error.root_cause().to_string(),
            Err(_) => "it took too long".to_owned(),
        };
        if self.may_log() {
            tracing::warn!(?peer, error, "a TLS handshake with a client failed");
        }
        None
    }

    fn may_log(&self) -> bool {
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        let may = logged.is_none_or(|at| at.elapsed() >= LOG_INTERVAL);
        if may {
            *logged = Some(Instant::now());
        }
        may
    }
}
