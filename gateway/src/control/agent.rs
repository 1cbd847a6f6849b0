//! A client of the local stack's agent.

use std::io;
use std::time::Duration;

use proto_contracts::agent::StackStatus;
use proto_contracts::{ErrorCode, Problem};
use reqwest::{Client, Method, RequestBuilder};
use secrecy::{ExposeSecret, SecretString};
use service_kit::http_client;
use service_kit::problem::ApiError;

use crate::config::Agent;

/// A started instance has a minute to become ready, and a stopped one to end its requests.
const TIMEOUT: Duration = Duration::from_secs(150);

/// A client of the local stack's agent.
#[derive(Debug)]
pub(super) struct AgentClient {
    client: Client,
    base: String,
    token: SecretString,
}

impl AgentClient {
    /// A client of this agent.
    pub(super) fn new(agent: &Agent) -> io::Result<Self> {
        let client = http_client::client(TIMEOUT).map_err(io::Error::other)?;
        let base = format!("http://{}/agent/v1", agent.addr);
        Ok(Self { client, base, token: agent.token.clone() })
    }

    /// The state of the stack.
    pub(super) async fn status(&self) -> Result<StackStatus, ApiError> {
        self.send(self.request(Method::GET, "status")).await
    }

    /// A request with the token.
    pub(super) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let url = format!("{}/{path}", self.base);
        self.client.request(method, url).bearer_auth(self.token.expose_secret())
    }

    /// The stack after it. The agent's problem is passed on: its text is for the same operator.
    pub(super) async fn send(&self, request: RequestBuilder) -> Result<StackStatus, ApiError> {
        let failed = |error: reqwest::Error| {
            let detail = "The stack's agent did not respond; see `make status` and its log.";
            ApiError::new(ErrorCode::UpstreamFailed, detail).caused_by(error)
        };
        let response = request.send().await.map_err(failed)?;
        if response.status().is_success() {
            return response.json().await.map_err(failed);
        }
        let status = response.status();
        let problem: Problem = response.json().await.map_err(failed)?;
        Err(match problem.code {
            // Ours for the agent, not the operator's for us.
            ErrorCode::Unauthorized => {
                let detail = "The stack's agent rejects AGENT_TOKEN; it must be the content of the \
                              stack's agent.token.";
                ApiError::new(ErrorCode::UpstreamFailed, detail)
            }
            code => ApiError::new(code, problem.detail).caused_by(format!("status {status}")),
        })
    }
}
