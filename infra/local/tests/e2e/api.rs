//! The API as a client calls it, by one of its two doors.

use anyhow::{Context, Result};
use local_stack::Stack;
use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};

use crate::answer::Answer;

/// Where the API is, and a client for it.
#[derive(Clone)]
pub(crate) struct Api {
    client: Client,
    base: String,
}

impl Api {
    /// By HTTPS, with the stack's CA file as the only authority.
    pub(crate) fn through_nginx(stack: &Stack) -> Result<Self> {
        Ok(Self { client: stack.client()?.build()?, base: stack.urls().https.context("Nginx runs")? })
    }

    /// Of a system that runs already: `TANDEM_TARGET`, by HTTPS, and `TANDEM_CACERT`, the authority of its certificate.
    pub(crate) fn of_running_system() -> Result<Self> {
        let variable = |name: &str| std::env::var(name).with_context(|| format!("{name} is not set"));
        let file = variable("TANDEM_CACERT")?;
        let pem = std::fs::read(&file).with_context(|| format!("cannot read {file}"))?;
        let authority = reqwest::Certificate::from_pem(&pem)?;
        // A process has one, which a stack installs when it starts; this one has no stack.
        let _there_already = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder().tls_certs_only([authority]).no_proxy().build()?;
        Ok(Self { client, base: variable("TANDEM_TARGET")? })
    }

    /// On the gateway's own port.
    pub(crate) fn on_gateway(stack: &Stack) -> Result<Self> {
        Ok(Self { client: stack.client()?.build()?, base: stack.urls().gateway })
    }

    /// On the gateway's control plane.
    pub(crate) fn control(stack: &Stack) -> Result<Self> {
        Ok(Self { client: stack.client()?.build()?, base: stack.urls().control })
    }

    /// On an instance's own port, past everything in front of it.
    pub(crate) fn on_instance(stack: &Stack, name: &str) -> Result<Self> {
        Ok(Self { client: stack.client()?.build()?, base: format!("http://{}", stack.addr_of(name)?) })
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.base))
    }

    pub(crate) async fn get(&self, path: &str) -> Result<Answer> {
        Answer::to(self.request(Method::GET, path)).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Result<Answer> {
        Answer::to(self.request(Method::POST, path).json(body)).await
    }

    /// Creates a session; the answer has been found to be 201.
    pub(crate) async fn create(&self) -> Result<Created> {
        Created::by(self.request(Method::POST, SESSIONS)).await
    }
}

pub(crate) const SESSIONS: &str = "/api/v1/stateful/sessions";
pub(crate) const CONVERSATIONS: &str = "/api/v1/stateful/conversations";

/// A session, and the answer that told of it.
pub(crate) struct Created {
    pub(crate) id: String,
    pub(crate) answer: Answer,
}

impl Created {
    /// Sends the request with the body `{}`.
    pub(crate) async fn by(request: RequestBuilder) -> Result<Self> {
        let answer = Answer::to(request.json(&json!({}))).await?;
        anyhow::ensure!(answer.status == 201, "{answer}");
        let body: Value = answer.json();
        Ok(Self { id: body["session_id"].as_str().context("an id")?.to_owned(), answer })
    }

    /// The session's path.
    pub(crate) fn path(&self) -> String {
        format!("{SESSIONS}/{}", self.id)
    }
}
