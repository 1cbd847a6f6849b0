//! A client of the API: through Nginx, or directly on a gateway or an instance.

use anyhow::{Context, Result};
use local_stack::Stack;
use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};
use service_kit::tls::install_provider;

use crate::response::Response;

/// A client with the API's base URL.
#[derive(Clone)]
pub(crate) struct Api {
    client: Client,
    base: String,
}

impl Api {
    /// A client that goes through Nginx by HTTPS and trusts only the stack's CA.
    pub(crate) fn through_nginx(stack: &Stack) -> Result<Self> {
        Ok(Self {
            client: stack.client()?.build()?,
            base: stack.urls().https.context("Nginx runs")?,
        })
    }

    /// The same by HTTP/1.1 alone, which opens WebSockets.
    pub(crate) fn by_http1(stack: &Stack) -> Result<Self> {
        let client = stack.client()?.http1_only().build()?;
        Ok(Self { client, ..Self::through_nginx(stack)? })
    }

    /// A client of a running system, at the URL in `TANDEM_TARGET`. It trusts only the CA in the
    /// file that `TANDEM_CACERT` names.
    pub(crate) fn of_running_system() -> Result<Self> {
        let variable =
            |name: &str| std::env::var(name).with_context(|| format!("{name} is not set"));
        let file = variable("TANDEM_CACERT")?;
        let pem = std::fs::read(&file).with_context(|| format!("cannot read {file}"))?;
        let authority = reqwest::Certificate::from_pem(&pem)?;
        // A stack does so when it starts, but this test may start none.
        install_provider();
        let client = Client::builder().tls_certs_only([authority]).no_proxy().build()?;
        Ok(Self { client, base: variable("TANDEM_TARGET")? })
    }

    /// A client of the gateway's own port, without Nginx.
    pub(crate) fn on_gateway(stack: &Stack) -> Result<Self> {
        Ok(Self { client: stack.client()?.build()?, base: stack.urls().gateway })
    }

    /// A client of the gateway's control plane.
    pub(crate) fn control(stack: &Stack) -> Result<Self> {
        Ok(Self { client: stack.client()?.build()?, base: stack.urls().control })
    }

    /// A client of an instance's own port, without the gateway.
    pub(crate) fn on_instance(stack: &Stack, name: &str) -> Result<Self> {
        Ok(Self { client: stack.client()?.build()?, base: stack.url_of(name)? })
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.base))
    }

    pub(crate) async fn get(&self, path: &str) -> Result<Response> {
        Response::to(self.request(Method::GET, path)).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Result<Response> {
        Response::to(self.request(Method::POST, path).json(body)).await
    }

    /// Creates a session; anything but 201 is an error.
    pub(crate) async fn create(&self) -> Result<Created> {
        Created::by(self.request(Method::POST, SESSIONS)).await
    }
}

pub(crate) const SESSIONS: &str = "/api/v1/stateful/sessions";
pub(crate) const CONVERSATIONS: &str = "/api/v1/stateful/conversations";

/// A session, and the response to its creation.
pub(crate) struct Created {
    pub(crate) id: String,
    pub(crate) response: Response,
}

impl Created {
    /// Sends a request that creates a session, with the body `{}`; anything but 201 is an error.
    pub(crate) async fn by(request: RequestBuilder) -> Result<Self> {
        let response = Response::to(request.json(&json!({}))).await?;
        anyhow::ensure!(response.status == 201, "{response}");
        let body: Value = response.json();
        Ok(Self { id: body["session_id"].as_str().context("an id")?.to_owned(), response })
    }

    /// The session's path.
    pub(crate) fn path(&self) -> String {
        format!("{SESSIONS}/{}", self.id)
    }
}
