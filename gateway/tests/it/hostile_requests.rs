//! Malformed requests by the thousand, each as a connection's first request and behind a valid one:
//! an instance sees at most the one request that it should, and the next client gets its own
//! response.
//!
//! `make hostile-requests` runs 8,000. A failure prints its `FUZZ_CASE`, which repeats it.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use service_kit::testing::hostile::{self, Summary, Target, numbers};
use service_kit::testing::wire::{Recorder, connect};
use tokio::net::TcpStream;
use tokio::runtime::Builder;

use crate::raw_table;
use crate::testbed::Setup;

/// Cases of a run without a number from the environment.
const CASES: u64 = 600;

struct Gateway {
    addr: SocketAddr,
    others: Vec<Vec<u8>>,
}

impl Target for Gateway {
    type Stream = TcpStream;

    const LANES: usize = 256;
    const SILENCE: Duration = Duration::from_millis(500);

    async fn connect(&self, from: IpAddr) -> io::Result<TcpStream> {
        connect(self.addr, from).await
    }

    fn request(&self, number: u64) -> Vec<u8> {
        hostile::request(number, &self.others)
    }
}

#[test]
fn a_malformed_request_affects_no_other() {
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("a runtime");
    let recorder = Arc::<Recorder>::default();
    let gateway = Setup::new()
        // All requests share connections to the instance.
        .threads(1)
        .stateless_at(runtime.block_on(recorder.instance("stateless-1")))
        .section(
            "[rate_limit]\nrequests_per_second = 0\n[clients]\nmax_requests = 0\n\
             [overload]\nlatency_target_ms = 0",
        )
        .checked_once()
        .start();
    let target = Gateway { addr: gateway.addr, others: raw_table::requests() };
    let run = hostile::run(target, Arc::clone(&recorder), numbers(CASES));
    let Summary { done, rate, reached, failures } = runtime.block_on(run);
    eprintln!(
        "{done} malformed requests, each as a first and as a later one, {rate:.0} a second; \
         {reached} were valid, and reached the instance"
    );
    assert_eq!(recorder.faults(), Vec::<String>::new(), "the instance received no request");
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
