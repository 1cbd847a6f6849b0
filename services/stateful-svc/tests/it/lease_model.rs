//! A model checker on the protocol of the hybrid store, over all interleavings. `docs/adr/0005`
//! gives the argument.
//!
//! [`handover`] models how a session moves between instances. It assumes that a lease is declared
//! dead only after its holder has stopped trusting it. [`timing`] shows that this holds without a
//! common clock. Each rule of the protocol can be left out, and a fault must be found then:
//! otherwise the rule would be superfluous.

mod handover;
mod timing;

use std::time::{Duration, Instant};

use stateright::{Checker, Model};

/// The timeout of one check. An incomplete check proves nothing, so it fails.
const CHECK_TIMEOUT: Duration = Duration::from_secs(600);

/// Checks all reachable states; all properties must hold.
fn assert_holds<M>(model: M)
where
    M: Model + Send + Sync + 'static,
    M::State: Clone + std::fmt::Debug + std::hash::Hash + Send + Sync + PartialEq,
    M::Action: Clone + std::fmt::Debug + PartialEq,
{
    let start = Instant::now();
    let checker = model.checker().threads(2).timeout(CHECK_TIMEOUT).spawn_bfs().join();
    checker.assert_properties();
    assert!(start.elapsed() < CHECK_TIMEOUT, "the check was not exhaustive");
}

/// The violated properties; the check ends at the first one.
fn violations<M>(model: M) -> Vec<&'static str>
where
    M: Model + Send + Sync + 'static,
    M::State: Clone + std::fmt::Debug + std::hash::Hash + Send + Sync + PartialEq,
    M::Action: Clone + std::fmt::Debug + PartialEq,
{
    let any = stateright::HasDiscoveries::AnyFailures;
    let checker =
        model.checker().threads(2).timeout(CHECK_TIMEOUT).finish_when(any).spawn_bfs().join();
    checker.discoveries().into_keys().collect()
}
