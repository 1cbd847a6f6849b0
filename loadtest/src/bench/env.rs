//! The stack under measurement.

use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use local_stack::Stack;
use toml_edit::DocumentMut;

use super::cost::{INSTANCES, Processes};
use super::plan::BenchPlan;
use crate::client::Client;
use crate::request;
use crate::target::{Reach, Target};

/// Limit for the instances to get their leases.
const LEASE_TIMEOUT: Duration = Duration::from_secs(10);
/// Pause between two polls.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

pub(crate) struct BenchEnv<'a> {
    pub(crate) stack: &'a Stack,
    pub(crate) plan: &'a BenchPlan,
    pub(crate) processes: Processes,
}

impl BenchEnv<'_> {
    /// The gateway's target.
    pub(crate) async fn gateway(&self) -> Result<Arc<Target>> {
        Ok(Arc::new(Target::resolve(&self.stack.urls().gateway, None, Reach::ThisMachine).await?))
    }

    /// An instance's target, bypassing the gateway.
    pub(crate) async fn instance(&self, name: &str) -> Result<Arc<Target>> {
        let (url, ca) = (self.stack.url_of(name)?, self.stack.ca_path());
        let ca = url.starts_with("https:").then_some(&*ca);
        Ok(Arc::new(Target::resolve(&url, ca, Reach::ThisMachine).await?))
    }

    /// Sets `[server] exchange` of the gateway, for requests from now on.
    pub(crate) async fn exchange_by(&self, engine: &str) -> Result<()> {
        let file = self.stack.state_dir().join("gateway/gateway.toml");
        let mut config: DocumentMut = fs::read_to_string(&file)?.parse()?;
        config["server"]["exchange"] = engine.into();
        fs::write(&file, config.to_string())?;
        let reloaded = self.stack.control().reload().await?;
        ensure!(reloaded.needs_restart.is_empty(), "{:?}", reloaded.needs_restart);
        Ok(())
    }

    /// A gauge of an instance's metrics.
    pub(crate) async fn gauge(&self, instance: &str, name: &str) -> Result<u64> {
        let response =
            Client::new(self.instance(instance).await?).send(request::get("/metrics")).await?;
        let text = String::from_utf8_lossy(&response.body);
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
        value.with_context(|| format!("{instance} has no metric {name}"))
    }

    /// Waits until every instance holds its lease, and so may cache sessions.
    pub(crate) async fn await_leases(&self) -> Result<()> {
        let begin = Instant::now();
        for number in 1..=INSTANCES {
            let instance = format!("stateful-{number}");
            while self.gauge(&instance, "stateful_lease_held").await? != 1 {
                ensure!(begin.elapsed() < LEASE_TIMEOUT, "{instance} gets no lease");
                tokio::time::sleep(POLL_INTERVAL).await;
            }
        }
        Ok(())
    }
}
