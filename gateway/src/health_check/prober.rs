//! Active health checks: GET `/health`, with checks of the identity headers.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use pingora::http::{RequestHeader, ResponseHeader};
use proto_contracts::{PoolName, headers};
use tokio::time::{MissedTickBehavior, interval_at, timeout};

use crate::config::{HealthCheckConfig, Identity};
use crate::descriptors;
use crate::health_check::dialer::{self, Dialer};
use crate::health_check::drain_client::{DrainClient, DrainRequestError};
use crate::pool::identity::{Claims, Mismatch};
use crate::pool::{Host, PendingDrain, PendingWeight, Pool, ProbeError, Report, SessionUse};

/// Runs health checks.
pub struct Prober {
    timeout: Duration,
    dialer: Dialer,
    require_identity: bool,
}

impl Prober {
    /// A prober with this timeout that accepts missing identity headers.
    pub fn new(timeout: Duration, identity: &Identity) -> Self {
        Self { timeout, dialer: Dialer::new(identity.clone()), require_identity: false }
    }

    /// A prober as configured, for a gateway with this identity.
    pub fn configured(config: &HealthCheckConfig, identity: &Identity) -> Self {
        Self::new(config.timeout, identity).reconfigured(config)
    }

    /// The same with other settings. Its trust stays what it was at the start, as that of requests
    /// does.
    pub(super) fn reconfigured(self, config: &HealthCheckConfig) -> Self {
        let HealthCheckConfig { timeout, require_identity, .. } = *config;
        Self { timeout, require_identity, ..self }
    }

    /// Checks one address as an instance of this pool.
    ///
    /// # Errors
    /// When it does not respond in time, or not as an instance of the pool.
    pub async fn probe(&self, pool: PoolName, addr: SocketAddr) -> Result<Report, ProbeError> {
        timeout(self.timeout, self.request_health(pool, addr))
            .await
            .unwrap_or(Err(ProbeError::TimedOut))
    }

    /// Checks all addresses of the pool concurrently, and repeats decisions that instances do not
    /// announce.
    pub async fn probe_pool(&self, pool: &Pool) {
        let addrs = pool.hosts(|hosts| hosts.iter().map(Host::addr).collect::<Vec<_>>());
        join_all(addrs.into_iter().map(|addr| self.check(pool, addr))).await;
        join_all(
            pool.pending_drains()
                .into_iter()
                .map(|pending| self.set_drain_and_check(pool, pending)),
        )
        .await;
        join_all(
            pool.pending_weights()
                .into_iter()
                .map(|pending| self.set_weight_and_check(pool, pending)),
        )
        .await;
    }

    /// Checks one address and updates the pool.
    pub async fn check(&self, pool: &Pool, addr: SocketAddr) {
        match self.probe(pool.name(), addr).await {
            Err(error @ ProbeError::NoDescriptor) => {
                tracing::error!(%addr, %error, "health check skipped")
            }
            outcome => pool.record_probe(addr, outcome),
        }
    }

    /// Sends a drain decision to an instance, then checks it.
    ///
    /// # Errors
    /// When the request failed; then only this gateway applies the decision, and `drain.note` has
    /// the cause.
    pub async fn set_drain_and_check(
        &self,
        pool: &Pool,
        pending: PendingDrain,
    ) -> Result<(), DrainRequestError> {
        let outcome = self.drain_client(pool.name()).set_drain(pending).await;
        match &outcome {
            Ok(()) => self.check(pool, pending.addr).await,
            Err(error) => pool.record_drain_failure(pending.addr, error.to_string()),
        }
        outcome
    }

    /// Sends a weight to an instance, then checks it.
    ///
    /// # Errors
    /// When the request failed.
    pub async fn set_weight_and_check(
        &self,
        pool: &Pool,
        pending: PendingWeight,
    ) -> Result<(), DrainRequestError> {
        self.drain_client(pool.name()).set_weight(pending).await?;
        self.check(pool, pending.addr).await;
        Ok(())
    }

