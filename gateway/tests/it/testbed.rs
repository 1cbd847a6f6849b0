//! The gateway under test, in its own thread.

mod setup;

use std::net::SocketAddr;
use std::sync::Mutex;
use std::thread::{self, JoinHandle};

use async_trait::async_trait;
use pingora::server::{ShutdownSignal, ShutdownSignalWatch};
use proto_contracts::control::{self, Explanation, InstanceState, Strategy};
use proto_contracts::{AffinityKey, PoolName, SessionId};
use tempfile::TempDir;
use tokio::sync::oneshot;

pub(crate) use setup::{Setup, engine};

use crate::client::{Browser, Connection, Reply, Request};
use crate::eventually;

/// The token that changes must present.
pub(crate) const TOKEN: &str = "a-token-for-tests-alone";

/// The token of a traffic driver.
pub(crate) const DRIVER_TOKEN: &str = "a-token-of-a-driver";

/// A path of the stateless pool.
pub(crate) const INFO: &str = "/api/v1/stateless/info";
/// The path that creates sessions.
pub(crate) const SESSIONS: &str = "/api/v1/stateful/sessions";

/// The path of a session with this key.
pub(crate) fn session_path(key: AffinityKey) -> String {
    format!("{SESSIONS}/{}", SessionId::generate(key).expose())
}

/// A signal that the test sends.
struct Signal(Mutex<Option<oneshot::Receiver<ShutdownSignal>>>);

#[async_trait]
impl ShutdownSignalWatch for Signal {
    async fn recv(&self) -> ShutdownSignal {
        let signal = self.0.lock().expect("no panic").take().expect("called once");
        signal.await.unwrap_or(ShutdownSignal::GracefulTerminate)
    }
}

/// A gateway that runs until the test ends.
pub(crate) struct TestGateway {
    pub(crate) addr: SocketAddr,
    pub(crate) control_addr: SocketAddr,
    metrics_addr: Option<SocketAddr>,
    stop: Option<oneshot::Sender<ShutdownSignal>>,
    thread: Option<JoinHandle<()>>,
    folder: TempDir,
}

impl TestGateway {
    /// Replaces the configuration file. A reload does not change ports.
    pub(crate) fn rewrite(&self, setup: &Setup) {
        std::fs::write(self.folder.path().join("gateway.toml"), setup.toml()).expect("writes");
    }

    /// A connection to the data plane.
    pub(crate) fn connect(&self) -> Connection {
        Connection::open(self.addr).expect("connects")
    }

    /// Clients that sent a request on separate connections, and did not read the response.
    pub(crate) fn start_many(&self, clients: usize, request: &Request) -> Vec<Connection> {
        let mut connections: Vec<_> = (0..clients).map(|_| self.connect()).collect();
        connections.iter_mut().for_each(|connection| connection.start(request));
        connections
    }

    /// A client with a cookie jar.
    pub(crate) fn browser(&self) -> Browser {
        Browser::open(self.addr)
    }

    /// Sends one request to the data plane, on a new connection.
    #[track_caller]
    pub(crate) fn send(&self, request: &Request) -> Reply {
        self.connect().send(request)
    }

    /// A connection to the control plane.
    pub(crate) fn connect_control(&self) -> Connection {
        Connection::open(self.control_addr).expect("connects")
    }

    /// A connection to the metrics listener.
    pub(crate) fn connect_metrics(&self) -> Connection {
        Connection::open(self.metrics_addr.expect("it is configured")).expect("connects")
    }

    /// Sends one request to the control plane, with its address as `Host`.
    #[track_caller]
    pub(crate) fn request(&self, request: Request) -> Reply {
        self.connect_control().send(&request.header("host", &self.control_addr.to_string()))
    }

    /// Sends a change with the token.
    #[track_caller]
    pub(crate) fn change(&self, request: Request) -> Reply {
        self.request(request.header("authorization", &format!("Bearer {TOKEN}")))
    }

    /// A pool as the control API shows it.
    #[track_caller]
    pub(crate) fn pool(&self, name: PoolName) -> control::Pool {
        let pools: control::Pools = self.request(Request::get("/control/v1/pools")).json();
        pools.pools.into_iter().find(|pool| pool.name == name).expect("both pools are listed")
    }

    /// The stateful pool.
    #[track_caller]
    pub(crate) fn stateful(&self) -> control::Pool {
        self.pool(PoolName::Stateful)
    }

