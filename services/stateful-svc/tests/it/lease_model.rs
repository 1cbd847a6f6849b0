//! The protocol of the hybrid store, in the small: every interleaving is tried. `docs/adr/0005` carries the argument.
//!
//! [`handover`] is how a session moves between instances; it takes for granted that a lease is only declared dead when its
//! holder has stopped to trust it. [`timing`] is how that comes about without a common clock. Each rule of the protocol can be
//! taken out, and then a fault must be found: a rule without which nothing breaks would be no rule.

mod handover;
mod timing;

use std::time::{Duration, Instant};

use stateright::{Checker, Model};

/// The longest that one check may take. An exhaustive one that is cut short proves nothing and so fails.
const PATIENCE: Duration = Duration::from_secs(600);

/// Checks everything that can be reached; all properties must hold.
fn holds<M>(model: M)
where
    M: Model + Send + Sync + 'static,
    M::State: Clone + std::fmt::Debug + std::hash::Hash + Send + Sync + PartialEq,
    M::Action: Clone + std::fmt::Debug + PartialEq,
{
    let start = Instant::now();
    let checker = model.checker().threads(2).timeout(PATIENCE).spawn_bfs().join();
    checker.assert_properties();
    assert!(start.elapsed() < PATIENCE, "not everything was tried");
}

/// Some property is broken, and which.
fn breaks<M>(model: M) -> Vec<&'static str>
where
    M: Model + Send + Sync + 'static,
    M::State: Clone + std::fmt::Debug + std::hash::Hash + Send + Sync + PartialEq,
    M::Action: Clone + std::fmt::Debug + PartialEq,
{
    let any = stateright::HasDiscoveries::AnyFailures;
    let checker = model.checker().threads(2).timeout(PATIENCE).finish_when(any).spawn_bfs().join();
    checker.discoveries().into_keys().collect()
}
