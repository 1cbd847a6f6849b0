//! What a stack is to consist of, before it is started.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use proto_contracts::PoolName;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::builds::Builds;
use crate::component::Component;
use crate::error::{Attempt, StackError};
use crate::nginx;
use crate::ports::{Ports, loopback};
use crate::postgres;
use crate::redis;
use crate::reply_cutter::ReplyCutter;
use crate::secrets::Secrets;
use crate::small_disk::SmallDisk;
use crate::stack::Stack;

/// The stateful service with guarantees that can be taken out.
const BROKEN_BINARY: &str = "stateful-svc-broken";

/// Where the stateful service keeps its sessions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Store {
    /// In the memory of the instance: lost with it, and unknown to the others.
    Memory,
    /// In Redis: every read is a round trip.
    Redis,
    /// In Redis, with a hot copy in the instance that is the session's home.
    #[default]
    Hybrid,
}

impl Store {
    /// The name as `SESSION_STORE` takes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Redis => "redis",
            Self::Hybrid => "hybrid",
        }
    }
}

/// How many servers hold the sessions, and what they do when one is lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Topology {
    /// One server.
    #[default]
    Single,
    /// A master with two replicas, and three Sentinels that promote one when the master is lost.
    Sentinel,
    /// A cluster of three masters with a replica each.
    Cluster,
}

impl Topology {
    /// The name as the command line takes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Single => "single",
            Self::Sentinel => "sentinel",
            Self::Cluster => "cluster",
        }
    }
}

/// How many gateways a stack has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
pub enum Gateways {
    /// One: an upgrade replaces it without a failed request, a stop does not.
    #[default]
    #[value(name = "1")]
    One,
    /// Two behind Nginx, of which one may be stopped.
    #[value(name = "2")]
    Two,
}

impl Gateways {
    /// The number as the command line takes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::One => "1",
            Self::Two => "2",
        }
    }
}

/// Which parts a stack has. Each includes those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Extent {
    /// PostgreSQL and both Redis.
    Data,
    /// The services' instances.
    Services,
    /// The gateway.
    Gateway,
    /// Nginx in front of it.
    Edge,
    /// Prometheus beside it.
    Monitoring,
}

/// What becomes of a stack's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lifetime {
    /// The next start finds it again.
    Kept,
    /// It goes with the stack.
    Test,
}

/// Hears one line about each step of a start.
pub type Progress = Arc<dyn Fn(&str) + Send + Sync>;

/// Builder of a [`Stack`].
#[derive(Clone)]
pub struct Plan {
    stateless: u16,
    stateful: u16,
    store: Store,
    redis: Topology,
    gateways: Gateways,
    extent: Extent,
    state: Option<PathBuf>,
    ports: Option<Ports>,
    health_interval: Duration,
    patient_gateway: bool,
    lab: bool,
    small_disk: Option<u32>,
    env: Vec<(String, String, OsString)>,
    collector: Option<String>,
    stateful_binary: &'static str,
    builds: Option<Builds>,
    nginx_conf: PathBuf,
    prometheus_conf: PathBuf,
    progress: Progress,
}

impl Plan {
    /// Two stateless and three stateful instances with everything in front of and behind them, state kept in that
    /// folder, on the design's ports.
    pub(crate) fn kept(state: impl Into<PathBuf>) -> Self {
        Self {
            stateless: 2,
            stateful: 3,
            store: Store::default(),
            redis: Topology::default(),
            gateways: Gateways::default(),
            extent: Extent::Monitoring,
            state: Some(state.into()),
            ports: Some(Ports::fixed(0)),
            health_interval: Duration::from_secs(1),
            patient_gateway: false,
            lab: false,
            small_disk: None,
            env: Vec::new(),
            collector: None,
            stateful_binary: "stateful-svc",
            builds: None,
            nginx_conf: Path::new(env!("CARGO_MANIFEST_DIR")).join("../nginx"),
            prometheus_conf: Path::new(env!("CARGO_MANIFEST_DIR")).join("../monitoring/prometheus"),
            progress: Arc::new(|_| {}),
        }
    }

