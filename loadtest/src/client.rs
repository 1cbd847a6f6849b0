//! One connection to the target, reconnected when it is lost.

use std::io;
use std::sync::Arc;

use anyhow::Context as _;
use http::header::HOST;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use proto_contracts::headers::{AFFINITY, SESSION_SOURCE};
use proto_contracts::{RoutingStamp, Verdict};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use crate::target::Target;

/// A request of a scenario. Its target is a path; the host is added here.
pub(crate) type ScenarioRequest = Request<Full<Bytes>>;

/// A complete response.
#[derive(Clone)]
pub(crate) struct Response {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Response {
    /// Why it was routed where it was.
    pub(crate) fn verdict(&self) -> Option<Verdict> {
        let stamp: RoutingStamp = self.headers.get(AFFINITY)?.to_str().ok()?.parse().ok()?;
        Some(stamp.verdict)
    }

    /// Whether the key's home was over its load bound, so that another instance served it.
    pub(crate) fn is_spilled(&self) -> bool {
        self.verdict() == Some(Verdict::Spilled)
    }

    /// Whether the instance had the session in its memory.
    pub(crate) fn is_from_memory(&self) -> bool {
        self.headers.get(SESSION_SOURCE).is_some_and(|source| source == "memory")
    }
}

/// A request without a response.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    /// No connection: nothing was sent.
    #[error("cannot connect")]
    Connect(#[source] io::Error),
    /// The connection broke before the response was complete, or the response is not HTTP.
    #[error("the connection broke")]
    Broken(#[source] hyper::Error),
}

/// One HTTP/1.1 connection at a time, and one request at a time on it.
pub(crate) struct Client {
    target: Arc<Target>,
    /// Absent before the first request, and while one is in flight: a cancelled request drops it.
    idle: Option<SendRequest<Full<Bytes>>>,
}

impl Client {
    pub(crate) fn new(target: Arc<Target>) -> Self {
        Self { target, idle: None }
    }

    /// What it connects to.
    pub(crate) fn target(&self) -> Arc<Target> {
        Arc::clone(&self.target)
    }

    /// Connects in advance, so that the first request's latency excludes it.
    pub(crate) async fn warm_up(&mut self) -> Result<(), CallError> {
        self.idle = Some(connect(&self.target).await?);
        Ok(())
    }

    /// Sends the request and reads the whole response.
    pub(crate) async fn send(
        &mut self,
        mut request: ScenarioRequest,
    ) -> Result<Response, CallError> {
        request.headers_mut().insert(HOST, self.target.host.clone());
        if let Some(mut connection) = self.idle.take()
            && connection.ready().await.is_ok()
        {
            match exchange(&mut connection, request).await {
                Ok(response) => {
                    self.idle = Some(connection);
                    return Ok(response);
                }
                // The server closed the idle connection. Nothing was sent, so the request is
                // retried.
                Err(Failed { unsent: Some(again), .. }) => request = again,
                Err(Failed { error, unsent: None }) => return Err(error),
            }
        }
        let mut connection = connect(&self.target).await?;
        let response = exchange(&mut connection, request).await.map_err(|failed| failed.error)?;
        self.idle = Some(connection);
        Ok(response)
    }
}

/// Clients that are connected in advance, so that the requests' latencies exclude it.
pub(crate) async fn connected(target: &Arc<Target>, count: usize) -> anyhow::Result<Vec<Client>> {
    let mut clients = Vec::with_capacity(count);
    for _ in 0..count {
        let mut client = Client::new(Arc::clone(target));
        client.warm_up().await.with_context(|| format!("{} does not respond", target.url()))?;
        clients.push(client);
    }
    Ok(clients)
}

/// Sends the request on a new connection; the body is read as it arrives.
pub(crate) async fn stream(
    target: &Target,
    mut request: ScenarioRequest,
) -> Result<http::Response<Incoming>, CallError> {
    request.headers_mut().insert(HOST, target.host.clone());
    let mut connection = connect(target).await?;
    connection.send_request(request).await.map_err(CallError::Broken)
}

struct Failed {
    error: CallError,
    unsent: Option<ScenarioRequest>,
}

async fn exchange(
    connection: &mut SendRequest<Full<Bytes>>,
    request: ScenarioRequest,
) -> Result<Response, Failed> {
    let response = connection.try_send_request(request).await.map_err(|mut failed| {
        let unsent = failed.take_message();
        Failed { error: CallError::Broken(failed.into_error()), unsent }
    })?;
    let (head, body) = response.into_parts();
    let body = body
        .collect()
        .await
        .map_err(|error| Failed { error: CallError::Broken(error), unsent: None })?
        .to_bytes();
    Ok(Response { status: head.status, headers: head.headers, body })
}

async fn connect(target: &Target) -> Result<SendRequest<Full<Bytes>>, CallError> {
    let stream = TcpStream::connect(target.addr).await.map_err(CallError::Connect)?;
    stream.set_nodelay(true).map_err(CallError::Connect)?;
    match &target.tls {
        None => handshake(stream).await,
        Some((connector, name)) => {
            let stream =
                connector.connect(name.clone(), stream).await.map_err(CallError::Connect)?;
            handshake(stream).await
        }
    }
}

async fn handshake<S>(stream: S) -> Result<SendRequest<Full<Bytes>>, CallError>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(CallError::Broken)?;
    // Ends when the sender is dropped or the server closes; the sender gets its errors.
    tokio::spawn(connection);
    Ok(sender)
}
