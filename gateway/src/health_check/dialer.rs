//! Connections to instances for the gateway's own requests: health checks and operators' decisions.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use pingora::connectors::ConnectorOptions;
use pingora::connectors::http::v1::Connector;
use pingora::protocols::http::v1::client::HttpSession;
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorType};
use proto_contracts::PoolName;
use service_kit::tls;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::config::{Identity, UpstreamTls};
use crate::pool::peer;

/// Opens connections to instances.
pub(super) struct Dialer {
    /// Created once, because it reads the certificates of authorities.
    connector: Connector,
    identity: Identity,
}

impl Dialer {
    /// Connects as configured.
    pub(super) fn new(identity: Identity) -> Self {
        let file = identity.tls.values().find_map(|tls| tls.ca_file());
        let options = file.map(|file| ConnectorOptions {
            ca_file: Some(file.to_string_lossy().into_owned()),
            ..ConnectorOptions::new(1)
        });
        Self { connector: Connector::new(options), identity }
    }

    /// How this gateway identifies itself.
    pub(super) fn identity(&self) -> &Identity {
        &self.identity
    }

    /// A new connection to an instance of this pool.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub(super) async fn open(
        &self,
        pool: PoolName,
        addr: SocketAddr,
    ) -> pingora::Result<HttpSession> {
        let tls = self.identity.tls.get(&pool);
        let peer: HttpPeer = peer(addr, tls);
        match self.connector.get_http_session(&peer).await {
            Ok((session, _)) => Ok(session),
            Err(error) => match tls {
                // Pingora keeps no cause of a failed handshake, so it is repeated.
                Some(tls) if *error.etype() == ErrorType::TLSHandshakeFailure => {
                    match handshake(addr, tls).await {
                        Ok(()) => Err(error),
                        Err(cause) => {
                            Err(Error::because(ErrorType::TLSHandshakeFailure, "by TLS", cause))
                        }
                    }
                }
                _ => Err(error),
            },
        }
    }
}

/// A handshake alone.
async fn handshake(addr: SocketAddr, tls: &UpstreamTls) -> io::Result<()> {
    let stream = TcpStream::connect(addr).await?;
    let connector = TlsConnector::from(Arc::clone(&tls.client));
    Box::pin(connector.connect(tls.server_name.clone(), stream)).await.map(drop)
}

/// What a failed connection or exchange means.
pub(super) fn fault(error: &pingora::Error) -> String {
    match tls::fault(error.root_cause()) {
        Some(fault) => format!("it {fault}"),
        None => error.to_string(),
    }
}
