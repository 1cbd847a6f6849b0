//! The builder of a stack.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::builds::Builds;
use crate::class::Classroom;
use crate::error::{Attempt, StackError};
use crate::ports::{Ports, loopback};
use crate::reply_cutter::ReplyCutter;
use crate::topology::{Extent, Gateways, Store, Topology};

/// The builds of the services with failpoints.
const FAILPOINTS_BINARY: &str = "stateful-svc-broken";
const STATELESS_FAILPOINTS_BINARY: &str = "stateless-svc-broken";

/// Runs the tests of a whole stack with TLS between all tiers.
const TEST_TLS: &str = "TANDEM_TEST_TLS";

/// Called with one line about each step.
pub type Progress = Arc<dyn Fn(&str) + Send + Sync>;

/// Builder of a [`Stack`](crate::Stack).
#[derive(Clone)]
pub struct Plan {
    pub(crate) stateless: u16,
    pub(crate) stateful: u16,
    pub(crate) store: Store,
    pub(crate) redis: Topology,
    pub(crate) gateways: Gateways,
    pub(crate) replica: bool,
    pub(crate) archive: bool,
    pub(crate) tls: bool,
    pub(crate) extent: Extent,
    pub(crate) state: Option<PathBuf>,
    pub(crate) ports: Option<Ports>,
    pub(crate) health_interval: Duration,
    pub(crate) lenient_gateway: bool,
    pub(crate) lab: bool,
    pub(crate) driver: bool,
    pub(crate) class: Classroom,
    pub(crate) small_disk: Option<u32>,
    pub(crate) env: Vec<(String, String, OsString)>,
    pub(crate) collector: Option<String>,
    pub(crate) stateful_binary: &'static str,
    pub(crate) stateless_binary: &'static str,
    pub(crate) builds: Option<Builds>,
    pub(crate) nginx_conf: PathBuf,
    pub(crate) prometheus_conf: PathBuf,
    pub(crate) progress: Progress,
}

impl Plan {
    /// Two stateless and three stateful instances with all layers, on the default ports. The state
    /// stays in this folder.
    pub(crate) fn kept(state: impl Into<PathBuf>) -> Self {
        Self {
            stateless: 2,
            stateful: 3,
            store: Store::default(),
            redis: Topology::default(),
            gateways: Gateways::default(),
            replica: false,
            archive: false,
            tls: false,
            extent: Extent::Monitoring,
            state: Some(state.into()),
            ports: Some(Ports::fixed(0)),
            health_interval: Duration::from_secs(1),
            lenient_gateway: false,
            lab: false,
            driver: false,
            class: Classroom::default(),
            small_disk: None,
            env: Vec::new(),
            collector: None,
            stateful_binary: "stateful-svc",
            stateless_binary: "stateless-svc",
            builds: None,
            nginx_conf: Path::new(env!("CARGO_MANIFEST_DIR")).join("../nginx"),
            prometheus_conf: Path::new(env!("CARGO_MANIFEST_DIR")).join("../monitoring/prometheus"),
            progress: Arc::new(|_| {}),
        }
    }

    /// One stateless and three stateful instances behind a gateway, on free ports and in a
    /// temporary folder. Health is checked twice a second. `TANDEM_TEST_TLS=1` is
    /// [`with_tls`](Self::with_tls).
    pub(crate) fn for_tests() -> Self {
        Self {
            tls: std::env::var_os(TEST_TLS).is_some_and(|set| set == "1"),
            stateless: 1,
            extent: Extent::Gateway,
            state: None,
            ports: None,
            health_interval: Duration::from_millis(500),
            ..Self::kept("")
        }
    }

    /// Number of instances of the stateless service.
    pub fn stateless(mut self, instances: u16) -> Self {
        self.stateless = instances;
        self
    }

    /// Number of instances of the stateful service.
    pub fn stateful(mut self, instances: u16) -> Self {
        self.stateful = instances;
        self
    }

    /// Where the stateful service keeps its sessions. Default: hybrid.
    pub fn store(mut self, store: Store) -> Self {
        self.store = store;
        self
    }

    /// Redis topology of the sessions. Default: a single server.
    pub fn redis(mut self, topology: Topology) -> Self {
        self.redis = topology;
        self
    }

    /// Number of gateways. Default: one.
    pub fn gateways(mut self, gateways: Gateways) -> Self {
        self.gateways = gateways;
        self
    }

    /// With a standby of PostgreSQL, which the stateless service reads. It begins as a copy of the
    /// primary with each start of the stack.
    pub fn with_replica(mut self) -> Self {
        self.replica = true;
        self
    }

    /// PostgreSQL archives its WAL into the folder `wal` beside its data, and lets backups copy its
    /// data folder.
    pub fn archive_wal(mut self) -> Self {
        self.archive = true;
        self
    }

