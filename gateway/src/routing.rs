//! Chooses the instance of a request: two strategies, two code paths.
//!
//! [`round_robin`] and [`sticky`] share only the pool's [`Snapshot`]. The pool's strategy at the
//! time of the request selects one. [`ip_hash`] and [`least_conn`] are for lessons: they show what
//! other proxies do, and only a gateway with `[lab]` enabled offers them.

mod client_key;
pub mod ip_hash;
pub mod least_conn;
pub mod minting;
pub mod round_robin;
pub mod sample;
pub mod sticky;

use std::net::IpAddr;
use std::sync::Arc;

use proto_contracts::Verdict;
use proto_contracts::control::Strategy;

pub use client_key::{ClientKey, KeyOrigin, Tried};

use crate::pool::{Instance, Member, Pool, Snapshot};
use crate::routing::client_key::is_tried;

/// The chosen instance, and why.
#[derive(Clone, Copy, Debug)]
pub struct Choice<'a> {
    /// The instance.
    pub member: &'a Member,
    /// Why it was chosen.
    pub verdict: Verdict,
}

/// What a strategy may know of the client.
#[derive(Clone, Copy, Debug)]
pub struct Client {
    /// Its affinity key, if the pool tracks keys.
    pub key: Option<ClientKey>,
    /// Its address, which trusted proxies may have told.
    pub address: IpAddr,
}

/// Why no instance was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteError {
    /// No usable instance is left that was not tried.
    NoHealthyUpstream,
    /// All remaining instances are at their limit of requests in flight.
    Saturated,
}

/// Chooses an instance by this strategy, which is the pool's or the lab's override. Instances that
/// were tried or have `max_in_flight` requests in flight are skipped.
///
/// # Errors
/// When there is none.
pub fn choose<'a>(
    pool: &Pool,
    snapshot: &'a Snapshot,
    strategy: Strategy,
    client: Client,
    tried: &[Arc<Instance>],
    max_in_flight: u64,
) -> Result<Choice<'a>, RouteError> {
    let off = |member| Choice { member, verdict: Verdict::Off };
    let chosen = match (strategy, client.key) {
        (Strategy::Sticky, Some(client)) => {
            let found =
                sticky::choose(snapshot, client.key, tried, pool.load_bound(), max_in_flight);
            found.map(|found| Choice {
                member: found.member,
                verdict: sticky::verdict(found.place, client.origin),
            })
        }
        // A request without a key cannot be sticky.
        (Strategy::RoundRobin, _) | (Strategy::Sticky, None) => {
            round_robin::choose(snapshot, pool.cursor(), tried, max_in_flight).map(off)
        }
        (Strategy::IpHash, _) => {
            let cursor = pool.cursor();
            ip_hash::choose(snapshot, client.address, cursor, tried, max_in_flight).map(off)
        }
        (Strategy::LeastConn, _) => {
            least_conn::choose(snapshot, pool.cursor(), tried, max_in_flight).map(off)
        }
    };
    chosen.ok_or_else(|| {
        let left = snapshot.usable().iter().any(|&place| !is_tried(snapshot.member(place), tried));
        if left { RouteError::Saturated } else { RouteError::NoHealthyUpstream }
    })
}