    pub(super) fn drain_client(&self, pool: PoolName) -> DrainClient<'_> {
        let token = self.dialer.identity().instance_token.as_ref();
        DrainClient { dialer: &self.dialer, pool, timeout: self.timeout, token }
    }

    /// Checks the pool at every interval, forever, for the first time after `first`.
    pub async fn watch(&self, pool: Arc<Pool>, first: Duration, every: Duration) {
        let mut ticks = interval_at(tokio::time::Instant::now() + first, every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            pool.end_leases(Instant::now());
            self.probe_pool(&pool).await;
        }
    }

    /// An instance's readiness by `/readyz`; `None` if unknown.
    pub async fn readiness(&self, pool: PoolName, addr: SocketAddr) -> Option<bool> {
        let response = timeout(self.timeout, self.get(pool, addr, b"/readyz")).await.ok()?.ok()?;
        match response.status {
            http::StatusCode::OK => Some(true),
            http::StatusCode::SERVICE_UNAVAILABLE => Some(false),
            _ => None,
        }
    }

    async fn request_health(&self, pool: PoolName, addr: SocketAddr) -> Result<Report, ProbeError> {
        let response = self.get(pool, addr, b"/health").await?;
        let text = |name| response.headers.get(name).and_then(|value| value.to_str().ok());
        let name = text(headers::INSTANCE_ID).and_then(|name| name.parse().ok());
        let status = response.status;
        // An instance's responses have its name; a 5xx may come from an intermediary.
        if name.is_none() && (status == http::StatusCode::OK || status.is_client_error()) {
            return Err(Mismatch::NotAnInstance { status: status.as_u16() }.into());
        }
        let name = name
            .filter(|_| status == http::StatusCode::OK)
            .ok_or(ProbeError::Status(status.as_u16()))?;
        Claims::of(&response).check(
            pool,
            self.dialer.identity().deployment.as_ref(),
            self.require_identity,
        )?;
        let number = |name| text(name).and_then(|count| count.parse().ok());
        Ok(Report {
            name,
            live_sessions: number(headers::LIVE_SESSIONS),
            seconds_left: number(headers::DRAINING),
            decision: text(headers::DRAIN_DECISION).and_then(|decision| decision.parse().ok()),
            version: text(headers::SERVICE_VERSION).map(str::to_owned),
            weight: text(headers::WEIGHT).and_then(|weight| weight.parse().ok()),
            sessions: SessionUse {
                hot: number(headers::HOT_SESSIONS),
                reads: number(headers::SESSION_READS),
                memory_reads: number(headers::MEMORY_READS),
            },
        })
    }

    /// A GET on a new connection, so that accepting connections is checked, too.
    async fn get(
        &self,
        pool: PoolName,
        addr: SocketAddr,
        path: &[u8],
    ) -> Result<Box<ResponseHeader>, ProbeError> {
        let broken = |error: Box<pingora::Error>| match descriptors::are_used_up(&error) {
            true => ProbeError::NoDescriptor,
            false if *error.etype() == pingora::ErrorType::InvalidHTTPHeader => {
                Mismatch::NotHttp.into()
            }
            false => ProbeError::Connection(dialer::fault(&error)),
        };
        let mut session = self.dialer.open(pool, addr).await.map_err(broken)?;
        let mut request = RequestHeader::build("GET", path, Some(3)).map_err(broken)?;
        request.insert_header(http::header::HOST, addr.to_string()).map_err(broken)?;
        request.insert_header(http::header::USER_AGENT, "tandem-gateway-health").map_err(broken)?;
        request.insert_header(http::header::CONNECTION, "close").map_err(broken)?;
        session.write_request_header(Box::new(request)).await.map_err(broken)?;
        session.read_resp_header_parts().await.map_err(broken)
    }
}
