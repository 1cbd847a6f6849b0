//! Active health checks: asks each address for `/health`, and who it is.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use pingora::connectors::http::v1::Connector;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::upstreams::peer::HttpPeer;
use proto_contracts::{PoolName, headers};
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::config::{HealthChecks, Identity};
use crate::descriptors;
use crate::health_check::drain_client::{DrainClient, TellError};
use crate::pool::identity::{Claims, Mismatch};
use crate::pool::{Pool, ProbeError, Report, Slot, Untold, UntoldWeight};

/// Checks addresses, each within a time-out.
pub struct Prober {
    timeout: Duration,
    /// Made once: it reads the system's certificates, although no check needs one.
    connector: Connector,
    identity: Identity,
    require_identity: bool,
}

impl Prober {
    /// One that waits so long for each response, and takes instances as they are.
    pub fn new(timeout: Duration) -> Self {
        Self { timeout, connector: Connector::new(None), identity: Identity::default(), require_identity: false }
    }

    /// One that checks as configured, for a gateway that is this to instances.
    pub fn configured(config: &HealthChecks, identity: &Identity) -> Self {
        let HealthChecks { timeout, require_identity, .. } = *config;
        Self { identity: identity.clone(), require_identity, ..Self::new(timeout) }
    }

    /// Asks one address for its health, as an instance of this pool.
    ///
    /// # Errors
    /// When it does not respond in time, or not as an instance of that pool does.
    pub async fn probe(&self, pool: PoolName, addr: SocketAddr) -> Result<Report, ProbeError> {
        timeout(self.timeout, self.ask(pool, addr)).await.unwrap_or(Err(ProbeError::TimedOut))
    }

    /// Checks every address of the pool once, all at the same time, and tells each instance what was decided about its
    /// drain while it could not be told.
    pub async fn probe_pool(&self, pool: &Pool) {
        let addrs = pool.slots(|slots| slots.iter().map(Slot::addr).collect::<Vec<_>>());
        join_all(addrs.into_iter().map(|addr| self.check(pool, addr))).await;
        join_all(pool.untold().into_iter().map(|untold| self.tell_and_check(pool, untold))).await;
        join_all(pool.untold_weights().into_iter().map(|untold| self.tell_weight_and_check(pool, untold))).await;
    }

    /// Checks one address, and has the pool take the result.
    pub async fn check(&self, pool: &Pool, addr: SocketAddr) {
        match self.probe(pool.name(), addr).await {
            Err(error @ ProbeError::NoDescriptor) => tracing::error!(%addr, %error, "no health check was made"),
            outcome => pool.record_probe(addr, outcome),
        }
    }

    /// Tells an instance what was decided about its drain, and takes what it announces then.
    ///
    /// # Errors
    /// When it could not be told: then this gateway alone heeds the decision, and the instance's `drain.note` says why.
    pub async fn tell_and_check(&self, pool: &Pool, untold: Untold) -> Result<(), TellError> {
        let told = self.drain_client().set_drain(untold).await;
        match &told {
            Ok(()) => self.check(pool, untold.addr).await,
            Err(error) => pool.not_told(untold.addr, error.to_string()),
        }
        told
    }

    /// Tells an instance its weight, and takes what it announces then.
    ///
    /// # Errors
    /// When it could not be told.
    pub async fn tell_weight_and_check(&self, pool: &Pool, untold: UntoldWeight) -> Result<(), TellError> {
        self.drain_client().set_weight(untold).await?;
        self.check(pool, untold.addr).await;
        Ok(())
    }

    fn drain_client(&self) -> DrainClient<'_> {
        let token = self.identity.instance_token.as_ref();
        DrainClient { connector: &self.connector, timeout: self.timeout, token }
    }

    /// Checks the pool at every interval, for ever.
    pub async fn watch(&self, pool: Arc<Pool>, every: Duration) {
        let mut ticks = interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.probe_pool(&pool).await;
        }
    }

    /// Whether an instance has all that it depends on, by its `/readyz`. `None` when it says nothing of that.
    pub async fn readiness(&self, addr: SocketAddr) -> Option<bool> {
        let response = timeout(self.timeout, self.get(addr, b"/readyz")).await.ok()?.ok()?;
        match response.status {
            http::StatusCode::OK => Some(true),
            http::StatusCode::SERVICE_UNAVAILABLE => Some(false),
            _ => None,
        }
    }

    async fn ask(&self, pool: PoolName, addr: SocketAddr) -> Result<Report, ProbeError> {
        let answer = self.get(addr, b"/health").await?;
        let text = |name| answer.headers.get(name).and_then(|value| value.to_str().ok());
        let name = text(headers::INSTANCE_ID).and_then(|name| name.parse().ok());
        let status = answer.status;
        // An instance has its name on every response that its code writes; a 5xx may come from something on the way.
        if name.is_none() && (status == http::StatusCode::OK || status.is_client_error()) {
            return Err(Mismatch::NotAnInstance { status: status.as_u16() }.into());
        }
        let name = name.filter(|_| status == http::StatusCode::OK).ok_or(ProbeError::Status(status.as_u16()))?;
        Claims::of(&answer).check(pool, self.identity.deployment.as_ref(), self.require_identity)?;
        let number = |name| text(name).and_then(|count| count.parse().ok());
        Ok(Report {
            name,
            live_sessions: number(headers::LIVE_SESSIONS),
            seconds_left: number(headers::DRAINING),
            decision: text(headers::DRAIN_DECISION).and_then(|decision| decision.parse().ok()),
            version: text(headers::SERVICE_VERSION).map(str::to_owned),
            weight: text(headers::WEIGHT).and_then(|weight| weight.parse().ok()),
        })
    }

    /// One GET on a connection of its own, which is never kept, so that the accept path is checked as well.
    async fn get(&self, addr: SocketAddr, path: &[u8]) -> Result<Box<ResponseHeader>, ProbeError> {
        let broken = |error: Box<pingora::Error>| match descriptors::are_used_up(&error) {
            true => ProbeError::NoDescriptor,
            false if *error.etype() == pingora::ErrorType::InvalidHTTPHeader => Mismatch::NotHttp.into(),
            false => ProbeError::Connection(error.to_string()),
        };
        let peer = HttpPeer::new(addr, false, String::new());
        let (mut session, _) = self.connector.get_http_session(&peer).await.map_err(broken)?;
        let mut request = RequestHeader::build("GET", path, Some(3)).map_err(broken)?;
        request.insert_header(http::header::HOST, addr.to_string()).map_err(broken)?;
        request.insert_header(http::header::USER_AGENT, "tandem-gateway-health").map_err(broken)?;
        request.insert_header(http::header::CONNECTION, "close").map_err(broken)?;
        session.write_request_header(Box::new(request)).await.map_err(broken)?;
        session.read_resp_header_parts().await.map_err(broken)
    }
}