    /// With TLS between all tiers. The stack's own tools use ports without it. The sessions' Redis
    /// must be a single server.
    pub fn with_tls(mut self) -> Self {
        self.tls = true;
        self
    }

    /// Without TLS between the tiers, for a test that takes a tier's place, or reads what they send
    /// each other.
    pub fn without_tls(mut self) -> Self {
        self.tls = false;
        self
    }

    /// Which layers the stack has.
    pub fn extent(mut self, extent: Extent) -> Self {
        self.extent = extent;
        self
    }

    /// With Nginx in front of the gateway.
    pub fn with_nginx(self) -> Self {
        self.extent(Extent::Edge)
    }

    /// With Nginx and Prometheus.
    pub fn with_prometheus(self) -> Self {
        self.extent(Extent::Monitoring)
    }

    /// The ports to use. Default for tests: free ones.
    pub fn ports(mut self, ports: Ports) -> Self {
        self.ports = Some(ports);
        self
    }

    /// Interval of the gateway's health checks.
    pub fn health_interval(mut self, interval: Duration) -> Self {
        self.health_interval = interval;
        self
    }

    /// A gateway without outlier ejection and without attempt timeouts, to test the services'
    /// guarantees alone.
    pub fn lenient_gateway(mut self) -> Self {
        self.lenient_gateway = true;
        self
    }

    /// Lets clients pick the strategy of a request by `X-Routing-Strategy`.
    pub fn open_lab(mut self) -> Self {
        self.lab = true;
        self
    }

    /// With a traffic driver, which the gateways' control planes start and stop.
    pub fn with_driver(mut self) -> Self {
        self.driver = true;
        self
    }

    /// The classroom. It needs Nginx.
    pub fn class(mut self, class: Classroom) -> Self {
        self.class = class;
        self
    }

    /// Sets an environment variable for all instances of a binary (`stateful-svc`, `stateless-svc`,
    /// `gateway`) or for one instance (`stateful-2`). A later call wins.
    pub fn env(
        mut self,
        whose: impl Into<String>,
        name: impl Into<String>,
        value: impl Into<OsString>,
    ) -> Self {
        self.env.push((whose.into(), name.into(), value.into()));
        self
    }

    /// Puts a proxy that can drop replies between the stateful instances and their single Redis.
    /// Call it within a Tokio runtime and after [`Plan::ports`].
    ///
    /// # Errors
    /// [`StackError::Io`] when there is no port for it.
    pub fn cut_replies(mut self) -> Result<(Self, ReplyCutter), StackError> {
        let ports = self.ports.take().map_or_else(Ports::reserve, Ok)?;
        let cutter = ReplyCutter::before(loopback(ports.redis_sessions))
            .attempt(|| "start a proxy in front of Redis".to_owned())?;
        Ok((self.ports(ports).env("stateful-svc", "SESSION_REDIS_URL", cutter.url()), cutter))
    }

    /// Exports the traces of the gateway and the services to the OpenTelemetry collector at this
    /// URL, by OTLP over HTTP.
    pub fn traces_to(mut self, collector: impl Into<String>) -> Self {
        self.collector = Some(collector.into());
        self
    }

    /// Runs the stateful service with this failpoint on: `no-handover`, `no-lease-check`, `no-drop`
    /// or `no-rename`, to show that tests detect the missing guarantee. `make broken` builds it.
    pub fn without_guarantee(mut self, guarantee: impl Into<OsString>) -> Self {
        self.stateful_binary = FAILPOINTS_BINARY;
        self.env("stateful-svc", "TANDEM_TEST_BREAK", guarantee)
    }

    /// Runs the stateless service with this failpoint on: `no-generation-check`, `slow-fill`,
    /// `no-replay-check` or `no-kept-key`. `make broken` builds it.
    pub fn without_stateless_guarantee(mut self, guarantee: impl Into<OsString>) -> Self {
        self.stateless_binary = STATELESS_FAILPOINTS_BINARY;
        self.env("stateless-svc", "TANDEM_TEST_BREAK", guarantee)
    }

    /// Binaries of another build profile than the current executable's.
    pub fn builds(mut self, builds: Builds) -> Self {
        self.builds = Some(builds);
        self
    }

    /// Another folder of Nginx configuration than the repository's.
    pub fn nginx_conf(mut self, dir: impl Into<PathBuf>) -> Self {
        self.nginx_conf = dir.into();
        self
    }

    /// Puts the sessions' Redis on a separate disk of this size in MiB, which
    /// [can be filled](crate::Stack::fill_disk). Requires root.
    pub fn small_disk(mut self, mib: u32) -> Self {
        self.small_disk = Some(mib);
        self
    }

    /// Receives one line about each step.
    pub fn progress(mut self, progress: Progress) -> Self {
        self.progress = progress;
        self
    }
}
