//! Who takes part in the comparison, and how each is started.

use std::fmt;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use clap::ValueEnum;
use local_stack::Builds;
use serde::Serialize;

use super::access_log::AccessLog;
use super::answers::{self, Answers};
use super::child::Child;
use super::origins::Origins;
use super::{fill, start, target};
use crate::bench::plan::BenchPlan;
use crate::client::Client;
use crate::target::Target;

const NGINX_CONF: &str = include_str!("../../../bench/nginx.conf");
const HAPROXY_CFG: &str = include_str!("../../../bench/haproxy.cfg");
const CADDYFILE: &str = include_str!("../../../bench/Caddyfile");
const GATEWAY_TOML: &str = include_str!("../../../bench/gateway.toml");

/// Where distributions keep servers, besides what `PATH` names.
const SBIN: [&str; 2] = ["/usr/sbin", "/usr/local/sbin"];
/// Good answers in a row until a contender has found its origins.
const STEADY: usize = 40;
const PATIENCE: Duration = Duration::from_secs(20);
const STEP: Duration = Duration::from_millis(20);

/// A proxy, configured in one of the ways that are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Contender {
    /// The gateway, with HTTP/1.1 to its origins.
    Gateway,
    /// The gateway, with HTTP/2 to its origins.
    GatewayH2,
    /// Another build of the gateway (`--other-gateway`), with HTTP/1.1 to its origins.
    #[value(skip)]
    OtherGateway,
    /// The same, with HTTP/2.
    #[value(skip)]
    OtherGatewayH2,
    /// Nginx, which speaks HTTP/1.1 to its origins.
    Nginx,
    /// HAProxy, with HTTP/1.1 to its origins.
    Haproxy,
    /// HAProxy, with HTTP/2 to its origins.
    HaproxyH2,
    /// Caddy, with HTTP/1.1 to its origins.
    Caddy,
}

impl Contender {
    /// As it stands in the report.
    pub(super) const fn title(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::GatewayH2 => "gateway, h2 to the origins",
            Self::OtherGateway => "other gateway",
            Self::OtherGatewayH2 => "other gateway, h2",
            Self::Nginx => "Nginx",
            Self::Haproxy => "HAProxy",
            Self::HaproxyH2 => "HAProxy, h2 to the origins",
            Self::Caddy => "Caddy",
        }
    }
}

impl Contender {
    /// What its configuration says of the protocol to the origins.
    const fn protocol(self) -> &'static str {
        match self {
            Self::GatewayH2 | Self::OtherGatewayH2 => "protocol = \"h2c\"",
            Self::HaproxyH2 => "proto h2",
            Self::Gateway | Self::OtherGateway | Self::Nginx | Self::Haproxy | Self::Caddy => "",
        }
    }

    /// The same by another build of the gateway.
    pub(super) const fn by_other_build(self) -> Option<Self> {
        match self {
            Self::Gateway => Some(Self::OtherGateway),
            Self::GatewayH2 => Some(Self::OtherGatewayH2),
            _ => None,
        }
    }

    const fn is_other_build(self) -> bool {
        matches!(self, Self::OtherGateway | Self::OtherGatewayH2)
    }
}

impl fmt::Display for Contender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.title())
    }
}

/// A contender that serves.
pub(super) struct Running {
    pub(super) contender: Contender,
    pub(super) target: Arc<Target>,
    pub(super) access_log: AccessLog,
    pub(super) answers: Arc<Answers>,
    child: Child,
}

impl Running {
    /// Configures and starts it, and waits until it serves steadily.
    pub(super) async fn start(
        contender: Contender,
        folder: &Path,
        builds: &Builds,
        origins: &Origins,
        plan: &BenchPlan,
    ) -> Result<Self> {
        let dir = folder.join(contender.title());
        fs::create_dir(&dir)?;
        let (listen, control) = (free_addr()?, free_addr()?);
        let (output, file) = (dir.join("output.log"), dir.join("access.log"));
        let mut words = origins.words()?;
        words.extend([
            ("dir", dir.display().to_string()),
            ("log", file.display().to_string()),
            ("listen", listen.to_string()),
            ("control", control.to_string()),
            ("threads", plan.threads.to_string()),
            ("protocol", contender.protocol().to_owned()),
        ]);
        let configure = |name: &str, template| -> Result<String> {
            let path = dir.join(name);
            fs::write(&path, fill(template, &words))?;
            Ok(path.display().to_string())
        };
        let (child, log) = match contender {
            Contender::Gateway | Contender::GatewayH2 | Contender::OtherGateway | Contender::OtherGatewayH2 => {
                let config = configure("gateway.toml", GATEWAY_TOML)?;
                let other = plan.other_gateway.as_ref().filter(|_| contender.is_other_build());
                let program = other.map_or_else(|| builds.binary("gateway"), |other| Ok(other.clone()))?;
                (start(builds, &program, &["--config", &config], &output, &[])?, &output)
            }
            Contender::Nginx => {
                let config = configure("nginx.conf", NGINX_CONF)?;
                let errors = dir.join("nginx-error.log").display().to_string();
                let args = ["-c", &config, "-e", &errors];
                (start(builds, &program("nginx")?, &args, &output, &[])?, &file)
            }
            Contender::Haproxy | Contender::HaproxyH2 => {
                let config = configure("haproxy.cfg", HAPROXY_CFG)?;
                (start(builds, &program("haproxy")?, &["-db", "-f", &config], &output, &[])?, &output)
            }
            Contender::Caddy => {
                let config = configure("Caddyfile", CADDYFILE)?;
                let args = ["run", "--adapter", "caddyfile", "--config", &config];
                let env = [("GOMAXPROCS", plan.threads.to_string()), ("HOME", dir.display().to_string())];
                (start(builds, &program("caddy")?, &args, &output, &env)?, &file)
            }
        };
        let access_log = AccessLog::at(log.clone());
        let running = Self { contender, target: target(listen).await?, access_log, answers: Arc::default(), child };
        running.await_steady(&output).await?;
        running.access_log.settle().await?;
        Ok(running)
    }

    /// Its processes.
    pub(super) fn pids(&self) -> Result<Vec<u32>> {
        self.child.pids()
    }

    async fn await_steady(&self, output: &Path) -> Result<()> {
        let begin = Instant::now();
        let (mut client, mut good) = (Client::new(Arc::clone(&self.target)), 0);
        while good < STEADY {
            // Not judged: a contender whose checks have not seen all origins yet sends a key elsewhere.
            let answered = client.send(answers::request(good)).await.is_ok_and(|answer| answer.status.is_success());
            good = if answered { good + 1 } else { 0 };
            if begin.elapsed() > PATIENCE {
                bail!("it says: {}", fs::read_to_string(output).unwrap_or_default());
            }
            if !answered {
                tokio::time::sleep(STEP).await;
            }
        }
        Ok(())
    }
}

/// Where a program is that the distribution has installed.
fn program(name: &str) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places = std::env::split_paths(&path).chain(SBIN.map(PathBuf::from)).map(|dir| dir.join(name));
    places.find(|file| file.is_file()).with_context(|| {
        format!("{name} is not installed: `infra/local/install-packages.sh --for-bench`, or leave it out of --proxies")
    })
}

/// An address that nobody listens on now. Another program may take it before ours does, which then fails and says so.
fn free_addr() -> Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port")?;
    Ok(listener.local_addr()?)
}
