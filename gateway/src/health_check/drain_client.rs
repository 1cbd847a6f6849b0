//! Sends operators' decisions to an instance, which announces them to all gateways.

use std::net::SocketAddr;
use std::time::Duration;

use pingora::http::RequestHeader;
use proto_contracts::health::{DRAIN_PATH, DrainDecision, WEIGHT_PATH};
use proto_contracts::{PoolName, headers};
use secrecy::{ExposeSecret, SecretString};
use tokio::time::timeout;

use crate::health_check::dialer::{self, Dialer};
use crate::pool::{PendingDrain, PendingWeight};

/// The request to the instance failed.
#[derive(Debug, thiserror::Error)]
pub enum DrainRequestError {
    /// The gateway has no token.
    #[error("The gateway has no INSTANCE_TOKEN")]
    NoToken,
    /// No response in time.
    #[error("The instance did not respond in time")]
    TimedOut,
    /// The connection failed or broke.
    #[error("The instance cannot be reached ({0})")]
    Connection(String),
    /// The tokens differ.
    #[error("The instance has a different INSTANCE_TOKEN")]
    Refused,
    /// It does not have the path.
    #[error(
        "The instance does not support it: its version is too old, or it has no INSTANCE_TOKEN"
    )]
    Unknown,
    /// Another status.
    #[error("The instance responded with {0}")]
    Status(u16),
}

/// Sends operators' decisions to instances.
pub(super) struct DrainClient<'a> {
    pub(super) dialer: &'a Dialer,
    pub(super) pool: PoolName,
    pub(super) timeout: Duration,
    pub(super) token: Option<&'a SecretString>,
}

impl DrainClient<'_> {
    /// Sets or ends the drain of an instance.
    ///
    /// # Errors
    /// When the instance did not confirm.
    pub(super) async fn set_drain(&self, pending: PendingDrain) -> Result<(), DrainRequestError> {
        timeout(self.timeout, self.send_drain(pending))
            .await
            .unwrap_or(Err(DrainRequestError::TimedOut))
    }

    /// Sets the weight of an instance.
    ///
    /// # Errors
    /// When the instance did not confirm.
    pub(super) async fn set_weight(&self, pending: PendingWeight) -> Result<(), DrainRequestError> {
        let PendingWeight { addr, decision } = pending;
        let header = (headers::WEIGHT, decision.to_string());
        let sent = self.send(addr, ("PUT", WEIGHT_PATH), header, String::new());
        timeout(self.timeout, sent).await.unwrap_or(Err(DrainRequestError::TimedOut))
    }

    async fn send_drain(&self, pending: PendingDrain) -> Result<(), DrainRequestError> {
        let PendingDrain { addr, decided_ms, deadline_s } = pending;
        let (method, body) = match deadline_s {
            Some(deadline_s) => ("PUT", format!("{{\"deadline_s\":{deadline_s}}}")),
            None => ("DELETE", String::new()),
        };
        // In a header, because older versions reject unknown fields.
        let decision = DrainDecision { decided_ms, until_ms: None };
        self.send(addr, (method, DRAIN_PATH), (headers::DRAIN_DECISION, decision.to_string()), body)
            .await
    }

    async fn send(
        &self,
        addr: SocketAddr,
        (method, path): (&str, &str),
        (name, value): (&'static str, String),
        body: String,
    ) -> Result<(), DrainRequestError> {
        let broken =
            |error: Box<pingora::Error>| DrainRequestError::Connection(dialer::fault(&error));
        let token = self.token.ok_or(DrainRequestError::NoToken)?;
        let mut session = self.dialer.open(self.pool, addr).await.map_err(broken)?;
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
            401 => Err(DrainRequestError::Refused),
            404 => Err(DrainRequestError::Unknown),
            status => Err(DrainRequestError::Status(status)),
        }
    }
}