    /// One stateless and three stateful instances behind a gateway, on ports and in a folder of their own, both of
    /// which go with the stack. Health is checked twice a second.
    pub(crate) fn for_tests() -> Self {
        Self {
            stateless: 1,
            extent: Extent::Gateway,
            state: None,
            ports: None,
            health_interval: Duration::from_millis(500),
            ..Self::kept("")
        }
    }

    /// How many instances of the stateless service.
    pub fn stateless(mut self, instances: u16) -> Self {
        self.stateless = instances;
        self
    }

    /// How many instances of the stateful service.
    pub fn stateful(mut self, instances: u16) -> Self {
        self.stateful = instances;
        self
    }

    /// Where the stateful service keeps its sessions. Default: hybrid.
    pub fn store(mut self, store: Store) -> Self {
        self.store = store;
        self
    }

    /// How many servers hold the sessions.
    pub fn redis(mut self, topology: Topology) -> Self {
        self.redis = topology;
        self
    }

    /// How many gateways.
    pub fn gateways(mut self, gateways: Gateways) -> Self {
        self.gateways = gateways;
        self
    }

    /// Which parts the stack has.
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

    /// Other ports.
    pub fn ports(mut self, ports: Ports) -> Self {
        self.ports = Some(ports);
        self
    }

    /// How often the gateway checks the instances' health.
    pub fn health_interval(mut self, interval: Duration) -> Self {
        self.health_interval = interval;
        self
    }

    /// A gateway that ejects no instance and waits for each as long as it takes: for those who want to see what the services
    /// promise without it.
    pub fn patient_gateway(mut self) -> Self {
        self.patient_gateway = true;
        self
    }

    /// Lets clients pick the strategy of a request by `X-Routing-Strategy`.
    pub fn open_lab(mut self) -> Self {
        self.lab = true;
        self
    }

    /// Sets a variable for all instances of a binary (`stateful-svc`, `stateless-svc`, `gateway`) or for one instance
    /// (`stateful-2`). A later call wins.
    pub fn env(mut self, whose: impl Into<String>, name: impl Into<String>, value: impl Into<OsString>) -> Self {
        self.env.push((whose.into(), name.into(), value.into()));
        self
    }

    /// Puts a proxy between the stateful instances and the one Redis of their sessions, which can lose replies. Must be called
    /// within a Tokio runtime, and after [`Plan::ports`].
    ///
    /// # Errors
    /// [`StackError::Io`] when there is no port for it.
    pub fn cut_replies(mut self) -> Result<(Self, ReplyCutter), StackError> {
        let ports = self.ports.take().map_or_else(Ports::reserve, Ok)?;
        let cutter = ReplyCutter::before(loopback(ports.redis_sessions))
            .attempt(|| "start a proxy in front of Redis".to_owned())?;
        Ok((self.ports(ports).env("stateful-svc", "SESSION_REDIS_URL", cutter.url()), cutter))
    }

    /// Has the gateway and the services send their traces to the OpenTelemetry collector at this URL, by OTLP over HTTP.
    pub fn traces_to(mut self, collector: impl Into<String>) -> Self {
        self.collector = Some(collector.into());
        self
    }

    /// Runs a build of the stateful service that lacks this guarantee: `no-handover`, `no-lease-check` or `no-drop`. For
    /// those who want to see that its loss is noticed; `make broken` builds it.
    pub fn without_guarantee(mut self, guarantee: impl Into<OsString>) -> Self {
        self.stateful_binary = BROKEN_BINARY;
        self.env("stateful-svc", "TANDEM_TEST_BREAK", guarantee)
    }

    /// Binaries of another profile than the current executable's.
    pub fn builds(mut self, builds: Builds) -> Self {
        self.builds = Some(builds);
        self
    }

    /// Another folder of Nginx configuration than the repository's.
    pub fn nginx_conf(mut self, dir: impl Into<PathBuf>) -> Self {
        self.nginx_conf = dir.into();
        self
    }

