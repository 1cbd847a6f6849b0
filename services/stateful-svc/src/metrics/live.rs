//! What is counted of live connections.

use prometheus::{IntCounterVec, IntGaugeVec, Opts, Registry};
use proto_contracts::live::EventName;

/// Counters of live connections. Cheap to clone; the clones share everything.
#[derive(Clone, Debug)]
pub struct LiveMetrics {
    open: IntGaugeVec,
    closed: IntCounterVec,
    events: IntCounterVec,
}

/// By which protocol a client listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LiveKind {
    /// Server-sent events.
    Events,
    /// A WebSocket.
    Socket,
}

impl LiveKind {
    /// The kind as it stands in metric labels.
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
    /// The client left.
    ByClient,
    /// The session was deleted or has expired.
    Ended,
    /// The instance is shutting down.
    GoingAway,
    /// The client did not make room for an event in time.
    TooSlow,
    /// The client did not even answer pings.
    Silent,
    /// The client sent a frame that was not text.
    NotText,
    /// The client sent a frame of text that was not UTF-8.
    NotUtf8,
    /// The client went on sending more frames than its rate allows.
    RateLimited,
    /// The client sent a frame that was too large.
    TooBig,
    /// What the client sent was no WebSocket frame.
    Malformed,
}

impl Closed {
    /// The reason as it stands in metric labels and in close frames.
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
    /// Whether what the client sends can still be told apart into frames.
    pub const fn leaves_frames_readable(self) -> bool {
        !matches!(self, Self::TooBig | Self::NotUtf8 | Self::Malformed | Self::TooSlow | Self::Silent)
    }
}

impl LiveMetrics {
    /// Registers the counters.
    ///
    /// # Errors
    /// When one of them is registered already.
    pub(super) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let open = Opts::new("stateful_live_connections", "Live connections that are open.");
        let closed = Opts::new("stateful_live_closed_total", "Live connections that were closed, and why.");
        let events = Opts::new("stateful_live_events_total", "Events that were told on live connections.");
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

    /// Counts a connection for as long as it is there.
    pub fn open(&self, kind: LiveKind) -> LiveConnection {
        self.open.with_label_values(&[kind.as_str()]).inc();
        LiveConnection { metrics: self.clone(), kind, closed: Closed::ByClient }
    }
}

/// One connection, which counts as closed by the client unless it is closed for another reason.
#[derive(Debug)]
pub struct LiveConnection {
    metrics: LiveMetrics,
    kind: LiveKind,
    closed: Closed,
}

impl LiveConnection {
    /// Counts an event.
    pub fn told(&self, event: EventName) {
        self.metrics.events.with_label_values(&[self.kind.as_str(), event.as_str()]).inc();
    }

    /// The connection is closed, and this is why.
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
