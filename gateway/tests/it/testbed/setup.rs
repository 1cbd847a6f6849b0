//! The configuration of the gateway under test.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use gateway::Start;
use gateway::config::Source;
use proto_contracts::PoolName;
use proto_contracts::control::Strategy;
use tokio::sync::oneshot;

use crate::eventually;
use crate::testbed::{DRIVER_TOKEN, Signal, TOKEN, TestGateway};
use crate::upstream::{INSTANCE_TOKEN, Upstream};

/// Longer than all tests together. Pingora's threads sleep for this long after `run` has returned,
/// and they must: Pingora would reuse the runtime of an ended thread for the next thread with the
/// same id.
const GRACE_PERIOD_S: u32 = 3_600;

/// What exchanges requests: `plain`, or `GATEWAY_TEST_ENGINE`. Each test holds for both.
pub(crate) fn engine() -> String {
    std::env::var("GATEWAY_TEST_ENGINE").unwrap_or_else(|_| "plain".to_owned())
}

/// Settings that differ from the defaults.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    engine: String,
    threads: usize,
    stateless: Vec<SocketAddr>,
    stateful: Vec<SocketAddr>,
    stateful_strategy: Strategy,
    server: String,
    control: String,
    stateful_settings: String,
    retries: String,
    sections: String,
    stateless_listed: Option<String>,
    health: String,
    deployment: Option<&'static str>,
    state_file: Option<PathBuf>,
    interval: Duration,
    fails: u32,
    passes: u32,
    token: Option<&'static str>,
    control_listen: SocketAddr,
    jwt_public_key: Option<String>,
    class_url: Option<&'static str>,
    driver: Option<SocketAddr>,
    ca_file: Option<PathBuf>,
}

impl Setup {
    /// Health checks every 100 ms; both pools empty.
    pub(crate) fn new() -> Self {
        Self {
            engine: engine(),
            threads: 2,
            stateless: Vec::new(),
            stateful: Vec::new(),
            stateful_strategy: Strategy::Sticky,
            server: String::new(),
            control: String::new(),
            stateful_settings: String::new(),
            // No timeout: a busy machine may be slow.
            retries: "attempt_timeout_ms = 0".to_owned(),
            sections: String::new(),
            stateless_listed: None,
            health: String::new(),
            deployment: None,
            state_file: None,
            interval: Duration::from_millis(100),
            fails: 3,
            passes: 2,
            token: Some(TOKEN),
            control_listen: ([127, 0, 0, 1], 0).into(),
            jwt_public_key: None,
            class_url: None,
            driver: None,
            ca_file: None,
        }
    }

    /// Trusts the authorities in this file.
    pub(crate) fn ca_file(mut self, file: PathBuf) -> Self {
        self.ca_file = Some(file);
        self
    }

    /// What exchanges requests, for a test that compares both.
    pub(crate) fn engine(mut self, engine: &str) -> Self {
        engine.clone_into(&mut self.engine);
        self
    }

    /// The number of threads: each has its own connections to instances.
    pub(crate) fn threads(mut self, threads: usize) -> Self {
        self.threads = threads;
        self
    }

