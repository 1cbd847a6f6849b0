//! What the overlay `ha` runs for PostgreSQL, as processes on loopback: three etcd, two servers
//! under Patroni, HAProxy and PgBouncer, by the overlay's own scripts and templates.

use std::fs;
use std::io;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use local_stack::find_program;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, User, chown, getuid};
use serde_json::Value;
use service_kit::tls::install_provider;
use tokio_postgres::{Client, NoTls};

use crate::until::until_within;

const PASSWORD: &str = "failover";
const INSTALL: &str = "make packages-for-failover";
/// Far longer than anything here takes: the lease of a primary is 20 s.
const TIMEOUT: Duration = Duration::from_secs(120);

/// The running cluster. It ends when dropped, and with the test's thread.
pub(super) struct Cluster {
    pub(super) servers: [Server; 2],
    /// Of the primary, through PgBouncer.
    pub(super) url: String,
    /// Of the standby.
    pub(super) replica_url: String,
    primary_port: u16,
    others: Vec<Child>,
    http: reqwest::Client,
    _folder: tempfile::TempDir,
}

/// A server of PostgreSQL, and the Patroni that runs it.
pub(super) struct Server {
    pub(super) name: String,
    port: u16,
    api: u16,
    data: PathBuf,
    start: Start,
    patroni: Option<Child>,
}

/// How a script is started.
struct Start {
    script: PathBuf,
    env: Vec<(&'static str, String)>,
    log: PathBuf,
    as_user: Option<User>,
}

impl Start {
    fn run(&self) -> Result<Child> {
        // It dies with this thread. Patroni stops its server then.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "TERM"]);
        if let Some(User { uid, gid, .. }) = &self.as_user {
            command.arg(format!("--reuid={uid}")).arg(format!("--regid={gid}"));
            command.arg("--clear-groups");
        }
        command.arg("bash").arg(&self.script).current_dir("/");
        let log = fs::File::options().create(true).append(true).open(&self.log)?;
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stderr(log.try_clone()?).stdout(log);
        command.spawn().context("setpriv")
    }
}

impl Cluster {
    /// Starts everything, and waits until the standby is synchronous.
    pub(super) async fn start() -> Result<Self> {
        for program in ["etcd", "haproxy", "pgbouncer"] {
            find_program(program).with_context(|| format!("{program} is missing: {INSTALL}"))?;
        }
        let has_patroni = patroni().join("bin/patroni").exists();
        ensure!(has_patroni, "Patroni is missing: {INSTALL}");
        // A stack does so, too, but starts later.
        install_provider();
        let folder = tempfile::tempdir()?;
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))?;
        let at = Folder::prepare(folder.path())?;
        let mut others = at.start_etcd()?;
        let [etcd_1, etcd_2, etcd_3] = at.etcd_ports;
        let hosts = format!("127.0.0.1:{etcd_1},127.0.0.1:{etcd_2},127.0.0.1:{etcd_3}");
        let servers = [at.server("postgres", &hosts)?, at.server("postgres-2", &hosts)?];
        let [primary_port, standby_port, metrics_port, pooler_port] = free_ports()?;
        others.push(at.start_proxy(&servers, [primary_port, standby_port, metrics_port])?);
        others.push(at.start_pooler(primary_port, pooler_port)?);
        let url = |port| format!("postgresql://tandem:{PASSWORD}@127.0.0.1:{port}/tandem");
        let cluster = Self {
            servers,
            url: url(pooler_port),
            replica_url: url(standby_port),
            primary_port,
            others,
            http: reqwest::Client::builder().timeout(Duration::from_secs(2)).no_proxy().build()?,
            _folder: folder,
        };
        cluster.until_whole().await?;
        Ok(cluster)
    }

    /// Waits until one server is the primary, and the other a synchronous standby of it. Returns
    /// the primary.
    pub(super) async fn until_whole(&self) -> Result<usize> {
        self.until("a primary and a synchronous standby", async || {
            for (primary, server) in self.servers.iter().enumerate() {
                let standby = &self.servers[1 - primary];
                if self.is(server, "primary").await && self.is(standby, "synchronous").await {
                    return Ok(Some(primary));
                }
            }
            Ok(None)
        })
        .await
    }

    /// Waits until this server is the primary, for Patroni and by itself. Patroni says so once it has
    /// the lease, when its server still receives, and may acknowledge, what the former one writes.
    pub(super) async fn until_primary(&self, server: usize) -> Result<()> {
        self.until("the standby is promoted", async || {
            let server = &self.servers[server];
            Ok((self.is(server, "primary").await && server.is_promoted().await).then_some(()))
        })
        .await
    }

    /// Whether Patroni says so.
    async fn is(&self, server: &Server, what: &str) -> bool {
        let url = format!("http://127.0.0.1:{}/{what}", server.api);
        self.http.get(url).send().await.is_ok_and(|response| response.status() == 200)
    }

    /// Hands over to the other server, as `patronictl switchover` does.
    pub(super) async fn switch_over(&self, primary: usize) -> Result<()> {
        let server = &self.servers[primary];
        let request = self.http.post(format!("http://127.0.0.1:{}/switchover", server.api));
        let body = serde_json::json!({"leader": server.name});
        let request = request.basic_auth("patroni", Some(PASSWORD)).json(&body);
        let response = request.timeout(TIMEOUT).send().await?;
        ensure!(response.status() == 200, "{response:?}");
        Ok(())
    }

    /// The history of promotions, of the primary.
    pub(super) async fn timeline(&self, server: usize) -> Result<u64> {
        let url = format!("http://127.0.0.1:{}/patroni", self.servers[server].api);
        let state: Value = self.http.get(url).send().await?.json().await?;
        state["timeline"].as_u64().with_context(|| format!("a timeline in {state}"))
    }

    /// A client of the primary.
    pub(super) async fn database(&self) -> Result<Client> {
        connect(self.primary_port).await
    }

    async fn until<T, F: Future<Output = Result<Option<T>>>>(
        &self,
        what: &str,
        attempt: impl FnMut() -> F,
    ) -> Result<T> {
        until_within(TIMEOUT, what, attempt).await.with_context(|| self.logs())
    }

    fn logs(&self) -> String {
        let last = |server: &Server| {
            let log = fs::read_to_string(&server.start.log).unwrap_or_default();
            let lines: Vec<_> = log.lines().rev().take(30).collect();
            format!(
                "\n{}:\n{}",
                server.name,
                lines.into_iter().rev().collect::<Vec<_>>().join("\n")
            )
        };
        self.servers.iter().map(last).collect()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for server in &mut self.servers {
            server.kill();
        }
        for other in &mut self.others {
            let _ = other.kill();
            let _ = other.wait();
        }
    }
}

