//! A client of a program to which the control plane passes operations on: the local stack's agent,
//! or a traffic driver. Its token never leaves the gateway but for it.

use std::io;
use std::time::Duration;

use proto_contracts::{ErrorCode, Problem};
use reqwest::{Client, Method, RequestBuilder};
use secrecy::{ExposeSecret, SecretString};
use serde::de::DeserializeOwned;
use service_kit::http_client;
use service_kit::problem::ApiError;
use service_kit::tls::Trust;

use crate::config::{Agent, Driver};

/// A started instance has a minute to become ready, and a stopped one to end its requests.
const AGENT_TIMEOUT: Duration = Duration::from_secs(150);
/// Clients have some seconds to delete their sessions.
const DRIVER_TIMEOUT: Duration = Duration::from_secs(20);

/// A client of one such program.
#[derive(Debug)]
pub(super) struct Backend {
    client: Client,
    base: String,
    token: SecretString,
    texts: Texts,
}

/// What an operator reads when it fails.
#[derive(Debug)]
struct Texts {
    silent: &'static str,
    rejects_token: &'static str,
}

impl Backend {
    /// A client of this agent.
    pub(super) fn agent(agent: &Agent) -> io::Result<Self> {
        let texts = Texts {
            silent: "The stack's agent did not respond; see `make status` and its log.",
            rejects_token: "The stack's agent rejects AGENT_TOKEN; it must be the content of the \
                            stack's agent.token.",
        };
        let base = format!("http://{}/agent/v1", agent.addr);
        Self::new(base, &agent.token, AGENT_TIMEOUT, texts)
    }

    /// A client of this driver.
    pub(super) fn driver(driver: &Driver) -> io::Result<Self> {
        let texts = Texts {
            silent: "The traffic driver did not respond; see `make status` and its log.",
            rejects_token: "The traffic driver rejects DRIVER_TOKEN; both must have the same.",
        };
        let base = format!("http://{}", driver.authority);
        Self::new(base, &driver.token, DRIVER_TIMEOUT, texts)
    }

    fn new(
        base: String,
        token: &SecretString,
        timeout: Duration,
        texts: Texts,
    ) -> io::Result<Self> {
        let client = http_client::client(timeout, &Trust::system()).map_err(io::Error::other)?;
        Ok(Self { client, base, token: token.clone(), texts })
    }

    /// A request with the token; the path begins with a slash.
    pub(super) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let url = format!("{}{path}", self.base);
        self.client.request(method, url).bearer_auth(self.token.expose_secret())
    }

    /// Sends it. The program's problem is passed on: its text is for the same operator.
    pub(super) async fn send<T: DeserializeOwned>(
        &self,
        request: RequestBuilder,
    ) -> Result<T, ApiError> {
        let failed = |error: reqwest::Error| {
            ApiError::new(ErrorCode::UpstreamFailed, self.texts.silent).caused_by(error)
        };
        let response = request.send().await.map_err(failed)?;
        if response.status().is_success() {
            return response.json().await.map_err(failed);
        }
        let status = response.status();
        let problem: Problem = response.json().await.map_err(failed)?;
        Err(match problem.code {
            // Ours for the program, not the operator's for us.
            ErrorCode::Unauthorized => {
                ApiError::new(ErrorCode::UpstreamFailed, self.texts.rejects_token)
            }
            code => ApiError::new(code, problem.detail)
                .with_errors(problem.errors)
                .caused_by(format!("status {status}")),
        })
    }
}
