//! Tells an instance what operators decided about it, so that it announces that to every gateway.

use std::net::SocketAddr;
use std::time::Duration;

use pingora::connectors::http::v1::Connector;
use pingora::http::RequestHeader;
use pingora::upstreams::peer::HttpPeer;
use proto_contracts::headers;
use proto_contracts::health::{DRAIN_PATH, DrainDecision, WEIGHT_PATH};
use secrecy::{ExposeSecret, SecretString};
use tokio::time::timeout;

use crate::pool::{Untold, UntoldWeight};

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
    #[error("The instance does not know how: it is of an older version, or has no INSTANCE_TOKEN")]
    Unknown,
    /// It answered something else.
    #[error("The instance answered {0}")]
    Status(u16),
}

/// Sends operators' decisions to instances.
pub(super) struct DrainClient<'a> {
    pub(super) connector: &'a Connector,
    pub(super) timeout: Duration,
    pub(super) token: Option<&'a SecretString>,
}

impl DrainClient<'_> {
    /// Tells an instance what was decided about its drain.
    ///
    /// # Errors
    /// When it did not confirm it.
    pub(super) async fn set_drain(&self, untold: Untold) -> Result<(), TellError> {
        timeout(self.timeout, self.tell(untold)).await.unwrap_or(Err(TellError::TimedOut))
    }

    /// Tells an instance its weight.
    ///
    /// # Errors
    /// When it did not confirm it.
    pub(super) async fn set_weight(&self, untold: UntoldWeight) -> Result<(), TellError> {
        let UntoldWeight { addr, decision } = untold;
        let header = (headers::WEIGHT, decision.to_string());
        let told = self.send(addr, ("PUT", WEIGHT_PATH), header, String::new());
        timeout(self.timeout, told).await.unwrap_or(Err(TellError::TimedOut))
    }

    async fn tell(&self, untold: Untold) -> Result<(), TellError> {
        let Untold { addr, decided_ms, deadline_s } = untold;
        let (method, body) = match deadline_s {
            Some(deadline_s) => ("PUT", format!("{{\"deadline_s\":{deadline_s}}}")),
            None => ("DELETE", String::new()),
        };
        // In a header, since an older version refuses a field that it does not know.
        let decision = DrainDecision { decided_ms, until_ms: None };
        self.send(addr, (method, DRAIN_PATH), (headers::DRAIN_DECISION, decision.to_string()), body).await
    }

    async fn send(
        &self,
        addr: SocketAddr,
        (method, path): (&str, &str),
        (name, value): (&'static str, String),
        body: String,
    ) -> Result<(), TellError> {
        let broken = |error: Box<pingora::Error>| TellError::Connection(error.to_string());
        let token = self.token.ok_or(TellError::NoToken)?;
        let (mut session, _) =
            self.connector.get_http_session(&HttpPeer::new(addr, false, String::new())).await.map_err(broken)?;
        let mut request = RequestHeader::build(method, path.as_bytes(), Some(6)).map_err(broken)?;
        request.insert_header(http::header::HOST, addr.to_string()).map_err(broken)?;
        request
            .insert_header(http::header::AUTHORIZATION, format!("Bearer {}", token.expose_secret()))
            .map_err(broken)?;
        request.insert_header(name, value).map_err(broken)?;
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