impl Server {
    /// A client of this server, whatever it is.
    pub(super) async fn database(&self) -> Result<Client> {
        connect(self.port).await
    }

    pub(super) fn start(&mut self) -> Result<()> {
        self.patroni = Some(self.start.run()?);
        Ok(())
    }

    /// Whether its recovery has ended; false while it cannot be connected to.
    async fn is_promoted(&self) -> bool {
        let Ok(database) = self.database().await else { return false };
        let row = database.query_one("SELECT NOT pg_is_in_recovery()", &[]).await;
        row.is_ok_and(|row| row.get(0))
    }

    /// Kills Patroni alone; its server runs on.
    pub(super) fn kill_patroni(&mut self) {
        if let Some(mut patroni) = self.patroni.take() {
            let _ = patroni.kill();
            let _ = patroni.wait();
        }
    }

    /// Kills both, as the end of a container does.
    pub(super) fn kill(&mut self) {
        self.kill_patroni();
        self.signal_postgres(Signal::SIGKILL);
    }

    /// Signals Patroni.
    pub(super) fn signal_patroni(&self, signal: Signal) {
        if let Some(patroni) = &self.patroni {
            let pid = Pid::from_raw(i32::try_from(patroni.id()).unwrap_or(i32::MAX));
            let _ = kill(pid, signal);
        }
    }

    /// Signals all processes of the server.
    pub(super) fn signal_postgres(&self, signal: Signal) {
        let Some(postmaster) = self.postmaster() else { return };
        let _ = kill(Pid::from_raw(postmaster), signal);
        for child in children_of(postmaster) {
            let _ = kill(Pid::from_raw(child), signal);
        }
    }

    fn postmaster(&self) -> Option<i32> {
        let note = fs::read_to_string(self.data.join("postmaster.pid")).ok()?;
        let pid = note.lines().next()?.trim().parse().ok()?;
        let command = fs::read_to_string(format!("/proc/{pid}/cmdline")).ok()?;
        command.contains(self.data.to_str()?).then_some(pid)
    }
}

fn children_of(parent: i32) -> Vec<i32> {
    let is_child = |pid: &i32| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let ppid = status.lines().find_map(|line| line.strip_prefix("PPid:"));
        ppid.is_some_and(|ppid| ppid.trim().parse() == Ok(parent))
    };
    let all = fs::read_dir("/proc").into_iter().flatten().flatten();
    all.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(is_child).collect()
}

