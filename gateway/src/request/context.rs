//! What the gateway knows of one request, from its first byte to its log line.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::HeaderValue;
use pingora::{Error, ErrorType};
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

/// One request.
pub struct RequestContext {
    /// The configuration, which is the same one until the request has ended.
    pub traffic: Arc<Traffic>,
    /// When its header had been read.
    pub started: Instant,
    /// Its name in every log.
    pub request_id: RequestId,
    /// Who sent it.
    pub client: Client,
    /// What it wants; `None` for what the gateway answers itself.
    pub resolved: Option<Resolved>,
    /// The strategy that it asked for, in the lab.
    pub requested_strategy: Option<Strategy>,
    /// Its affinity key, where the pool tracks keys.
    pub key: Option<ClientKey>,
    /// Where it is, or was last.
    pub attempt: Option<Attempt>,
    /// Where it was in vain.
    pub tried: Tried,
    /// Body bytes received from the client.
    pub request_bytes: u64,
    /// The beginning of its body, where that is not in Pingora's buffer.
    pub read_ahead: Option<Bytes>,
    /// Whether the whole of it was on its way to the instance, so that the rest is up to the instance.
    pub sent: bool,
    /// Its client, where that is limited; `None` for one that is exempt, and while it is not known.
    pub limited: Option<rate_limit::Client>,
    /// What its client holds by it, where the client is limited.
    pub holding: Option<Holding>,
    /// Whether the last attempt ran over a connection that others had used before.
    pub connection_reused: bool,
    /// Whether an instance was tried again after a pooled connection to it broke.
    pub second_chance_given: bool,
    /// How the last exchange failed that had begun, so that the instance may have acted on the request.
    pub exchange_failure: Option<ExchangeFailure>,
    /// Whether the last attempt had less time than an instance may take, since another one was left to go to.
    pub hurried: bool,
    /// The retry that is kept for it while it is hurried.
    pub reserved_retry: Option<ReservedRetry>,
    /// Its part of a trace, when there is one.
    pub trace: Option<Box<RequestTrace>>,
    /// How often it was sent again.
    pub retries: u32,
    /// What is left to its client, and by which policy, where the client is limited.
    pub quota: Option<(Quota, HeaderValue)>,
    /// With which code the gateway ended it.
    pub problem: Option<ErrorCode>,
    _counted: metrics::InFlight,
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
    /// Why that one.
    pub verdict: Verdict,
    /// By which strategy it was chosen.
    pub strategy: Strategy,
    /// Under which membership.
    pub epoch: Epoch,
    /// When it began.
    pub began: Instant,
    /// When it was begun, where the instance has so much to do that it matters how long it takes.
    pub timed_from: Option<Instant>,
}

impl RequestContext {
    /// A request of which nothing is known yet.
    pub fn new(counted: metrics::InFlight, traffic: Arc<Traffic>) -> Self {
        Self {
            traffic,
            started: Instant::now(),
            request_id: RequestId::default(),
            client: Client::unknown(),
            resolved: None,
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
            second_chance_given: false,
            exchange_failure: None,
            hurried: false,
            reserved_retry: None,
            trace: None,
            retries: 0,
            quota: None,
            problem: None,
            _counted: counted,
        }
    }

    /// What `X-Affinity` says of the last attempt.
    pub fn stamp(&self) -> Option<RoutingStamp> {
        let attempt = self.attempt.as_ref()?;
        Some(RoutingStamp { verdict: attempt.verdict, key: self.key.map(|client| client.key), epoch: attempt.epoch })
    }

    /// Notes that the whole request is on its way to the instance: only from now on the time is the instance's.
    pub fn request_sent(&mut self) {
        self.sent = true;
        if self.request_bytes > 0
            && let Some(timed_from) = self.attempt.as_mut().and_then(|attempt| attempt.timed_from.as_mut())
        {
            *timed_from = Instant::now();
        }
    }

    /// Tells the trace that the attempt under way has failed.
    pub fn attempt_failed(&mut self, error: &Error) {
        if let Some(trace) = &mut self.trace {
            trace.attempt_failed(error);
        }
    }

    /// Ends the request with this code.
    pub fn refuse(&mut self, code: ErrorCode) -> Box<Error> {
        self.problem = Some(code);
        Error::explain(ErrorType::HTTPStatus(code.status()), code.as_str())
    }
}
