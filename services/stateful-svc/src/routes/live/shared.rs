//! What live connections share.

use std::sync::Arc;
use std::time::Duration;

use service_kit::health::Draining;
use tokio::sync::Semaphore;

use crate::config::LiveConfig;
use crate::domain::message_rate::MessageRates;
use crate::domain::origins::AllowedOrigins;
use crate::domain::tickets::Tickets;

/// The state and limits of all live connections. Cheap to clone.
#[derive(Clone)]
pub struct Live {
    pub(super) tickets: Tickets,
    /// One permit per connection that may be open.
    pub(super) permits: Arc<Semaphore>,
    pub(super) allowed_origins: Arc<AllowedOrigins>,
    pub(super) rates: MessageRates,
    pub(super) draining: Draining,
    pub(super) heartbeat: Duration,
    pub(super) send_timeout: Duration,
}

impl Live {
    /// The state before the first connection.
    pub fn new(config: LiveConfig, tickets: Tickets, draining: Draining) -> Self {
        let LiveConfig {
            max_connections,
            heartbeat,
            send_timeout,
            allowed_origins,
            ticket_validity: _,
        } = config;
        Self {
            tickets,
            permits: Arc::new(Semaphore::new(max_connections)),
            allowed_origins: Arc::new(allowed_origins),
            rates: MessageRates::default(),
            draining,
            heartbeat,
            send_timeout,
        }
    }
}