    /// Gives the sessions' Redis a disk of its own of so many MiB, which [can be filled](Stack::fill_disk). Takes root.
    pub fn small_disk(mut self, mib: u32) -> Self {
        self.small_disk = Some(mib);
        self
    }

    /// Whom to tell about each step.
    pub fn progress(mut self, progress: Progress) -> Self {
        self.progress = progress;
        self
    }

    /// Starts everything and waits until it is healthy. When something fails, all that was started ends again.
    ///
    /// # Errors
    /// The [`StackError`] that names the component, what was waited for, and the end of its log.
    pub async fn start(self) -> Result<Stack, StackError> {
        let counts = BTreeMap::from([(PoolName::Stateless, self.stateless), (PoolName::Stateful, self.stateful)]);
        let settings = tokio::task::spawn_blocking(|| Settings::resolve(self))
            .await
            .map_err(io::Error::other)
            .attempt(|| "prepare the stack".to_owned())??;
        Stack::start(settings, &counts).await
    }
}

/// A plan with everything settled that stays the same while the stack runs.
pub(crate) struct Settings {
    pub(crate) state: PathBuf,
    /// A folder within the state, or in its stead, that other users can reach: for servers that don't run as root.
    pub(crate) shared: PathBuf,
    /// The disk of the sessions' Redis, where it has one of its own.
    pub(crate) small_disk: Option<SmallDisk>,
    pub(crate) ports: Ports,
    pub(crate) store: Store,
    pub(crate) redis: Topology,
    pub(crate) gateways: Gateways,
    pub(crate) extent: Extent,
    pub(crate) lifetime: Lifetime,
    pub(crate) health_interval: Duration,
    pub(crate) patient_gateway: bool,
    pub(crate) lab: bool,
    /// The program of the stateful instances.
    pub(crate) stateful_binary: &'static str,
    pub(crate) secrets: Secrets,
    pub(crate) builds: Builds,
    pub(crate) shim: PathBuf,
    pub(crate) nginx_conf: PathBuf,
    pub(crate) prometheus_conf: PathBuf,
    pub(crate) progress: Progress,
    collector: Option<String>,
    env: Vec<(String, String, OsString)>,
}

impl Settings {
    fn resolve(plan: Plan) -> Result<Self, StackError> {
        for (whose, _, _) in &plan.env {
            let known = whose.parse::<Component>().is_ok_and(|component| component.binary().is_some())
                || ["stateless-svc", "stateful-svc"].contains(&whose.as_str());
            if !known {
                return Err(StackError::UnknownEnvScope(whose.clone()));
            }
        }
        let builds = match plan.builds {
            Some(builds) => builds,
            None => Builds::beside_current_exe().attempt(|| "find the binaries".to_owned())?,
        };
        let shim = builds.shim()?;
        let ports = plan.ports.map_or_else(Ports::reserve, Ok)?;
        let (state, lifetime) = match plan.state {
            Some(state) => (state, Lifetime::Kept),
            None => {
                let dir =
                    tempfile::Builder::new().prefix("tandem-").tempdir().attempt(|| "make a folder".to_owned())?;
                (dir.keep(), Lifetime::Test)
            }
        };
        let cannot = || format!("make {}", state.display());
        // Others may pass through to what is theirs; every secret in it is closed by itself.
        fs::DirBuilder::new().recursive(true).mode(0o711).create(&state).attempt(cannot)?;
        let state = state.canonicalize().attempt(cannot)?;
        open_to_pass(&state).attempt(cannot)?;
        fs::DirBuilder::new().recursive(true).mode(0o700).create(state.join("logs")).attempt(cannot)?;
        let mut settings = Self {
            small_disk: None,
            shared: shared_folder(&state)?,
            secrets: Secrets::load(&state)?,
            state,
            ports,
            store: plan.store,
            redis: plan.redis,
            gateways: plan.gateways,
            extent: plan.extent,
            lifetime,
            health_interval: plan.health_interval,
            patient_gateway: plan.patient_gateway,
            lab: plan.lab,
            stateful_binary: plan.stateful_binary,
            builds,
            shim,
            nginx_conf: plan.nginx_conf,
            prometheus_conf: plan.prometheus_conf,
            progress: plan.progress,
            collector: plan.collector,
            env: plan.env,
        };
        if let Some(mib) = plan.small_disk {
            let dir = settings.state.join(Component::RedisSessions.to_string());
            settings.small_disk = Some(SmallDisk::mount(&dir, mib)?);
        }
        if lifetime == Lifetime::Test {
            settings.secrets.database_password = postgres::template_password(&settings)?;
        }
        Ok(settings)
    }

