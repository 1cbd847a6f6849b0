//! A plan with every default resolved: fixed while the stack runs.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

use crate::builds::Builds;
use crate::class::{self, Classroom};
use crate::component::Component;
use crate::error::{Attempt, StackError};
use crate::http::{self, Trust};
use crate::plan::{Plan, Progress};
use crate::ports::{Ports, loopback};
use crate::secrets::Secrets;
use crate::shared_memory;
use crate::small_disk::SmallDisk;
use crate::tls::Tls;
use crate::token_keys::TokenKeys;
use crate::topology::{Extent, Gateways, Store, Topology};

/// The services' role and their database.
pub(crate) const DATABASE_ROLE: &str = "tandem";
/// The role by which a standby follows, and a backup copies the data folder.
pub(crate) const REPLICATION_ROLE: &str = "replicator";

/// The folder of users' files, which all stateless instances share.
const FILES: &str = "files";

/// Whether a stack's state outlives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lifetime {
    /// The next start uses it again.
    Kept,
    /// It is removed with the stack.
    Test,
}

/// A plan with every default resolved.
pub(crate) struct Settings {
    pub(crate) state: PathBuf,
    /// The state folder, or a substitute that other users can reach, for servers that don't run as
    /// root.
    pub(crate) shared: PathBuf,
    /// A separate small disk for the sessions' Redis, if the plan has one.
    pub(crate) small_disk: Option<SmallDisk>,
    pub(crate) ports: Ports,
    pub(crate) store: Store,
    pub(crate) redis: Topology,
    pub(crate) gateways: Gateways,
    pub(crate) replica: bool,
    pub(crate) archive: bool,
    /// The certificate of all servers behind Nginx, if they have TLS.
    pub(crate) tls: Option<Tls>,
    pub(crate) extent: Extent,
    pub(crate) lifetime: Lifetime,
    pub(crate) health_interval: Duration,
    pub(crate) lenient_gateway: bool,
    pub(crate) lab: bool,
    pub(crate) driver: bool,
    pub(crate) class: Classroom,
    /// The code of the room, new at each start.
    pub(crate) class_code: String,
    /// The program of the stateful instances.
    pub(crate) stateful_binary: &'static str,
    pub(crate) stateless_binary: &'static str,
    pub(crate) secrets: Secrets,
    pub(crate) token_keys: TokenKeys,
    pub(crate) builds: Builds,
    pub(crate) shim: PathBuf,
    pub(crate) nginx_conf: PathBuf,
    pub(crate) prometheus_conf: PathBuf,
    pub(crate) progress: Progress,
    collector: Option<String>,
    env: Vec<(String, String, OsString)>,
}

