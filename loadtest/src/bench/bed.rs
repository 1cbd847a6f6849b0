//! The stack that is measured, with everything that all parts need of it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use local_stack::Stack;

use super::cost::{INSTANCES, Processes};
use super::plan::BenchPlan;
use crate::client::Client;
use crate::request;
use crate::target::{Reach, Target};

/// Far longer than an instance takes to get its lease.
const PATIENCE: Duration = Duration::from_secs(10);
/// Short beside what is waited for.
const STEP: Duration = Duration::from_millis(20);

pub(crate) struct Bed<'a> {
    pub(crate) stack: &'a Stack,
    pub(crate) plan: &'a BenchPlan,
    pub(crate) processes: Processes,
}

impl Bed<'_> {
    /// The gateway.
    pub(crate) async fn gateway(&self) -> Result<Arc<Target>> {
        Ok(Arc::new(Target::resolve(&self.stack.urls().gateway, None, Reach::ThisMachine).await?))
    }

    /// An instance, past the gateway.
    pub(crate) async fn instance(&self, name: &str) -> Result<Arc<Target>> {
        let url = format!("http://{}", self.stack.addr_of(name)?);
        Ok(Arc::new(Target::resolve(&url, None, Reach::ThisMachine).await?))
    }

    /// What an instance says of itself.
    pub(crate) async fn gauge(&self, instance: &str, name: &str) -> Result<u64> {
        let answer = Client::new(self.instance(instance).await?).send(request::get("/metrics")).await?;
        let text = String::from_utf8_lossy(&answer.body);
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
        value.with_context(|| format!("{instance} tells no {name}"))
    }

    /// Waits until every instance may keep sessions in its memory.
    pub(crate) async fn await_leases(&self) -> Result<()> {
        let begin = Instant::now();
        for number in 1..=INSTANCES {
            let instance = format!("stateful-{number}");
            while self.gauge(&instance, "stateful_lease_held").await? != 1 {
                ensure!(begin.elapsed() < PATIENCE, "{instance} gets no lease");
                tokio::time::sleep(STEP).await;
            }
        }
        Ok(())
    }
}
