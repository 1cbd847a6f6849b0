//! A second gateway over a stack's instances, with its own pool membership.

use std::sync::Arc;

use proto_contracts::PoolName;
use secrecy::SecretString;

use super::Stack;
use crate::component::Component;
use crate::error::{Attempt, StackError};
use crate::gateway::{self, Control, Placement};
use crate::ports::{self, loopback};
use crate::process::Process;
use crate::ready::{self, Probe};

/// A gateway with only some of the stack's stateful instances. It is killed when dropped; a stack
/// has one at a time.
pub struct SecondGateway {
    process: Arc<Process>,
    url: String,
}

impl Stack {
    /// Starts a second gateway with these stateful instances alone, and waits until they are
    /// healthy there.
    ///
    /// # Errors
    /// [`StackError::NoSuchComponent`], [`StackError::PortInUse`] while there is another, or why it
    /// does not start.
    pub async fn second_gateway(&self, instances: &[String]) -> Result<SecondGateway, StackError> {
        let settings = &self.settings;
        let mut members: Vec<_> = self
            .members()
            .into_iter()
            .filter(|(_, pool, _)| *pool == PoolName::Stateless)
            .collect();
        for name in instances {
            let component = self.find(name)?;
            members.push((component, PoolName::Stateful, self.port_of(component)));
        }
        let placement = Placement::second(settings);
        ports::require_free(placement.listen.port(), "a second gateway")?;
        ports::require_free(placement.control.port(), "a second gateway's control plane")?;
        let of_pools: Vec<_> = members.iter().map(|(_, pool, port)| (*pool, *port)).collect();
        let launch = gateway::launch_at(settings, &placement, &of_pools)?;
        let process = Process::start(&settings.shim, &launch)
            .await
            .attempt(|| "start a second gateway".to_owned())?;
        let second = SecondGateway {
            process: Arc::new(process),
            url: format!("{}://{}", settings.scheme(), placement.listen),
        };
        let probe = Probe::Http {
            client: settings.client()?,
            url: format!("{}/health", second.url),
            instance: None,
        };
        ready::wait(Component::Gateway, &second.process, &probe, &launch.log).await?;
        let token: SecretString = settings.secrets.control_token.clone();
        let control = Control::at(&format!("http://{}", placement.control), token)?;
        let healthy: Vec<_> = members
            .into_iter()
            .map(|(component, pool, port)| (pool, component.to_string(), loopback(port)))
            .collect();
        control.await_healthy(&healthy).await?;
        Ok(second)
    }
}

impl SecondGateway {
    /// Its data plane's URL, without a trailing slash.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Kills it and waits until it is gone.
    pub async fn kill(self) {
        self.process.kill().await;
    }
}

impl Drop for SecondGateway {
    fn drop(&mut self) {
        self.process.kill_now();
    }
}
