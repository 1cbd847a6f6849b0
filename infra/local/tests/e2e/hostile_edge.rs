//! Malformed requests by the thousand through Nginx, each as a connection's first request and
//! behind a valid one: an instance sees at most the one request that it should, and the next client
//! gets its own response.
//!
//! `make hostile-requests` runs 8,000. A failure prints its `FUZZ_CASE`, which repeats it.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use proto_contracts::control::{Instance, InstanceState};
use proto_contracts::{InstanceName, PoolName};
use rustls::pki_types::ServerName;
use service_kit::testing::hostile::{self, Summary, Target, is_own, numbers};
use service_kit::testing::wire::{Received, Recorder, Seen, connect};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::raw::connector;
use crate::small_stack;
use crate::until::until;

/// Cases of a run without a number from the environment.
const CASES: u64 = 200;
/// The instance that records what it is sent.
const NAME: &str = "recorder-1";

struct Edge {
    nginx: SocketAddr,
    tls: TlsConnector,
}

impl Target for Edge {
    type Stream = TlsStream<TcpStream>;

    const LANES: usize = 128;
    const SILENCE: Duration = Duration::from_secs(1);

    async fn connect(&self, from: IpAddr) -> io::Result<Self::Stream> {
        let name = ServerName::try_from("localhost").map_err(io::Error::other)?;
        self.tls.connect(name, connect(self.nginx, from).await?).await
    }

    fn request(&self, number: u64) -> Vec<u8> {
        hostile::request(number, &[])
    }

    fn check(
        &self,
        request: &[u8],
        received: &Received,
        seen: &[Seen],
        client: IpAddr,
        before: usize,
    ) -> Result<(), String> {
        // Nginx keeps a connection if the last of several such fields says so, and may then serve
        // what follows as a request of its own.
        let closes = !request.to_ascii_lowercase().windows(10).any(|some| some == b"keep-alive");
        if closes {
            hostile::check(received, seen, client, before)
        } else {
            each_has_its_response(received, seen, client)
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_malformed_request_affects_no_other_at_the_edge() -> Result<()> {
    let stack =
        small_stack().without_tls().stateful(1).lenient_gateway().with_nginx().start().await?;
    let recorder = Arc::<Recorder>::default();
    let control = stack.control();
    control.add(PoolName::Stateless, recorder.instance(NAME).await).await?;
    until("the recorder serves", || async {
        let pool = control.pool(PoolName::Stateless).await?;
        let serves = |instance: &Instance| {
            let name = instance.name.as_ref().map(InstanceName::as_str);
            name == Some(NAME) && instance.state == InstanceState::Healthy
        };
        Ok(pool.instances.iter().any(serves).then_some(()))
    })
    .await?;
    control.remove(PoolName::Stateless, "stateless-1").await?;
    let target = Edge { nginx: stack.addr_of("nginx")?, tls: connector(&stack)? };
    let run = hostile::run(target, Arc::clone(&recorder), numbers(CASES));
    let Summary { done, rate, reached, failures } = run.await;
    eprintln!(
        "{done} malformed requests through Nginx, each as a first and as a later one, {rate:.0} a \
         second; {reached} reached the instance"
    );
    assert_eq!(recorder.faults(), Vec::<String>::new(), "the instance received no request");
    ensure!(failures.is_empty(), "{}", failures.join("\n"));
    stack.shutdown().await;
    Ok(())
}

/// Checks that Nginx and the gateway agree on the number of requests.
fn each_has_its_response(received: &Received, seen: &[Seen], client: IpAddr) -> Result<(), String> {
    let finals = received.replies.iter().filter(|reply| reply.status >= 200).count();
    // A client that ended its side may have missed the last one.
    if seen.len() > finals + usize::from(received.kept) {
        return Err(format!("{} requests arrived, and {finals} responses", seen.len()));
    }
    is_own(received, client)
}