async fn connect(port: u16) -> Result<Client> {
    let url = format!("postgresql://tandem:{PASSWORD}@127.0.0.1:{port}/tandem");
    let (client, connection) = tokio_postgres::connect(&url, NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

/// Where everything is.
struct Folder<'a> {
    root: &'a Path,
    user: Option<User>,
    etcd_ports: [u16; 3],
}

impl<'a> Folder<'a> {
    /// Copies the scripts and Patroni: another user must be able to read them, and may not enter
    /// the repository's folder.
    fn prepare(root: &'a Path) -> Result<Self> {
        let compose = Path::new(env!("CARGO_MANIFEST_DIR")).join("../compose");
        for from in [compose.join("postgres"), compose.join("pgbouncer"), patroni()] {
            let mut copy = Command::new("cp");
            copy.args(["--recursive", "--no-dereference", "--preserve=links"]).arg(&from).arg(root);
            ensure!(copy.status()?.success(), "cannot copy {}", from.display());
        }
        // The program of the environment names the folder that it was installed in.
        let program = root.join("patroni/bin/patroni");
        let python = root.join("patroni/bin/python");
        fs::write(&program, format!("#!/bin/sh\nexec {} -m patroni \"$@\"\n", python.display()))?;
        let user = if getuid().is_root() { User::from_name("postgres")? } else { None };
        let folder = Self { root, user, etcd_ports: free_ports()? };
        fs::write(root.join("password"), PASSWORD)?;
        Ok(folder)
    }

    fn make(&self, name: &str) -> Result<PathBuf> {
        let folder = self.root.join(name);
        fs::create_dir_all(&folder)?;
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o700))?;
        if let Some(user) = &self.user {
            chown(&folder, Some(user.uid), Some(user.gid)).map_err(io::Error::from)?;
        }
        Ok(folder)
    }

    fn start(&self, script: &str, log: &str, env: &[(&'static str, String)]) -> Start {
        Start {
            script: self.root.join(script),
            env: [&[("LISTEN", "127.0.0.1".to_owned()), ("ADDRESS", "127.0.0.1".to_owned())], env]
                .concat(),
            log: self.root.join(log).with_extension("log"),
            as_user: self.user.clone(),
        }
    }

    fn start_etcd(&self) -> Result<Vec<Child>> {
        let peers: [u16; 3] = free_ports()?;
        let members = peers
            .iter()
            .zip(1..)
            .map(|(port, number)| format!("etcd-{number}=http://127.0.0.1:{port}"));
        let members = members.collect::<Vec<_>>().join(",");
        let mut started = Vec::new();
        for (number, (client, peer)) in self.etcd_ports.iter().zip(peers).enumerate() {
            let name = format!("etcd-{}", number + 1);
            let data = self.make(&name)?.join("data");
            let env = [
                ("NAME", name.clone()),
                ("CLIENT_PORT", client.to_string()),
                ("PEER_PORT", peer.to_string()),
                ("ETCD_CLUSTER", members.clone()),
                ("DATA_DIR", data.display().to_string()),
            ];
            started.push(self.start("postgres/start-etcd.sh", &name, &env).run()?);
        }
        Ok(started)
    }

    fn server(&self, name: &str, etcd: &str) -> Result<Server> {
        let (state, [port, api]) = (self.make(name)?, free_ports()?);
        let data = state.join("data");
        let env = [
            ("PATH", format!("{}/patroni/bin:/usr/sbin:/usr/bin:/bin", self.root.display())),
            ("NAME", name.to_owned()),
            ("PORT", port.to_string()),
            ("API_PORT", api.to_string()),
            ("ETCD_HOSTS", etcd.to_owned()),
            ("PGDATA", data.display().to_string()),
            ("STATE_DIR", state.display().to_string()),
            ("POSTGRES_PASSWORD_FILE", self.root.join("password").display().to_string()),
        ];
        let start = self.start("postgres/start-patroni.sh", name, &env);
        let mut server = Server { name: name.to_owned(), port, api, data, start, patroni: None };
        server.start()?;
        Ok(server)
    }

    fn start_proxy(&self, servers: &[Server; 2], ports: [u16; 3]) -> Result<Child> {
        let script = self.root.join("start-proxy.sh");
        let config = self.root.join("postgres/haproxy.cfg");
        let haproxy = find_program("haproxy").context("haproxy")?;
        fs::write(&script, format!("exec {} -f {}", haproxy.display(), config.display()))?;
        let [one, two] = servers;
        let env = [
            ("SERVER_1", format!("127.0.0.1:{}", one.port)),
            ("SERVER_2", format!("127.0.0.1:{}", two.port)),
            ("API_PORT_1", one.api.to_string()),
            ("API_PORT_2", two.api.to_string()),
            ("PRIMARY_PORT", ports[0].to_string()),
            ("STANDBY_PORT", ports[1].to_string()),
            ("METRICS_PORT", ports[2].to_string()),
        ];
        self.start("start-proxy.sh", "proxy", &env).run()
    }

    fn start_pooler(&self, server: u16, port: u16) -> Result<Child> {
        let state = self.make("pooler")?;
        let env = [
            ("POSTGRES_HOST", "127.0.0.1".to_owned()),
            ("POSTGRES_PORT", server.to_string()),
            ("PORT", port.to_string()),
            ("STATE_DIR", state.display().to_string()),
            ("POSTGRES_PASSWORD_FILE", self.root.join("password").display().to_string()),
        ];
        self.start("pgbouncer/start.sh", "pooler", &env).run()
    }
}

/// The environment with the Patroni of `requirements.txt`.
fn patroni() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/tools/patroni")
}

/// Ports that nothing uses now.
fn free_ports<const N: usize>() -> Result<[u16; N]> {
    let listeners =
        (0..N).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<io::Result<Vec<_>>>()?;
    let ports = listeners.iter().map(|listener| Ok(listener.local_addr()?.port()));
    let ports = ports.collect::<io::Result<Vec<_>>>()?;
    ports.try_into().ok().context("as many ports")
}
