//! A running contender, with origins of its own.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{env, fs};

use anyhow::{Context as _, Result, bail};
use futures_util::future::try_join_all;

use super::access_log::AccessLog;
use super::child::Child;
use super::edge::Edge;
use super::launch::{fill, free_addr, program, start, target, tls_target};
use super::origins::Origins;
use super::requests::request;
use super::responses::Responses;
use super::setup::Setup;
use crate::bench::contender::Contender;
use crate::bench::workload::{Way, Workload};
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

/// Names of the measured processes in the report.
pub(super) const PROXY: &str = "proxy";
pub(super) const EDGE: &str = "edge";

/// A running contender.
pub(super) struct Running {
    pub(super) contender: Contender,
    /// Of all but the relay.
    pub(super) access_log: Option<AccessLog>,
    pub(super) responses: Arc<Responses>,
    /// The Nginx in front of it, if a workload uses one.
    pub(super) edge: Option<Edge>,
    pub(super) origins: Origins,
    direct: Arc<Target>,
    direct_tls: Arc<Target>,
    child: Child,
}

/// Starts all contenders, and waits until their logs are quiet.
pub(super) async fn start_all(
    setup: &Setup<'_>,
    contenders: impl Iterator<Item = Contender> + Clone,
) -> Result<Vec<Running>> {
    let others = contenders
        .clone()
        .filter_map(|contender| setup.plan.other_gateway.as_ref().and(contender.by_other_build()));
    let mut running = Vec::new();
    for contender in contenders.chain(others) {
        let proxy = Running::start(contender, setup).await;
        running.push(proxy.with_context(|| format!("{contender} does not start"))?);
    }
    let logs = running.iter().flat_map(|proxy| {
        proxy.access_log.iter().chain(proxy.edge.as_ref().map(|edge| &edge.access_log))
    });
    try_join_all(logs.map(|log| log.settle())).await?;
    Ok(running)
}

impl Running {
    /// Configures and starts it, and waits until it serves reliably.
    pub(super) async fn start(contender: Contender, setup: &Setup<'_>) -> Result<Self> {
        // Without spaces, which would end a setting of Nginx.
        let dir = setup.folder.join(contender.title().replace([' ', ',', '\''], "-"));
        fs::create_dir(&dir)?;
        let origins = Origins::start(&dir, &setup.builds).await?;
        let (listen, tls_listen, control) = (free_addr()?, free_addr()?, free_addr()?);
        let (output, file) = (dir.join("output.log"), dir.join("access.log"));
        let mut values = origins.values()?;
        values.extend(setup.values());
        values.extend([
            ("dir", dir.display().to_string()),
            ("log", file.display().to_string()),
            ("listen", listen.to_string()),
            ("tls_listen", tls_listen.to_string()),
            ("port", listen.port().to_string()),
            ("tls_port", tls_listen.port().to_string()),
            ("control", control.to_string()),
            ("exchange", contender.exchange().to_owned()),
            ("protocol", contender.protocol().to_owned()),
        ]);
        let (child, log) = {
            let configure = |name: &str, template| -> Result<String> {
                let path = dir.join(name);
                fs::write(&path, fill(template, &values))?;
                Ok(path.display().to_string())
            };
            let builds = &setup.builds;
            match contender.installed_program() {
                None if contender.is_relay() => {
                    let addrs = [listen].into_iter().chain(origins.addrs());
                    let args = ["relay".to_owned()].into_iter();
                    let args: Vec<_> = args.chain(addrs.map(|addr| addr.to_string())).collect();
                    (start(builds, &env::current_exe()?, &args, &output, &[])?, None)
                }
                None => {
                    let config = configure("gateway.toml", GATEWAY_TOML)?;
                    let other = &setup.plan.other_gateway;
                    let program = match other.as_ref().filter(|_| contender.is_other_build()) {
                        Some(other) => other.clone(),
                        None => builds.binary("gateway")?,
                    };
                    (start(builds, &program, &["--config", &config], &output, &[])?, Some(&output))
                }
                Some("nginx") => {
                    let config = configure("nginx.conf", NGINX_CONF)?;
                    let errors = dir.join("nginx-error.log").display().to_string();
                    let args = ["-c", &config, "-e", &errors];
                    (start(builds, &program("nginx")?, &args, &output, &[])?, Some(&file))
                }
                Some("haproxy") => {
                    let config = configure("haproxy.cfg", HAPROXY_CFG)?;
                    let args = ["-db", "-f", &config];
                    (start(builds, &program("haproxy")?, &args, &output, &[])?, Some(&output))
                }
                Some(name) => {
                    let config = configure("Caddyfile", CADDYFILE)?;
                    let args = ["run", "--adapter", "caddyfile", "--config", &config];
                    let threads = setup.threads.to_string();
                    let env = [("GOMAXPROCS", threads), ("HOME", dir.display().to_string())];
                    (start(builds, &program(name)?, &args, &output, &env)?, Some(&file))
                }
            }
        };
        let has_edge = |&workload: &Workload| {
            workload.suits(contender) && matches!(workload.way(contender), Way::Edge | Way::EdgeTls)
        };
        let edge = match setup.workloads.iter().any(has_edge) {
            true => Some(Edge::start(setup, &dir, listen).await?),
            false => None,
        };
        let running = Self {
            contender,
            access_log: log.cloned().map(AccessLog::at),
            responses: Arc::new(Responses::of(contender)),
            edge,
            origins,
            direct: target(listen).await?,
            direct_tls: tls_target(tls_listen, &setup.certificate.cert).await?,
            child,
        };
        await_steady(&running.direct, &output).await?;
        if let Some(edge) = &running.edge {
            await_steady(&edge.plain, &dir.join("edge-output.log")).await?;
        }
        Ok(running)
    }

    /// Begins a turn: drops the lines of its access log, if it has one.
    pub(super) fn begin_turn(&self) -> Result<()> {
        self.access_log.as_ref().map_or(Ok(()), AccessLog::begin)
    }

    /// Its processes.
    pub(super) fn pids(&self) -> Result<Vec<u32>> {
        self.child.pids()
    }

    /// Where the load of this workload connects.
    pub(super) fn target(&self, workload: Workload) -> &Arc<Target> {
        match (workload.way(self.contender), &self.edge) {
            (Way::Edge, Some(edge)) => &edge.plain,
            (Way::EdgeTls, Some(edge)) => &edge.tls,
            (Way::DirectTls, _) => &self.direct_tls,
            _ => &self.direct,
        }
    }

    /// The Nginx in front of it, if this workload uses one.
    pub(super) fn edge_of(&self, workload: Workload) -> Option<&Edge> {
        let way = workload.way(self.contender);
        self.edge.as_ref().filter(|_| matches!(way, Way::Edge | Way::EdgeTls))
    }
}

async fn await_steady(target: &Arc<Target>, output: &Path) -> Result<()> {
    let begin = Instant::now();
    let (mut client, mut good) = (Client::new(Arc::clone(target)), 0);
    while good < STEADY {
        // Not checked: before its health checks have passed, a contender may use another origin.
        let succeeded = client
            .send(request(Workload::Small, good))
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
