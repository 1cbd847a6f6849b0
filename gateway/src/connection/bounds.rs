//! Limits of client connections: in total and per address.
//!
//! A trusted proxy has many clients, so it has no limit per address. When connections are scarce,
//! idle ones of other peers are closed sooner.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use crate::resilience::holdings::{Holding, Holdings};
use crate::resilience::rate_limit::Client;
use crate::telemetry::{RefusedConnection, Telemetry};

/// Above this share of open connections, idle ones are closed sooner.
const SCARCE: (usize, usize) = (3, 4);
/// The idle timeout then.
const IDLE_WHEN_SCARCE: Duration = Duration::from_secs(5);

/// The open connections and their limits.
#[derive(Debug)]
pub(super) struct Bounds {
    most: usize,
    open: AtomicUsize,
    by_address: Arc<Holdings>,
    /// Whether the limit was reached, until well below it.
    full: AtomicBool,
    telemetry: Arc<Telemetry>,
}

/// A connection's place within the limits, until this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    bounds: Arc<Bounds>,
    _of_address: Option<Holding>,
}

impl Bounds {
    /// Limits to `most` connections in total.
    pub(super) fn new(most: usize, telemetry: Arc<Telemetry>) -> Self {
        telemetry.connections.set_limit(most);
        let (open, by_address, full) =
            (AtomicUsize::new(0), Arc::default(), AtomicBool::new(false));
        Self { most, open, by_address, full, telemetry }
    }

    /// Takes a place for a connection. `address` is the peer's with its limit, unless it is a
    /// trusted proxy.
    ///
    /// # Errors
    /// When a limit is reached.
    pub(super) fn take(
        self: &Arc<Self>,
        address: Option<(IpAddr, u32)>,
    ) -> Result<Place, RefusedConnection> {
        let of_address = match address {
            None => None,
            Some((ip, most)) => match self.by_address.take(Client::Address(ip), most) {
                Some(holding) => Some(holding),
                None => return Err(self.refuse(RefusedConnection::PerAddress)),
            },
        };
        if self.open.fetch_add(1, Ordering::Relaxed) >= self.most {
            self.open.fetch_sub(1, Ordering::Relaxed);
            if !self.full.swap(true, Ordering::Relaxed) {
                self.telemetry.connections_full(self.most);
            }
            return Err(self.refuse(RefusedConnection::Total));
        }
        self.telemetry.connections.opened();
        Ok(Place { bounds: Arc::clone(self), _of_address: of_address })
    }

    /// The current idle timeout of peers that are not trusted proxies.
    pub(super) fn idle(&self, configured: Duration) -> Duration {
        let (part, of) = SCARCE;
        let scarce = self.open.load(Ordering::Relaxed) > self.most / of * part;
        if scarce { configured.min(IDLE_WHEN_SCARCE) } else { configured }
    }

    fn refuse(&self, why: RefusedConnection) -> RefusedConnection {
        self.telemetry.connections.refused(why);
        why
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Bounds { most, open, full, telemetry, .. } = &*self.bounds;
        telemetry.connections.closed();
        let left = open.fetch_sub(1, Ordering::Relaxed) - 1;
        // With hysteresis, so that the state does not flap.
        if full.load(Ordering::Relaxed)
            && left <= most / 10 * 9
            && full.swap(false, Ordering::Relaxed)
        {
            telemetry.connections_free();
        }
    }
}
