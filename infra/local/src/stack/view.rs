//! Queries of a running stack.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use proto_contracts::agent::{ComponentState, ComponentStatus, Urls};
use secrecy::SecretString;

use super::Stack;
use super::part::Part;
use crate::component::Component;
use crate::error::StackError;
use crate::gateway::Control;
use crate::http::{self, Trust};
use crate::nginx;
use crate::ports::{Ports, loopback};
use crate::postgres;
use crate::process::{last_lines, lock};
use crate::redis;
use crate::settings::Settings;
use crate::topology::Store;
use crate::urls;

/// Log lines that the status shows of a component that died.
const LAST_LINES: usize = 5;

impl Stack {
    /// The state of each component, data first, edge last.
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
                    .map(|exit| format!("{exit} at {:.3}", exit.at)),
                last_lines: if state == ComponentState::Died {
                    last_lines(&log, LAST_LINES)
                } else {
                    Vec::new()
                },
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

    /// Process id of a running component.
    ///
    /// # Errors
    /// [`StackError::WrongState`] when it does not run.
    pub fn pid_of(&self, name: &str) -> Result<u32, StackError> {
        Ok(self.running(self.find(name)?)?.pid())
    }

    /// Address of a component's listener; for Nginx, HTTPS.
    ///
    /// # Errors
    /// [`StackError::NoSuchComponent`].
    pub fn addr_of(&self, name: &str) -> Result<SocketAddr, StackError> {
        let component = self.find(name)?;
        Ok(loopback(lock(&self.parts).get(&component).map_or(0, |part| part.port)))
    }

    /// URL of a component that speaks HTTP, without a trailing slash.
    ///
    /// # Errors
    /// [`StackError::NoSuchComponent`].
    pub fn url_of(&self, name: &str) -> Result<String, StackError> {
        let scheme = match self.find(name)? {
            Component::Gateway | Component::SecondGateway | Component::Instance(..) => {
                self.settings.scheme()
            }
            _ => "http",
        };
        Ok(format!("{scheme}://{}", self.addr_of(name)?))
    }

    /// Path of a component's log.
    ///
    /// # Errors
    /// [`StackError::NoSuchComponent`].
    pub fn log_path(&self, name: &str) -> Result<PathBuf, StackError> {
        Ok(self.settings.log(self.find(name)?))
    }

    /// The folder with the content of users' files.
    pub fn files(&self) -> PathBuf {
        self.settings.files()
    }

    /// The URLs of all listeners, without trailing slashes.
    pub fn urls(&self) -> Urls {
        let Settings { ports, extent, gateways, class, .. } = &*self.settings;
        urls::of(ports, *extent, *gateways, class, self.settings.scheme())
    }

    /// The stack's ports.
    pub fn ports(&self) -> &Ports {
        &self.settings.ports
    }

    /// Session store of the stateful service.
    pub fn store(&self) -> Store {
        self.settings.store
    }

    /// A client of the first gateway's control API.
    pub fn control(&self) -> &Control {
        &self.control
    }

    /// The token of the gateway's control API.
    pub fn control_token(&self) -> &SecretString {
        &self.settings.secrets.control_token
    }

    /// URL of PostgreSQL with the services' password.
    pub fn database_url(&self) -> SecretString {
        self.settings.database_url()
    }

    /// The folder of PostgreSQL's data. Its WAL is archived into the folder `wal` beside it, if the
    /// plan says so.
    pub fn database_folder(&self) -> PathBuf {
        postgres::folder(&self.settings)
    }

    /// URL by which a backup copies the folder of the data.
    pub fn replication_url(&self) -> SecretString {
        self.settings.replication_url()
    }

    /// URL of its standby, if the plan has one.
    pub fn replica_url(&self) -> SecretString {
        self.settings.replica_url()
    }

    /// URL of the sessions' Redis.
    pub fn redis_sessions_url(&self) -> String {
        redis::sessions_url(&self.settings)
    }

    /// The same as the services have it: by TLS, if it is on.
    pub fn redis_sessions_url_for_services(&self) -> String {
        redis::sessions_url_for_services(&self.settings)
    }

    /// URL of the cache's Redis.
    pub fn redis_cache_url(&self) -> String {
        self.settings.redis_cache_url()
    }

    /// The state folder.
    pub fn state_dir(&self) -> &Path {
        &self.settings.state
    }

    /// Path of the CA certificate that signed Nginx's.
    pub fn ca_path(&self) -> PathBuf {
        self.settings.tls_dir().join("ca.pem")
    }

    /// Builder of an HTTP client for the classroom, which trusts the CA of its certificate alone.
    ///
    /// # Errors
    /// [`StackError::Io`] when the certificate cannot be read, or the classroom is closed.
    pub fn class_client(&self) -> Result<reqwest::ClientBuilder, StackError> {
        http::client(Trust::Authority(&nginx::class_tls_dir(&self.settings).join("ca.pem")))
    }

    /// The code of the classroom, which is new at each start.
    pub fn class_code(&self) -> &str {
        &self.settings.class_code
    }

    /// Builder of an HTTP client that follows no redirect and, when Nginx runs, trusts its CA
    /// alone.
    ///
    /// # Errors
    /// [`StackError::Io`] when the certificate cannot be read.
    pub fn client(&self) -> Result<reqwest::ClientBuilder, StackError> {
        let ca = self.ca_path();
        http::client(if ca.exists() { Trust::Authority(&ca) } else { Trust::Nothing })
    }
}
