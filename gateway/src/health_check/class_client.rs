//! Asks instances for their part of a class.

use std::net::SocketAddr;

use http::StatusCode;
use pingora::http::RequestHeader;
use proto_contracts::PoolName;
use secrecy::{ExposeSecret, SecretString};
use tokio::time::timeout;

use crate::health_check::Prober;
use crate::health_check::dialer::{self, Dialer};
use crate::health_check::drain_client::DrainRequestError;

/// More than a list of the most people an instance keeps.
const MAX_BODY: usize = 1 << 20;

impl Prober {
    /// Sends a request about the class to an instance: its status and body.
    ///
    /// # Errors
    /// When there was no response in time.
    pub async fn ask_of_class(
        &self,
        addr: SocketAddr,
        method: &str,
        path: &str,
    ) -> Result<(StatusCode, Vec<u8>), DrainRequestError> {
        let client = self.drain_client(PoolName::Stateful);
        let token = client.token.ok_or(DrainRequestError::NoToken)?;
        timeout(client.timeout, exchange(client.dialer, token, addr, method, path))
            .await
            .unwrap_or(Err(DrainRequestError::TimedOut))
    }
}

async fn exchange(
    dialer: &Dialer,
    token: &SecretString,
    addr: SocketAddr,
    method: &str,
    path: &str,
) -> Result<(StatusCode, Vec<u8>), DrainRequestError> {
    let broken = |error: Box<pingora::Error>| DrainRequestError::Connection(dialer::fault(&error));
    let mut session = dialer.open(PoolName::Stateful, addr).await.map_err(broken)?;
    let mut request = RequestHeader::build(method, path.as_bytes(), Some(3)).map_err(broken)?;
    request.insert_header(http::header::HOST, addr.to_string()).map_err(broken)?;
    request
        .insert_header(http::header::AUTHORIZATION, format!("Bearer {}", token.expose_secret()))
        .map_err(broken)?;
    request.insert_header(http::header::CONNECTION, "close").map_err(broken)?;
    session.write_request_header(Box::new(request)).await.map_err(broken)?;
    session.finish_body().await.map_err(broken)?;
    let status = session.read_resp_header_parts().await.map_err(broken)?.status;
    let mut body = Vec::new();
    while let Some(chunk) = session.read_body_ref().await.map_err(broken)? {
        if body.len() + chunk.len() > MAX_BODY {
            return Err(DrainRequestError::Connection("its response is too large".to_owned()));
        }
        body.extend_from_slice(chunk);
    }
    Ok((status, body))
}
