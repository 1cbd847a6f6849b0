//! The client of the control API: one connection per request.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{Method, Request, Response, Uri};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use proto_contracts::{Problem, headers};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::ctl::error::CtlError;

/// Timeout of a response; adding an instance includes health checks.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(15);

/// A control plane, and the token for it.
pub(super) struct Client {
    authority: String,
    token: Option<SecretString>,
    /// Whether changes are for this gateway alone.
    alone: bool,
}

impl Client {
    /// The control plane at this URL, with the token of the file or of the environment.
    pub(super) fn new(url: &str, token_file: Option<&Path>, alone: bool) -> Result<Self, CtlError> {
        let wrong = || CtlError::Url(url.to_owned());
        let uri: Uri = url.parse().map_err(|_| wrong())?;
        let plain = uri.scheme_str() == Some("http") && uri.path() == "/" && uri.query().is_none();
        let authority = uri.authority().filter(|_| plain).ok_or_else(wrong)?;
        let authority = match authority.port() {
            Some(_) => authority.to_string(),
            None => format!("{authority}:80"),
        };
        let token = match token_file {
            Some(path) => Some(
                std::fs::read_to_string(path)
                    .map_err(|source| CtlError::TokenFile { path: path.to_owned(), source })?,
            ),
            None => std::env::var("CONTROL_TOKEN").ok(),
        };
        let token = token.map(|token| token.trim().to_owned()).filter(|token| !token.is_empty());
        Ok(Self { authority, token: token.map(SecretString::from), alone })
    }

    /// Host and port.
    pub(super) fn authority(&self) -> &str {
        &self.authority
    }

    /// GETs a resource of the control API.
    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, CtlError> {
        let response = self.command(Method::GET, path, None::<&()>).await?;
        serde_json::from_slice(&response).map_err(CtlError::Unreadable)
    }

    /// Sends a change and parses the response.
    pub(super) async fn change<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<T, CtlError> {
        let response = self.command(method, path, body).await?;
        serde_json::from_slice(&response).map_err(CtlError::Unreadable)
    }

    /// Sends a request to the control API. Returns the body of a successful response.
    pub(super) async fn command(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<Bytes, CtlError> {
        self.text(method, &format!("/control/v1/{path}"), body).await
    }

    /// The text of `/metrics`.
    pub(super) async fn metrics(&self) -> Result<String, CtlError> {
        let text = self.text(Method::GET, "/metrics", None::<&()>).await?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    /// An endless response body.
    pub(super) async fn stream(&self, path: &str) -> Result<Incoming, CtlError> {
        let response = self
            .in_time(self.send(Method::GET, &format!("/control/v1/{path}"), None::<&()>))
            .await?;
        if response.status().is_success() {
            Ok(response.into_body())
        } else {
            Err(self.refusal(response).await?)
        }
    }

    async fn text(
        &self,
        method: Method,
        target: &str,
        body: Option<&impl Serialize>,
    ) -> Result<Bytes, CtlError> {
        self.in_time(async {
            let response = self.send(method, target, body).await?;
            if response.status().is_success() {
                self.whole(response).await
            } else {
                Err(self.refusal(response).await?)
            }
        })
        .await
    }

    async fn in_time<T>(
        &self,
        call: impl Future<Output = Result<T, CtlError>>,
    ) -> Result<T, CtlError> {
        let silent = || CtlError::Silent {
            authority: self.authority.clone(),
            seconds: RESPONSE_TIMEOUT.as_secs(),
        };
        timeout(RESPONSE_TIMEOUT, call).await.unwrap_or_else(|_| Err(silent()))
    }

    async fn send(
        &self,
        method: Method,
        target: &str,
        body: Option<&impl Serialize>,
    ) -> Result<Response<Incoming>, CtlError> {
        let stream = TcpStream::connect(&self.authority)
            .await
            .map_err(|source| CtlError::Connect { authority: self.authority.clone(), source })?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|source| self.broken(source))?;
        // Its errors reach the request's future.
        tokio::spawn(connection);
        let body = match body {
            Some(body) => Bytes::from(serde_json::to_vec(body).map_err(CtlError::Unreadable)?),
            None => Bytes::new(),
        };
        let mut request =
            Request::builder().method(&method).uri(target).header(HOST, &self.authority);
        if !body.is_empty() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        if self.alone && method != Method::GET {
            request = request.header(headers::CHANGE_SCOPE, headers::CHANGE_SCOPE_GATEWAY);
        }
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, format!("Bearer {}", token.expose_secret()));
        }
        let request =
            request.body(Full::new(body)).map_err(|_| CtlError::Url(self.authority.clone()))?;
        sender.send_request(request).await.map_err(|source| self.broken(source))
    }

    async fn whole(&self, response: Response<Incoming>) -> Result<Bytes, CtlError> {
        let body = response.into_body().collect().await.map_err(|source| self.broken(source))?;
        Ok(body.to_bytes())
    }

    async fn refusal(&self, response: Response<Incoming>) -> Result<CtlError, CtlError> {
        let status = response.status();
        let body = self.whole(response).await?;
        Ok(match serde_json::from_slice::<Problem>(&body) {
            Ok(problem) => {
                CtlError::Refused { code: Some(problem.code), detail: problem.detail.into_owned() }
            }
            Err(_) => CtlError::Refused {
                code: None,
                detail: format!("{} responded with {status}.", self.authority),
            },
        })
    }

    fn broken(&self, source: hyper::Error) -> CtlError {
        CtlError::Broken { authority: self.authority.clone(), source }
    }
}
