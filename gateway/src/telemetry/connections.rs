//! Metrics of clients' connections.

use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts, Registry};

/// Why a connection was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusedConnection {
    /// All clients together have as many as they may.
    OfAll,
    /// Its peer's address has.
    OfAddress,
}

impl RefusedConnection {
    /// Every reason, in the order of their numbers.
    const ALL: [Self; 2] = [Self::OfAll, Self::OfAddress];

    /// The reason as it stands in metric labels.
    const fn as_str(self) -> &'static str {
        match self {
            Self::OfAll => "all",
            Self::OfAddress => "address",
        }
    }
}

/// What is counted of connections.
#[derive(Debug)]
pub struct ConnectionMetrics {
    open: IntGauge,
    most: IntGauge,
    refused: [IntCounter; RefusedConnection::ALL.len()],
}

impl ConnectionMetrics {
    /// The metrics, registered.
    ///
    /// # Errors
    /// When the registry has metrics of these names.
    pub fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let open = IntGauge::new("gateway_client_connections", "Connections of clients that are open.")?;
        let most = IntGauge::new("gateway_client_connections_max", "How many connections clients may have.")?;
        let refused = IntCounterVec::new(
            Opts::new("gateway_client_connections_refused_total", "Connections refused, by which bound was met."),
            &["bound"],
        )?;
        registry.register(Box::new(open.clone()))?;
        registry.register(Box::new(most.clone()))?;
        registry.register(Box::new(refused.clone()))?;
        let refused = RefusedConnection::ALL.map(|why| refused.with_label_values(&[why.as_str()]));
        Ok(Self { open, most, refused })
    }

    /// Notes how many there may be.
    pub fn most(&self, most: usize) {
        self.most.set(i64::try_from(most).unwrap_or(i64::MAX));
    }

    /// Notes one that was opened.
    pub fn opened(&self) {
        self.open.inc();
    }

    /// Notes one that was closed.
    pub fn closed(&self) {
        self.open.dec();
    }

    /// Notes one that was refused.
    pub fn refused(&self, why: RefusedConnection) {
        self.refused[why as usize].inc();
    }
}
