//! Where a request goes, and why: two strategies, two code paths.
//!
//! [`round_robin`] and [`sticky`] share nothing but the pool's [`Snapshot`] that they read. Which of them decides is
//! the pool's strategy at the moment of the request.

mod given;
pub mod minting;
pub mod round_robin;
pub mod sample;
pub mod sticky;

use std::sync::Arc;

use proto_contracts::Verdict;
use proto_contracts::control::Strategy;

pub use given::{ClientKey, KeyOrigin, Tried};

use crate::pool::{Instance, Member, Pool, Snapshot};
use crate::routing::given::is_tried;

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