impl Settings {
    pub(crate) fn resolve(plan: Plan) -> Result<Self, StackError> {
        for (scope, _, _) in &plan.env {
            let known =
                scope.parse::<Component>().is_ok_and(|component| component.binary().is_some())
                    || ["stateless-svc", "stateful-svc"].contains(&scope.as_str());
            if !known {
                return Err(StackError::UnknownEnvScope(scope.clone()));
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
                let dir = tempfile::Builder::new()
                    .prefix("tandem-")
                    .tempdir()
                    .attempt(|| "make a folder".to_owned())?;
                (dir.keep(), Lifetime::Test)
            }
        };
        let cannot = || format!("make {}", state.display());
        // Other users may traverse the folder; each secret file in it has mode 0600.
        fs::DirBuilder::new().recursive(true).mode(0o711).create(&state).attempt(cannot)?;
        let state = state.canonicalize().attempt(cannot)?;
        allow_traversal(&state).attempt(cannot)?;
        for private in ["logs", FILES] {
            let folder = state.join(private);
            fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).attempt(cannot)?;
        }
        let mut settings = Self {
            small_disk: None,
            shared: shared_folder(&state)?,
            secrets: Secrets::load(&state)?,
            token_keys: TokenKeys::load_or_make(&state)?,
            state,
            ports,
            store: plan.store,
            redis: plan.redis,
            gateways: plan.gateways,
            replica: plan.replica,
            archive: plan.archive,
            tls: None,
            extent: plan.extent,
            lifetime,
            health_interval: plan.health_interval,
            lenient_gateway: plan.lenient_gateway,
            lab: plan.lab,
            driver: plan.driver,
            class: plan.class,
            class_code: class::new_code(),
            stateful_binary: plan.stateful_binary,
            stateless_binary: plan.stateless_binary,
            builds,
            shim,
            nginx_conf: plan.nginx_conf,
            prometheus_conf: plan.prometheus_conf,
            progress: plan.progress,
            collector: plan.collector,
            env: plan.env,
        };
        if plan.tls {
            if settings.redis != Topology::Single {
                let detail =
                    "TLS between the tiers needs a single Redis of the sessions".to_owned();
                return Err(StackError::Tool { what: "preparing TLS", detail });
            }
            settings.tls = Some(Tls::issue_internal(&settings.tls_dir())?);
        }
        if let Some(mib) = plan.small_disk {
            let dir = settings.state.join(Component::RedisSessions.to_string());
            settings.small_disk = Some(SmallDisk::mount(&dir, mib)?);
        }
        Ok(settings)
    }

    pub(crate) fn log(&self, component: Component) -> PathBuf {
        log_file(&self.state, &component.to_string())
    }

    pub(crate) fn redis_cache_url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.ports.redis_cache)
    }

    pub(crate) fn database_url(&self) -> SecretString {
        self.database_url_on(self.ports.postgres)
    }

    /// The database on the standby.
    pub(crate) fn replica_url(&self) -> SecretString {
        self.database_url_on(self.ports.postgres_replica)
    }

    /// The database for the role that may copy the server's data folder.
    pub(crate) fn replication_url(&self) -> SecretString {
        self.database_url_of(REPLICATION_ROLE, self.ports.postgres)
    }

    fn database_url_on(&self, port: u16) -> SecretString {
        self.database_url_of(DATABASE_ROLE, port)
    }

    fn database_url_of(&self, role: &str, port: u16) -> SecretString {
        let password = self.secrets.database_password.expose_secret();
        format!("postgresql://{role}:{password}@127.0.0.1:{port}/{DATABASE_ROLE}").into()
    }

    /// The folder of the stack's certificates.
    pub(crate) fn tls_dir(&self) -> PathBuf {
        self.state.join("tls")
    }

    /// The services' URL of a database that the stack itself reaches at this one.
    pub(crate) fn for_services(&self, url: &SecretString) -> SecretString {
        let mode = if self.tls.is_some() { "?sslmode=verify-full" } else { "" };
        format!("{}{mode}", url.expose_secret()).into()
    }

    /// The services' URL of the cache's Redis.
    pub(crate) fn redis_cache_url_for_services(&self) -> String {
        match self.tls {
            None => self.redis_cache_url(),
            Some(_) => format!("rediss://127.0.0.1:{}", self.ports.redis_cache_tls),
        }
    }

    /// The plan's additional variables: those of the binary, then those of the instance.
    pub(crate) fn extra_env(
        &self,
        component: Component,
    ) -> impl Iterator<Item = (String, OsString)> {
        let collector =
            self.collector.iter().map(|url| ("OTEL_EXPORTER_OTLP_ENDPOINT".to_owned(), url.into()));
        let scopes = [component.binary().map(str::to_owned), Some(component.to_string())];
        collector.chain(scopes.into_iter().flatten().flat_map(|scope| {
            self.env
                .iter()
                .filter(move |(of, ..)| *of == scope)
                .map(|(_, name, value)| (name.clone(), value.clone()))
        }))
    }

    /// The content of users' files.
    pub(crate) fn files(&self) -> PathBuf {
        self.state.join(FILES)
    }

    /// The gateway's data plane, for the services themselves.
    pub(crate) fn gateway_url(&self) -> String {
        format!("{}://{}", self.scheme(), loopback(self.ports.gateway))
    }

    /// That of the gateways and the services.
    pub(crate) fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }

    /// A client for the listeners of the gateways and the services.
    pub(crate) fn client(&self) -> Result<reqwest::Client, StackError> {
        http::internal(self.tls.as_ref().map_or(Trust::Nothing, |tls| Trust::Authority(&tls.ca)))
    }

    /// Where the issuer publishes its keys: through the gateway, so by any stateless instance.
    pub(crate) fn jwks_url(&self) -> String {
        self.gateway_url() + "/.well-known/jwks.json"
    }
}

impl Drop for Settings {
    /// Removes the folders of a test, unless it failed: then they are kept for diagnosis.
    fn drop(&mut self) {
        // First: a mount point cannot be removed.
        drop(self.small_disk.take());
        shared_memory::remove_cache(&self.state);
        if self.lifetime == Lifetime::Kept || std::thread::panicking() {
            return;
        }
        // After a failure the system's cleanup of temporary files removes them.
        let _ = fs::remove_dir_all(&self.shared);
        let _ = fs::remove_dir_all(&self.state);
    }
}

/// The log of a component, or of the supervisor, in a state folder.
pub(crate) fn log_file(state: &Path, name: &str) -> PathBuf {
    state.join("logs").join(format!("{name}.log"))
}

fn allow_traversal(dir: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(dir, fs::Permissions::from_mode(0o711))
}

/// The state folder, unless we are root and other users cannot reach it (a repository under
/// `/root`). Then a folder in `/var/tmp`, whose path is kept in the state folder's file `shared`.
fn shared_folder(state: &Path) -> Result<PathBuf, StackError> {
    let note = state.join("shared");
    if let Ok(path) = fs::read_to_string(&note) {
        return Ok(PathBuf::from(path.trim()));
    }
    if !nix::unistd::getuid().is_root() || crate::programs::anyone_can_enter(state) {
        return Ok(state.to_owned());
    }
    let hash: String = Sha256::digest(state.as_os_str().as_encoded_bytes())
        .iter()
        .take(6)
        .map(|b| format!("{b:02x}"))
        .collect();
    let shared = PathBuf::from(format!("/var/tmp/tandem-{hash}"));
    let cannot = || format!("make {}", shared.display());
    // An existing folder is left over from a state folder that was removed. Its data is unusable
    // without that folder's secrets.
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
