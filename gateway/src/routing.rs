//! Where a request goes, and why: two strategies, two code paths.
//!
//! [`round_robin`] and [`sticky`] share nothing but the pool's [`Snapshot`] that they read. Which of them decides is
//! the pool's strategy at the moment of the request.

pub mod bound;
pub mod minting;
pub mod rendezvous;
pub mod round_robin;
pub mod sticky;

use std::sync::Arc;

use proto_contracts::control::Strategy;
use proto_contracts::{AffinityKey, Verdict};

use crate::pool::{Instance, Member, Pool, Snapshot};

/// The affinity key of a request, and how it came by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientKey {
    /// The key.
    pub key: AffinityKey,
    /// How the request came by it.
    pub origin: KeyOrigin,
}

/// How a request came by its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyOrigin {
    /// The client sent it.
    Client,
    /// The client sent none, so it was minted.
    Minted,
    /// The client sent a malformed one, so it was minted.
    Replaced,
}

/// The instances that a request has been sent to in vain.
pub type Tried = Vec<Arc<Instance>>;

/// Where a request goes, and why.
#[derive(Clone, Copy, Debug)]
pub struct Choice<'a> {
    /// The instance to send it to.
    pub member: &'a Member,
    /// Why that one.
    pub verdict: Verdict,
}

/// Why a request goes nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nowhere {
    /// No instance is left that it was not tried at.
    NoneLeft,
    /// Those that are left have as many requests in flight as they may.
    AllFull,
}

/// Chooses an instance for a request by this strategy, which is the pool's unless the lab lets the request have its own,
/// passing over those tried before and those that have `max_in_flight` requests in flight.
///
/// # Errors
/// When there is none.
pub fn choose<'a>(
    pool: &Pool,
    snapshot: &'a Snapshot,
    strategy: Strategy,
    client: Option<ClientKey>,
    tried: &[Arc<Instance>],
    max_in_flight: u64,
) -> Result<Choice<'a>, Nowhere> {
    let chosen = match (strategy, client) {
        (Strategy::Sticky, Some(client)) => {
            let found = sticky::choose(snapshot, client.key, tried, pool.load_bound(), max_in_flight);
            found.map(|found| Choice { member: found.member, verdict: sticky::verdict(found.place, client.origin) })
        }
        // A pool without keys has nothing to stick to.
        (Strategy::RoundRobin, _) | (Strategy::Sticky, None) => {
            let member = round_robin::choose(snapshot, pool.cursor(), tried, max_in_flight);
            member.map(|member| Choice { member, verdict: Verdict::Off })
        }
    };
    chosen.ok_or_else(|| {
        let left = snapshot.usable().iter().any(|&place| !is_tried(snapshot.member(place), tried));
        if left { Nowhere::AllFull } else { Nowhere::NoneLeft }
    })
}

fn is_tried(member: &Member, tried: &[Arc<Instance>]) -> bool {
    tried.iter().any(|instance| Arc::ptr_eq(instance, &member.instance))
}
