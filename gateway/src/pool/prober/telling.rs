//! Tells an instance that it is drained, so that it tells every gateway.

use std::net::SocketAddr;
use std::time::Duration;

use pingora::http::RequestHeader;
use pingora::upstreams::peer::HttpPeer;
use proto_contracts::control::DrainInstance;
use proto_contracts::health::DRAIN_PATH;
use secrecy::ExposeSecret;
use tokio::time::timeout;

use crate::pool::prober::Prober;

/// The instance could not be told.
#[derive(Debug, thiserror::Error)]
pub enum TellError {
    /// There is nothing to prove by that the gateway may.
    #[error("The gateway has no INSTANCE_TOKEN to tell the instance with")]
    NoToken,
    /// No answer in time.
    #[error("The instance did not answer in time")]
    TimedOut,
    /// The connection could not be made, or broke.
    #[error("The instance cannot be reached ({0})")]
    Connection(String),
    /// It has another token.
    #[error("The instance has another INSTANCE_TOKEN than the gateway")]
    Refused,
    /// It does not know the path.
    #[error("The instance knows no drain: it is of an older version, or has no INSTANCE_TOKEN")]
    Unknown,
    /// It answered something else.
    #[error("The instance answered {0}")]
    Status(u16),
}

impl Prober {
    /// Tells the instance at that address that it is drained, its keys staying for so long at most; with `None`, that it is
    /// no longer.
    ///
    /// # Errors
    /// When it did not say that it has heard.
    pub async fn tell_drain(&self, addr: SocketAddr, deadline: Option<Duration>) -> Result<(), TellError> {
        timeout(self.timeout, self.tell(addr, deadline)).await.unwrap_or(Err(TellError::TimedOut))
    }

    async fn tell(&self, addr: SocketAddr, deadline: Option<Duration>) -> Result<(), TellError> {
        let broken = |error: Box<pingora::Error>| TellError::Connection(error.to_string());
        let token = self.instance_token.as_ref().ok_or(TellError::NoToken)?;
        let (method, body) = match deadline {
            Some(deadline) => ("PUT", DrainInstance { deadline_s: deadline.as_secs() }.to_json()),
            None => ("DELETE", String::new()),
        };
        let (mut session, _) =
            self.connector.get_http_session(&HttpPeer::new(addr, false, String::new())).await.map_err(broken)?;
        let mut request = RequestHeader::build(method, DRAIN_PATH.as_bytes(), Some(5)).map_err(broken)?;
        request.insert_header(http::header::HOST, addr.to_string()).map_err(broken)?;
        request
            .insert_header(http::header::AUTHORIZATION, format!("Bearer {}", token.expose_secret()))
            .map_err(broken)?;
        request.insert_header(http::header::CONTENT_TYPE, "application/json").map_err(broken)?;
        request.insert_header(http::header::CONTENT_LENGTH, body.len()).map_err(broken)?;
        request.insert_header(http::header::CONNECTION, "close").map_err(broken)?;
        session.write_request_header(Box::new(request)).await.map_err(broken)?;
        if !body.is_empty() {
            session.write_body(body.as_bytes()).await.map_err(broken)?;
        }
        session.finish_body().await.map_err(broken)?;
        match session.read_resp_header_parts().await.map_err(broken)?.status.as_u16() {
            204 => Ok(()),
            401 => Err(TellError::Refused),
            404 => Err(TellError::Unknown),
            status => Err(TellError::Status(status)),
        }
    }
}
