//! The agent's client: how the command line, and other programs, talk to the supervisor.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use proto_contracts::agent::{Action, Scale, StackStatus};
use proto_contracts::{PoolName, Problem};
use reqwest::{Method, RequestBuilder};
use secrecy::{ExposeSecret, SecretString};
use serde::de::DeserializeOwned;

use crate::{http, secrets, supervisor};

/// How long a change may take: a component has a minute to become ready.
const TIMEOUT: Duration = Duration::from_secs(120);

/// Speaks to the agent of one state folder: to a stack that another process owns.
pub struct AgentClient {
    client: reqwest::Client,
    base: String,
    token: SecretString,
}

impl AgentClient {
    pub(crate) fn new(state: &Path, addr: SocketAddr) -> Result<Self> {
        let file = secrets::agent_token_file(state);
        let token = secrets::load(&file).with_context(|| format!("cannot read {}", file.display()))?;
        Ok(Self { client: http::internal()?, base: format!("http://{addr}/agent/v1"), token })
    }

    /// Speaks to the agent of the stack that runs on this state folder.
    ///
    /// # Errors
    /// When none runs, or its token cannot be read.
    pub fn of_running(state: &Path) -> Result<Self> {
        let found = supervisor::find(state)?.ok_or_else(|| anyhow!("nothing runs; `make up` starts it"))?;
        Self::new(state, found.agent)
    }

    /// The state of the whole stack.
    ///
    /// # Errors
    /// When the agent does not answer, or refuses, as with all that follow.
    pub async fn status(&self) -> Result<StackStatus> {
        self.send(self.request(Method::GET, "status")).await
    }

    /// Gives a pool that many instances; returns the stack's state after it. No instances at all are refused.
    ///
    /// # Errors
    /// See [`AgentClient::status`].
    pub async fn scale(&self, pool: PoolName, instances: u16) -> Result<StackStatus> {
        self.scale_as(Scale { pool, instances, force: false }).await
    }

    /// The same with all that can be said of it.
    ///
    /// # Errors
    /// See [`AgentClient::status`].
    pub async fn scale_as(&self, scale: Scale) -> Result<StackStatus> {
        self.send(self.request(Method::POST, "scale").timeout(TIMEOUT).json(&scale)).await
    }

    /// Does something to a component; returns the stack's state after it.
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
        self.client.request(method, format!("{}/{path}", self.base)).bearer_auth(self.token.expose_secret())
    }

    async fn send<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T> {
        let answer = request.send().await.context("the supervisor's agent does not answer")?;
        if answer.status().is_success() {
            return answer.json().await.context("the agent's answer cannot be read");
        }
        let status = answer.status();
        match answer.json::<Problem>().await {
            Ok(problem) => bail!("{}", problem.detail),
            Err(_) => bail!("the agent answered {status}"),
        }
    }
}