    /// The state of an instance of the stateful pool; `None` if there is none with that name.
    #[track_caller]
    pub(crate) fn state_of(&self, name: &str) -> Option<InstanceState> {
        let named = |instance: &&control::Instance| {
            instance.name.as_ref().is_some_and(|known| known.as_str() == name)
        };
        self.stateful().instances.iter().find(named).map(|instance| instance.state)
    }

    /// Waits until an instance of the stateful pool has this state.
    #[track_caller]
    pub(crate) fn wait_for(&self, name: &str, state: InstanceState) {
        eventually(&format!("{name} is {state}"), || {
            (self.state_of(name) == Some(state)).then_some(())
        });
    }

    /// How many instances of a pool are healthy, by the metrics: cheaper than its key shares.
    #[track_caller]
    pub(crate) fn healthy(&self, pool: PoolName) -> usize {
        let label = format!("pool=\"{pool}\"");
        let is_it =
            |line: &&str| line.starts_with("gateway_upstream_healthy{") && line.contains(&label);
        self.metrics().lines().filter(is_it).filter(|line| line.ends_with(" 1")).count()
    }

    /// Switches a pool's strategy.
    #[track_caller]
    pub(crate) fn set_strategy(&self, pool: PoolName, strategy: Strategy) {
        let body = format!("{{\"strategy\":\"{strategy}\"}}");
        let reply = self
            .change(Request::new("PUT", &format!("/control/v1/pools/{pool}/strategy")).json(&body));
        assert_eq!(reply.status, 200, "{reply:?}");
        assert_eq!(reply.json::<control::StrategySet>().strategy, strategy);
    }

    /// Adds an instance to the stateful pool.
    #[track_caller]
    pub(crate) fn add(&self, addr: SocketAddr) -> Reply {
        let body = format!("{{\"addr\":\"{addr}\"}}");
        self.change(Request::new("POST", "/control/v1/pools/stateful/instances").json(&body))
    }

    /// Removes an instance from the stateful pool.
    #[track_caller]
    pub(crate) fn remove(&self, label: &str) -> Reply {
        self.change(Request::new(
            "DELETE",
            &format!("/control/v1/pools/stateful/instances/{label}"),
        ))
    }

    /// Drains an instance of the stateful pool, or ends its drain.
    #[track_caller]
    pub(crate) fn drain_request(&self, name: &str, act: &str, body: &str) -> Reply {
        self.change(
            Request::new("POST", &format!("/control/v1/pools/stateful/instances/{name}/{act}"))
                .json(body),
        )
    }

    /// Where a key of the stateful pool goes.
    #[track_caller]
    pub(crate) fn explain(&self, key: AffinityKey) -> Explanation {
        self.request(Request::get(&format!("/control/v1/pools/stateful/explain?key={key}"))).json()
    }

    /// The names in a key's ranking, the home first.
    #[track_caller]
    pub(crate) fn ranking(&self, key: AffinityKey) -> Vec<String> {
        self.explain(key).ranking.into_iter().map(|ranked| ranked.name.to_string()).collect()
    }

    /// A random key whose home is this member.
    #[track_caller]
    pub(crate) fn key_at(&self, name: &str) -> AffinityKey {
        eventually("a key with that home", || {
            let key = AffinityKey::random();
            (self.ranking(key)[0] == name).then_some(key)
        })
    }

    /// The text of `/metrics`.
    #[track_caller]
    pub(crate) fn metrics(&self) -> String {
        String::from_utf8(self.request(Request::get("/metrics")).body).expect("text")
    }

    /// The value of a metric without labels; `None` if there is none with that name.
    #[track_caller]
    pub(crate) fn metric(&self, name: &str) -> Option<f64> {
        let metrics = self.metrics();
        let value = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
        Some(value.parse().expect("a number"))
    }

    /// Sends it a termination signal, like SIGTERM, and returns at once.
    pub(crate) fn terminate(&mut self) {
        let sent = self.stop.take().expect("called once").send(ShutdownSignal::GracefulTerminate);
        assert!(sent.is_ok(), "the gateway waits for its signal");
    }

    /// Whether `run` has returned.
    pub(crate) fn has_ended(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }
}

impl Drop for TestGateway {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ended_already = stop.send(ShutdownSignal::GracefulTerminate);
        }
        if thread::panicking() {
            return;
        }
        eventually("the gateway ends", || self.has_ended().then_some(()));
        self.thread.take().map(JoinHandle::join).transpose().expect("no panic");
    }
}
