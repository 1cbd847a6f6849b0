//! The gateway and this service resolve every path alike.

use actix_web::rt;
use proto_contracts::PoolName;
use service_kit::testing::paths::{Paths, assert_same_resolution};
use stateful_svc::routes::mount_endpoints;

#[test]
fn every_path_resolves_as_in_the_gateway() {
    let paths = Paths::seeded(0x5e55_1015).take(100_000);
    let outcomes = rt::System::new().block_on(assert_same_resolution(
        PoolName::Stateful,
        mount_endpoints,
        paths,
    ));
    eprintln!("{outcomes:?}");
    for outcome in ["the same endpoint", "no endpoint of this service", "rejected by both"] {
        assert!(
            outcomes.get(outcome).is_some_and(|count| *count > 5_000),
            "{outcome} is rare: {outcomes:?}"
        );
    }
}