    pub(crate) fn log(&self, component: Component) -> PathBuf {
        log_file(&self.state, &component.to_string())
    }

    pub(crate) fn redis_sessions_url(&self) -> String {
        redis::sessions_url(self)
    }

    pub(crate) fn redis_cache_url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.ports.redis_cache)
    }

    pub(crate) fn database_url(&self) -> SecretString {
        let password = self.secrets.database_password.expose_secret();
        let role = postgres::ROLE;
        format!("postgresql://{role}:{password}@127.0.0.1:{}/{role}", self.ports.postgres).into()
    }

    /// What the plan sets beyond our own variables, for the binary first and for the instance after it.
    pub(crate) fn extra_env(&self, component: Component) -> impl Iterator<Item = (String, OsString)> {
        let collector = self.collector.iter().map(|url| ("OTEL_EXPORTER_OTLP_ENDPOINT".to_owned(), url.into()));
        let scopes = [component.binary().map(str::to_owned), Some(component.to_string())];
        collector.chain(scopes.into_iter().flatten().flat_map(|scope| {
            self.env
                .iter()
                .filter(move |(whose, ..)| *whose == scope)
                .map(|(_, name, value)| (name.clone(), value.clone()))
        }))
    }
}

impl Drop for Settings {
    /// The folders of a test go with it, unless it failed: then they say why.
    fn drop(&mut self) {
        // First, since a folder on which something is mounted cannot be removed.
        drop(self.small_disk.take());
        nginx::forget_cache(&self.state);
        if self.lifetime == Lifetime::Kept || std::thread::panicking() {
            return;
        }
        // What cannot be removed lies in the system's folder for temporary files.
        let _ = fs::remove_dir_all(&self.shared);
        let _ = fs::remove_dir_all(&self.state);
    }
}

/// The log of a component, or of the supervisor, in a state folder.
pub(crate) fn log_file(state: &Path, name: &str) -> PathBuf {
    state.join("logs").join(format!("{name}.log"))
}

fn open_to_pass(dir: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(dir, fs::Permissions::from_mode(0o711))
}

/// The state folder itself, unless we are root and other users cannot reach it (a repository under `/root`). Then a
/// folder in `/var/tmp` that belongs to this state folder; the file `shared` in it tells where.
fn shared_folder(state: &Path) -> Result<PathBuf, StackError> {
    let note = state.join("shared");
    if let Ok(path) = fs::read_to_string(&note) {
        return Ok(PathBuf::from(path.trim()));
    }
    if !nix::unistd::getuid().is_root() || crate::programs::anyone_can_enter(state) {
        return Ok(state.to_owned());
    }
    let mark: String =
        Sha256::digest(state.as_os_str().as_encoded_bytes()).iter().take(6).map(|b| format!("{b:02x}")).collect();
    let shared = PathBuf::from(format!("/var/tmp/tandem-{mark}"));
    let cannot = || format!("make {}", shared.display());
    // Without the note it was a state folder's that is gone, and so are the secrets to use it.
    match fs::remove_dir_all(&shared) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(StackError::Io { what: cannot(), source: error });
        }
        _ => {}
    }
    fs::DirBuilder::new().mode(0o711).create(&shared).attempt(cannot)?;
    fs::write(&note, shared.to_string_lossy().as_bytes()).attempt(cannot)?;
    Ok(shared)
}
