//! Metrics of clients' connections.

use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts, Registry};

/// Why a connection was rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusedConnection {
    /// The total limit.
    Total,
    /// The limit per address.
    PerAddress,
}

impl RefusedConnection {
    /// Every reason, in the order of their discriminants.
    const ALL: [Self; 2] = [Self::Total, Self::PerAddress];

    /// The label in metrics.
    const fn as_str(self) -> &'static str {
        match self {
            Self::Total => "all",
            Self::PerAddress => "address",
        }
    }
}

/// Metrics of client connections.
#[derive(Debug)]
pub struct ConnectionMetrics {
    open: IntGauge,
    limit: IntGauge,
    refused: [IntCounter; RefusedConnection::ALL.len()],
}

impl ConnectionMetrics {
    /// The metrics, registered.
    ///
    /// # Errors
    /// When the registry has metrics of these names.
    pub fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let open = IntGauge::new("gateway_client_connections", "Open client connections.")?;
        let limit =
            IntGauge::new("gateway_client_connections_max", "Limit of client connections.")?;
        let refused = IntCounterVec::new(
            Opts::new(
                "gateway_client_connections_refused_total",
                "Client connections rejected, by the limit that was reached.",
            ),
            &["bound"],
        )?;
        registry.register(Box::new(open.clone()))?;
        registry.register(Box::new(limit.clone()))?;
        registry.register(Box::new(refused.clone()))?;
        let refused = RefusedConnection::ALL.map(|why| refused.with_label_values(&[why.as_str()]));
        Ok(Self { open, limit, refused })
    }

    /// Sets the limit.
    pub fn set_limit(&self, limit: usize) {
        self.limit.set(i64::try_from(limit).unwrap_or(i64::MAX));
    }

    /// Counts an opened connection.
    pub fn opened(&self) {
        self.open.inc();
    }

    /// Counts a closed connection.
    pub fn closed(&self) {
        self.open.dec();
    }

    /// Counts a rejected connection.
    pub fn refused(&self, why: RefusedConnection) {
        self.refused[why as usize].inc();
    }
}
