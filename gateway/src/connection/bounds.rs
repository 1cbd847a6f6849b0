//! How many connections clients may have: all together, and from one address.
//!
//! The peers of a trusted proxy are many clients, so no bound of one address concerns it. When connections are scarce,
//! an idle one of a stranger is closed sooner, so that those who want to send find room.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use crate::resilience::holdings::{Holding, Holdings};
use crate::resilience::rate_limit::Client;
use crate::telemetry::{RefusedConnection, Telemetry};

/// While more than this share of the connections is open, idle ones are closed sooner.
const SCARCE: (usize, usize) = (3, 4);
/// How long a connection may be idle then.
const IDLE_WHEN_SCARCE: Duration = Duration::from_secs(5);

/// The connections that are open, and how many may be.
#[derive(Debug)]
pub(super) struct Bounds {
    most: usize,
    open: AtomicUsize,
    by_address: Arc<Holdings>,
    /// Whether the bound was met, and has not been left well below since.
    full: AtomicBool,
    telemetry: Arc<Telemetry>,
}

/// The place of one connection, until this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    bounds: Arc<Bounds>,
    _of_address: Option<Holding>,
}

impl Bounds {
    /// At most so many connections.
    pub(super) fn new(most: usize, telemetry: Arc<Telemetry>) -> Self {
        telemetry.connections.most(most);
        let (open, by_address, full) = (AtomicUsize::new(0), Arc::default(), AtomicBool::new(false));
        Self { most, open, by_address, full, telemetry }
    }

    /// Takes a place for a connection. `address` is its peer's where that is no trusted proxy, with how many it may have.
    ///
    /// # Errors
    /// When there is none left.
    pub(super) fn take(self: &Arc<Self>, address: Option<(IpAddr, u32)>) -> Result<Place, RefusedConnection> {
        let of_address = match address {
            None => None,
            Some((ip, most)) => match self.by_address.take(Client::Address(ip), most) {
                Some(holding) => Some(holding),
                None => return Err(self.refuse(RefusedConnection::OfAddress)),
            },
        };
        if self.open.fetch_add(1, Ordering::Relaxed) >= self.most {
            self.open.fetch_sub(1, Ordering::Relaxed);
            if !self.full.swap(true, Ordering::Relaxed) {
                self.telemetry.connections_full(self.most);
            }
            return Err(self.refuse(RefusedConnection::OfAll));
        }
        self.telemetry.connections.opened();
        Ok(Place { bounds: Arc::clone(self), _of_address: of_address })
    }

    /// How long a connection of a stranger may be idle now.
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
        // Only well below the bound is it over, so that it does not begin and end with every connection.
        if full.load(Ordering::Relaxed) && left <= most / 10 * 9 && full.swap(false, Ordering::Relaxed) {
            telemetry.connections_free();
        }
    }
}
