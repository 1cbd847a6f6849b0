//! What can be asked of a running stack.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use proto_contracts::agent::{ComponentState, ComponentStatus, GatewayUrls, Urls};
use secrecy::SecretString;

use super::Stack;
use super::parts::Part;
use crate::component::Component;
use crate::error::StackError;
use crate::gateway::Control;
use crate::http::{self, Trust};
use crate::nginx;
use crate::plan::{Extent, Gateways, Store};
use crate::ports::{Ports, loopback};
use crate::process::{last_lines, lock};

/// How many of its last lines tell why a component died.
const LAST_LINES: usize = 5;

impl Stack {
    /// What each component does, data first, the edge last.
    pub fn status(&self) -> Vec<ComponentStatus> {
        let parts = lock(&self.parts);
        let status = |(&component, part): (&Component, &Part)| {
            let state = part.state();
            let running = part.process.as_ref().filter(|process| process.exit().is_none());
            let log = self.settings.log(component);
            ComponentStatus {
                name: component.to_string(),
                pool: component.pool(),
                state,
                pid: running.map(|process| process.pid()),
                port: part.port,
                uptime_s: running.map(|process| process.started.elapsed().as_secs()),
                exit: part
                    .process
                    .as_ref()
                    .and_then(|process| process.exit())
                    .map(|exit| format!("{exit} at {:.0}", exit.at)),
                last_lines: if state == ComponentState::Died { last_lines(&log, LAST_LINES) } else { Vec::new() },
                log: log.display().to_string(),
            }
        };
        parts.iter().map(status).collect()
    }

    /// The state of one component.
    ///
    /// # Errors
    /// [`StackError::NoSuchComponent`].
    pub fn state_of(&self, name: &str) -> Result<ComponentState, StackError> {
        let component = self.find(name)?;
        Ok(lock(&self.parts).get(&component).map_or(ComponentState::Stopped, Part::state))
    }

    /// The process id of a running component.
    ///
    /// # Errors
    /// [`StackError::WrongState`] when it does not run.
    pub fn pid_of(&self, name: &str) -> Result<u32, StackError> {
        Ok(self.running(self.find(name)?)?.pid())
    }

    /// Where a component listens; for Nginx, its HTTPS listener.
    ///
    /// # Errors
    /// [`StackError::NoSuchComponent`].
    pub fn addr_of(&self, name: &str) -> Result<SocketAddr, StackError> {
        let component = self.find(name)?;
        Ok(loopback(lock(&self.parts).get(&component).map_or(0, |part| part.port)))
    }

    /// The log of a component.
    ///
    /// # Errors
    /// [`StackError::NoSuchComponent`].
    pub fn log_path(&self, name: &str) -> Result<PathBuf, StackError> {
        Ok(self.settings.log(self.find(name)?))
    }

    /// Where everything can be called, without a slash at the end.
    pub fn urls(&self) -> Urls {
        urls(&self.settings.ports, self.settings.extent, self.settings.gateways)
    }

    /// The ports of the plan.
    pub fn ports(&self) -> &Ports {
        &self.settings.ports
    }

    /// Where the stateful service keeps its sessions.
    pub fn store(&self) -> Store {
        self.settings.store
    }

    /// The control API of the first gateway, with the token for it.
    pub fn control(&self) -> &Control {
        &self.control
    }

    /// The token of the gateway's control API.
    pub fn control_token(&self) -> &SecretString {
        &self.settings.secrets.control_token
    }

    /// Where PostgreSQL is, with the services' password.
    pub fn database_url(&self) -> SecretString {
        self.settings.database_url()
    }

    /// Where the sessions' Redis is.
    pub fn redis_sessions_url(&self) -> String {
        self.settings.redis_sessions_url()
    }

    /// Where the cache's Redis is.
    pub fn redis_cache_url(&self) -> String {
        self.settings.redis_cache_url()
    }

    /// The state folder.
    pub fn state_dir(&self) -> &Path {
        &self.settings.state
    }

    /// The authority that signed Nginx's certificate.
    pub fn ca_path(&self) -> PathBuf {
        nginx::tls_dir(&self.settings).join("ca.pem")
    }

    /// Starts an HTTP client that follows no redirect and, when Nginx runs, trusts its certificate and no other.
    ///
    /// # Errors
    /// [`StackError::Io`] when the certificate cannot be read.
    pub fn client(&self) -> Result<reqwest::ClientBuilder, StackError> {
        let ca = self.ca_path();
        http::client(if ca.exists() { Trust::Authority(&ca) } else { Trust::Nobody })
    }
}

/// Where a stack with these ports can be called.
pub(crate) fn urls(ports: &Ports, extent: Extent, gateways: Gateways) -> Urls {
    let http = |port| format!("http://{}", loopback(port));
    Urls {
        https: (extent >= Extent::Edge).then(|| format!("https://{}", loopback(ports.https))),
        gateway: http(ports.gateway),
        control: http(ports.control),
        second: (gateways == Gateways::Two).then(|| GatewayUrls {
            name: Component::SecondGateway.to_string(),
            gateway: http(ports.second_gateway),
            control: http(ports.second_control),
        }),
        agent: http(ports.agent),
        prometheus: (extent >= Extent::Monitoring).then(|| http(ports.prometheus)),
    }
}
