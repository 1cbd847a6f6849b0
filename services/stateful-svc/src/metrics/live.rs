//! Metrics of live connections.

use prometheus::{IntCounterVec, IntGaugeVec, Opts, Registry};
use proto_contracts::live::EventName;

/// Counters of live connections. Clones share one state.
#[derive(Clone, Debug)]
pub struct LiveMetrics {
    open: IntGaugeVec,
    closed: IntCounterVec,
    events: IntCounterVec,
}

/// The protocol of a live connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LiveKind {
    /// Server-sent events.
    Events,
    /// A WebSocket.
    Socket,
}

impl LiveKind {
    /// The value of the label `kind`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Events => "events",
            Self::Socket => "socket",
        }
    }
}

/// Why a live connection was closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closed {
    /// The client closed it, or disconnected.
    ByClient,
    /// The session was deleted or has expired.
    Ended,
    /// The instance is shutting down.
    GoingAway,
    /// An event could not be sent within the timeout.
    TooSlow,
    /// The client sent nothing, no pongs either.
    Silent,
    /// The client sent a binary frame.
    NotText,
    /// The client sent a text frame that is not UTF-8.
    NotUtf8,
    /// The client kept exceeding its rate limit.
    RateLimited,
    /// The client sent a frame over the size limit.
    TooBig,
    /// The client violated the WebSocket protocol.
    Malformed,
}

impl Closed {
    /// The value of the label `reason`, and the reason in Close frames.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ByClient => "by_client",
            Self::Ended => "session_ended",
            Self::GoingAway => "going_away",
            Self::TooSlow => "too_slow",
            Self::Silent => "silent",
            Self::NotText => "not_text",
            Self::NotUtf8 => "not_utf8",
            Self::RateLimited => "rate_limited",
            Self::TooBig => "too_big",
            Self::Malformed => "malformed",
        }
    }
}

impl Closed {
    /// Whether the client's further frames can still be parsed.
    pub const fn leaves_frames_readable(self) -> bool {
        !matches!(
            self,
            Self::TooBig | Self::NotUtf8 | Self::Malformed | Self::TooSlow | Self::Silent
        )
    }
}

impl LiveMetrics {
    /// Registers the counters.
    ///
    /// # Errors
    /// When one of them is registered already.
    pub(super) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let open = Opts::new("stateful_live_connections", "Open live connections.");
        let closed = Opts::new("stateful_live_closed_total", "Closed live connections, by reason.");
        let events = Opts::new("stateful_live_events_total", "Events sent on live connections.");
        let metrics = Self {
            open: IntGaugeVec::new(open, &["kind"])?,
            closed: IntCounterVec::new(closed, &["kind", "reason"])?,
            events: IntCounterVec::new(events, &["kind", "event"])?,
        };
        for kind in [LiveKind::Events, LiveKind::Socket] {
            metrics.open.with_label_values(&[kind.as_str()]);
        }
        registry.register(Box::new(metrics.open.clone()))?;
        registry.register(Box::new(metrics.closed.clone()))?;
        registry.register(Box::new(metrics.events.clone()))?;
        Ok(metrics)
    }

    /// Counts a connection for as long as the value lives.
    pub fn open(&self, kind: LiveKind) -> LiveConnection {
        self.open.with_label_values(&[kind.as_str()]).inc();
        LiveConnection { metrics: self.clone(), kind, closed: Closed::ByClient }
    }
}

/// One connection. Dropped without [`LiveConnection::close`], it counts as closed by the client.
#[derive(Debug)]
pub struct LiveConnection {
    metrics: LiveMetrics,
    kind: LiveKind,
    closed: Closed,
}

impl LiveConnection {
    /// Counts a sent event.
    pub fn sent(&self, event: EventName) {
        self.metrics.events.with_label_values(&[self.kind.as_str(), event.as_str()]).inc();
    }

    /// Counts the connection as closed for this reason.
    pub fn close(mut self, reason: Closed) {
        self.closed = reason;
    }
}

impl Drop for LiveConnection {
    fn drop(&mut self) {
        let kind = self.kind.as_str();
        self.metrics.open.with_label_values(&[kind]).dec();
        self.metrics.closed.with_label_values(&[kind, self.closed.as_str()]).inc();
    }
}