    /// The stateless pool.
    pub(crate) fn stateless<'a>(
        mut self,
        upstreams: impl IntoIterator<Item = &'a Upstream>,
    ) -> Self {
        self.stateless = upstreams.into_iter().map(Upstream::addr).collect();
        self
    }

    /// The stateless pool, of one instance at this address.
    pub(crate) fn stateless_at(mut self, addr: SocketAddr) -> Self {
        self.stateless = vec![addr];
        self
    }

    /// The stateful pool.
    pub(crate) fn stateful<'a>(
        mut self,
        upstreams: impl IntoIterator<Item = &'a Upstream>,
    ) -> Self {
        self.stateful = upstreams.into_iter().map(Upstream::addr).collect();
        self
    }

    /// The stateful pool, of one instance at this address.
    pub(crate) fn stateful_at(mut self, addr: SocketAddr) -> Self {
        self.stateful = vec![addr];
        self
    }

    /// The stateful pool's strategy.
    pub(crate) fn strategy(mut self, strategy: Strategy) -> Self {
        self.stateful_strategy = strategy;
        self
    }

    /// One more line of `[server]`.
    pub(crate) fn server(mut self, line: &str) -> Self {
        self.server += line;
        self.server.push('\n');
        self
    }

    /// One more line of `[control]`.
    pub(crate) fn control(mut self, line: &str) -> Self {
        self.control += line;
        self.control.push('\n');
        self
    }

    /// One more line of `[pools.stateful]`.
    pub(crate) fn stateful_setting(mut self, line: &str) -> Self {
        self.stateful_settings += line;
        self.stateful_settings.push('\n');
        self
    }

    /// The lines of `[retries]`, instead of a timeout that is off.
    pub(crate) fn retries(mut self, lines: &str) -> Self {
        lines.clone_into(&mut self.retries);
        self
    }

    /// One more section.
    pub(crate) fn section(mut self, text: &str) -> Self {
        self.sections += text;
        self.sections.push('\n');
        self
    }

    /// The stateless pool's `instances`, as TOML.
    pub(crate) fn stateless_listed(mut self, list: &str) -> Self {
        self.stateless_listed = Some(list.to_owned());
        self
    }

    /// One more line of `[health]`.
    pub(crate) fn health(mut self, line: &str) -> Self {
        self.health += line;
        self.health.push('\n');
        self
    }

    /// The deployment that it belongs to.
    pub(crate) fn deployment(mut self, name: &'static str) -> Self {
        self.deployment = Some(name);
        self
    }

    /// Where changes are kept.
    pub(crate) fn state_file(mut self, path: PathBuf) -> Self {
        self.state_file = Some(path);
        self
    }

    /// Thresholds of the health checks.
    pub(crate) fn thresholds(mut self, fails: u32, passes: u32) -> Self {
        (self.fails, self.passes) = (fails, passes);
        self
    }

    /// Time between health checks, and for each of them.
    pub(crate) fn checked_every(mut self, interval: Duration) -> Self {
        self.interval = interval;
        self
    }

    /// Checks health only at the start, and ejects no instance: later failures change no state.
    pub(crate) fn checked_once(mut self) -> Self {
        self.interval = Duration::from_secs(3_600);
        self.section("[outlier_ejection]\nconsecutive_failures = 0")
    }

    /// Without a token nothing can be changed.
    pub(crate) fn without_token(mut self) -> Self {
        self.token = None;
        self
    }

    /// The control token.
    pub(crate) fn token(mut self, token: &'static str) -> Self {
        self.token = Some(token);
        self
    }

    /// The control plane's address, which other gateways know before it starts.
    pub(crate) fn control_at(mut self, addr: SocketAddr) -> Self {
        self.control_listen = addr;
        self
    }

    /// The public key of tokens that identify users, as PEM.
    pub(crate) fn jwt_public_key(mut self, pem: String) -> Self {
        self.jwt_public_key = Some(pem);
        self
    }

    /// The room of a class.
    pub(crate) fn class_url(mut self, url: &'static str) -> Self {
        self.class_url = Some(url);
        self
    }

    /// A traffic driver at this address, which requires [`DRIVER_TOKEN`].
    pub(crate) fn driver(mut self, addr: SocketAddr) -> Self {
        self.driver = Some(addr);
        self
    }

    pub(super) fn toml(&self) -> String {
        let list = |addrs: &[SocketAddr]| {
            format!("{:?}", addrs.iter().map(ToString::to_string).collect::<Vec<_>>())
        };
        format!(
            "[server]\nlisten = '127.0.0.1:0'\nthreads = {}\nexchange = '{}'\nannounce_s = 0\n\
             grace_period_s = {GRACE_PERIOD_S}\n{}\n[control]\nlisten = '{}'\n{}\n\
             [health]\ninterval_ms = {}\ntimeout_ms = {}\nfails = {}\npasses = {}\n{}\n\
             [pools.stateless]\ninstances = {}\n[pools.stateful]\nstrategy = '{}'\n\
             instances = {}\n{}\n[retries]\n{}\n{}",
            self.threads,
            self.engine,
            self.server,
            self.control_listen,
            self.control,
            self.interval.as_millis(),
            self.interval.as_millis().min(1_000),
            self.fails,
            self.passes,
            self.health,
            self.stateless_listed.clone().unwrap_or_else(|| list(&self.stateless)),
            self.stateful_strategy,
            list(&self.stateful),
            self.stateful_settings,
            self.retries,
            self.sections,
        )
    }

    /// Starts the gateway, and waits until all configured instances are members.
    pub(crate) fn start(&self) -> TestGateway {
        let gateway = self.start_unready();
        for (name, wanted) in
            [(PoolName::Stateless, &self.stateless), (PoolName::Stateful, &self.stateful)]
        {
            eventually("every instance is healthy", || {
                (gateway.healthy(name) == wanted.len()).then_some(())
            });
        }
        gateway
    }

    /// Starts the gateway.
    pub(crate) fn start_unready(&self) -> TestGateway {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("gateway.toml");
        std::fs::write(&file, self.toml()).expect("writes");
        let (deployment, class_url, driver) = (self.deployment, self.class_url, self.driver);
        let ca_file = self.ca_file.clone();
        let (token, key, state_file) =
            (self.token, self.jwt_public_key.clone(), self.state_file.clone());
        let source = Source::new(file, move |name: &str| match name {
            "CONTROL_TOKEN" => token.map(str::to_owned),
            "JWT_PUBLIC_KEY" => key.clone(),
            "CLASS_URL" => class_url.map(str::to_owned),
            "GATEWAY_DRIVER" => driver.map(|addr| addr.to_string()),
            "DRIVER_TOKEN" => driver.map(|_| DRIVER_TOKEN.to_owned()),
            "TLS_CA_FILE" => ca_file.as_ref().map(|path| path.display().to_string()),
            "DEPLOYMENT" => deployment.map(str::to_owned),
            "INSTANCE_TOKEN" => Some(INSTANCE_TOKEN.to_owned()),
            "GATEWAY_STATE_FILE" => state_file.as_ref().map(|path| path.display().to_string()),
            _ => None,
        });
        let config = source.load().expect("a valid configuration");
        let built = gateway::build(config, source, Start::Fresh).expect("builds");
        let (addr, control_addr, metrics_addr) =
            (built.addr(), built.control_addr(), built.metrics_addr());
        let (stop, signal) = oneshot::channel();
        let thread = thread::spawn(move || {
            built.run(Signal(Mutex::new(Some(signal)))).expect("no takeover")
        });
        TestGateway {
            addr,
            control_addr,
            metrics_addr,
            stop: Some(stop),
            thread: Some(thread),
            folder,
        }
    }
}
