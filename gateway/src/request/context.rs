//! The context of one request.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::HeaderValue;
use proto_contracts::control::Strategy;
use proto_contracts::{Epoch, ErrorCode, RequestId, Resolved, RoutingStamp, Verdict};
use service_kit::telemetry::metrics;

use crate::config::Traffic;
use crate::pool::InFlight;
use crate::request::client::Client;
use crate::request::trace::RequestTrace;
use crate::resilience::holdings::Holding;
use crate::resilience::rate_limit::{self, Quota};
use crate::resilience::retry_budget::ReservedRetry;
use crate::routing::{ClientKey, Tried};

/// The context of a request, passed through its phases.
pub struct RequestContext {
    /// The configuration, loaded once, so that a reload does not affect requests in flight.
    pub traffic: Arc<Traffic>,
    /// When its header was complete.
    pub started: Instant,
    /// Its id in all logs.
    pub request_id: RequestId,
    /// Its client.
    pub client: Client,
    /// Its route; `None`: the gateway sends a local reply.
    pub resolved: Option<Resolved>,
    /// The listed origin whose page sent it.
    pub cors_origin: Option<HeaderValue>,
    /// The strategy override of the lab.
    pub requested_strategy: Option<Strategy>,
    /// Its affinity key, if the pool tracks keys.
    pub key: Option<ClientKey>,
    /// The current or last attempt.
    pub attempt: Option<Attempt>,
    /// Instances at which it failed.
    pub tried: Tried,
    /// Body bytes received from the client.
    pub request_bytes: u64,
    /// The beginning of its body, if Pingora's retry buffer lost it.
    pub read_ahead: Option<Bytes>,
    /// Whether all of it was sent upstream, so that further delay is the instance's.
    pub sent: bool,
    /// Its client for limits; `None`: exempt, or not known yet.
    pub limited: Option<rate_limit::Client>,
    /// Its place in the client's concurrency limit.
    pub holding: Option<Holding>,
    /// Whether the last attempt used a kept connection.
    pub connection_reused: bool,
    /// Whether an instance was tried again after a pooled connection to it broke.
    pub retried_same_upstream: bool,
    /// How the last exchange failed that had begun, so that the instance may have acted on the
    /// request.
    pub exchange_failure: Option<ExchangeFailure>,
    /// Whether the last attempt had less time than an instance may take, since another one was left
    /// to go to.
    pub short_timeout: bool,
    /// The retry reserved for it while it has the short timeout.
    pub reserved_retry: Option<ReservedRetry>,
    /// Its part of a trace, when there is one.
    pub trace: Option<Box<RequestTrace>>,
    /// Number of retries.
    pub retries: u32,
    /// The client's remaining quota and the policy header, if limited.
    pub quota: Option<(Quota, HeaderValue)>,
    /// The error code of a local reply.
    pub problem: Option<ErrorCode>,
    _counted: metrics::ActiveRequest,
}

/// How an exchange with an instance failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExchangeFailure {
    /// There was no response in time.
    TimedOut,
    /// The connection broke.
    Broken,
}

impl ExchangeFailure {
    /// The code for the client when no other instance can take the request.
    pub const fn code(self) -> ErrorCode {
        match self {
            Self::TimedOut => ErrorCode::UpstreamTimeout,
            Self::Broken => ErrorCode::UpstreamFailed,
        }
    }
}

/// One try at one instance.
pub struct Attempt {
    /// The instance, counted as in flight there.
    pub in_flight: InFlight,
    /// Why it was chosen.
    pub verdict: Verdict,
    /// The strategy that chose it.
    pub strategy: Strategy,
    /// The membership at that time.
    pub epoch: Epoch,
    /// When it began.
    pub began: Instant,
    /// Set when this response should feed the adaptive limit.
    pub timed_from: Option<Instant>,
}

impl RequestContext {
    /// The context of a new request.
    pub fn new(counted: metrics::ActiveRequest, traffic: Arc<Traffic>) -> Self {
        Self {
            traffic,
            started: Instant::now(),
            request_id: RequestId::default(),
            client: Client::unknown(),
            resolved: None,
            cors_origin: None,
            requested_strategy: None,
            key: None,
            attempt: None,
            tried: Vec::new(),
            request_bytes: 0,
            read_ahead: None,
            sent: false,
            limited: None,
            holding: None,
            connection_reused: false,
            retried_same_upstream: false,
            exchange_failure: None,
            short_timeout: false,
            reserved_retry: None,
            trace: None,
            retries: 0,
            quota: None,
            problem: None,
            _counted: counted,
        }
    }

    /// The value of `X-Affinity` for the last attempt.
    pub fn stamp(&self) -> Option<RoutingStamp> {
        let attempt = self.attempt.as_ref()?;
        Some(RoutingStamp {
            verdict: attempt.verdict,
            key: self.key.map(|client| client.key),
            epoch: attempt.epoch,
        })
    }

    /// Records that the whole request was sent: latency is measured from here.
    pub fn request_sent(&mut self) {
        self.sent = true;
        if self.request_bytes > 0
            && let Some(timed_from) =
                self.attempt.as_mut().and_then(|attempt| attempt.timed_from.as_mut())
        {
            *timed_from = Instant::now();
        }
    }

    /// Ends the span of the failed attempt with this kind of error.
    pub fn attempt_failed(&mut self, error: &str) {
        if let Some(trace) = &mut self.trace {
            trace.attempt_failed(error);
        }
    }
}
