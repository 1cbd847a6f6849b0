//! A running contender.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use local_stack::Builds;

use super::access_log::AccessLog;
use super::child::Child;
use super::launch::{fill, start, target};
use super::origins::Origins;
use super::responses::{self, Responses};
use crate::bench::contender::Contender;
use crate::bench::plan::BenchPlan;
use crate::client::Client;
use crate::target::Target;

const NGINX_CONF: &str = include_str!("../../../bench/nginx.conf");
const HAPROXY_CFG: &str = include_str!("../../../bench/haproxy.cfg");
const CADDYFILE: &str = include_str!("../../../bench/Caddyfile");
const GATEWAY_TOML: &str = include_str!("../../../bench/gateway.toml");

/// Successes in a row after which a contender has found its origins.
const STEADY: usize = 40;
const START_TIMEOUT: Duration = Duration::from_secs(20);
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// A running contender.
pub(super) struct Running {
    pub(super) contender: Contender,
    pub(super) target: Arc<Target>,
    pub(super) access_log: AccessLog,
    pub(super) responses: Arc<Responses>,
    child: Child,
}

impl Running {
    /// Configures and starts it, and waits until it serves reliably.
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
        let mut values = origins.values()?;
        values.extend([
            ("dir", dir.display().to_string()),
            ("log", file.display().to_string()),
            ("listen", listen.to_string()),
            ("control", control.to_string()),
            ("threads", plan.threads.to_string()),
            ("protocol", contender.protocol().to_owned()),
        ]);
        let configure = |name: &str, template| -> Result<String> {
            let path = dir.join(name);
            fs::write(&path, fill(template, &values))?;
            Ok(path.display().to_string())
        };
        let (child, log) = match contender {
            Contender::Gateway
            | Contender::GatewayH2
            | Contender::OtherGateway
            | Contender::OtherGatewayH2 => {
                let config = configure("gateway.toml", GATEWAY_TOML)?;
                let other = plan.other_gateway.as_ref().filter(|_| contender.is_other_build());
                let program =
                    other.map_or_else(|| builds.binary("gateway"), |other| Ok(other.clone()))?;
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
                (
                    start(builds, &program("haproxy")?, &["-db", "-f", &config], &output, &[])?,
                    &output,
                )
            }
            Contender::Caddy => {
                let config = configure("Caddyfile", CADDYFILE)?;
                let args = ["run", "--adapter", "caddyfile", "--config", &config];
                let env =
                    [("GOMAXPROCS", plan.threads.to_string()), ("HOME", dir.display().to_string())];
                (start(builds, &program("caddy")?, &args, &output, &env)?, &file)
            }
        };
        let access_log = AccessLog::at(log.clone());
        let running = Self {
            contender,
            target: target(listen).await?,
            access_log,
            responses: Arc::default(),
            child,
        };
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
            // Not checked: before its health checks have passed, a contender may use another
            // origin.
            let succeeded = client
                .send(responses::request(good))
                .await
                .is_ok_and(|response| response.status.is_success());
            good = if succeeded { good + 1 } else { 0 };
            if begin.elapsed() > START_TIMEOUT {
                bail!("its output: {}", fs::read_to_string(output).unwrap_or_default());
            }
            if !succeeded {
                tokio::time::sleep(POLL_INTERVAL).await;
            }
        }
        Ok(())
    }
}

/// The path of an installed program.
fn program(name: &str) -> Result<PathBuf> {
    local_stack::find_program(name).with_context(|| {
        format!(
            "{name} is not installed: `infra/local/install-packages.sh --for-bench`, or leave \
                 it out of --proxies"
        )
    })
}

/// A free address. If another program binds it first, ours fails with an error.
fn free_addr() -> Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port")?;
    Ok(listener.local_addr()?)
}
