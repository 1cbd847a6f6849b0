//! The agent's client, for the command line and other programs.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use proto_contracts::agent::{Action, Scale, StackStatus};
use proto_contracts::{PoolName, Problem};
use reqwest::{Method, RequestBuilder};
use secrecy::{ExposeSecret, SecretString};
use serde::de::DeserializeOwned;

use crate::http::{self, Trust};
use crate::{secrets, supervisor};

/// Timeout of a change: a component has a minute to become ready.
const TIMEOUT: Duration = Duration::from_secs(120);

/// Client of the agent of one state folder, whose stack another process owns.
pub struct AgentClient {
    client: reqwest::Client,
    base: String,
    token: SecretString,
    supervisor: Option<i32>,
}

impl AgentClient {
    pub(crate) fn new(state: &Path, addr: SocketAddr) -> Result<Self> {
        let file = secrets::agent_token_file(state);
        let token =
            secrets::load(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let base = format!("http://{addr}/agent/v1");
        Ok(Self { client: http::internal(Trust::Nothing)?, base, token, supervisor: None })
    }

    /// The agent of the stack that runs on this state folder.
    ///
    /// # Errors
    /// When none runs, or its token cannot be read.
    pub fn of_running(state: &Path) -> Result<Self> {
        let found = supervisor::find(state)?
            .ok_or_else(|| anyhow!("not running; `make up` starts the system"))?;
        Ok(Self { supervisor: Some(found.pid), ..Self::new(state, found.agent)? })
    }

    /// The process that owns the stack, of [`AgentClient::of_running`]: another one after a restart
    /// of the stack.
    pub const fn supervisor(&self) -> Option<i32> {
        self.supervisor
    }

    /// The state of the whole stack.
    ///
    /// # Errors
    /// When the agent does not respond or returns an error, as for all methods below.
    pub async fn status(&self) -> Result<StackStatus> {
        self.send(self.request(Method::GET, "status")).await
    }

    /// Scales a pool; returns the stack's state after it. Zero instances are rejected.
    ///
    /// # Errors
    /// See [`AgentClient::status`].
    pub async fn scale(&self, pool: PoolName, instances: u16) -> Result<StackStatus> {
        self.scale_as(Scale { pool, instances, force: false }).await
    }

    /// Scales a pool with all options.
    ///
    /// # Errors
    /// See [`AgentClient::status`].
    pub async fn scale_as(&self, scale: Scale) -> Result<StackStatus> {
        self.send(self.request(Method::POST, "scale").timeout(TIMEOUT).json(&scale)).await
    }

    /// Runs an action on a component; returns the stack's state after it.
    ///
    /// # Errors
    /// See [`AgentClient::status`].
    pub async fn act(&self, name: &str, action: Action) -> Result<StackStatus> {
        let path = format!("instances/{name}/{}", action.as_str());
        self.send(self.request(Method::POST, &path).timeout(TIMEOUT)).await
    }

    pub(crate) async fn shutdown(&self) -> Result<StackStatus> {
        self.send(self.request(Method::POST, "shutdown")).await
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client
            .request(method, format!("{}/{path}", self.base))
            .bearer_auth(self.token.expose_secret())
    }

    async fn send<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T> {
        let response = request.send().await.context("the supervisor's agent does not respond")?;
        if response.status().is_success() {
            return response.json().await.context("cannot parse the agent's response");
        }
        let status = response.status();
        match response.json::<Problem>().await {
            Ok(problem) => bail!("{}", problem.detail),
            Err(_) => bail!("the agent returned {status}"),
        }
    }
}
