//! A server that implements part of the API and misbehaves on demand.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use proto_contracts::stateful::{MessagePosted, PostConversation, PostMessage, Session};
use proto_contracts::{
    AffinityKey, Endpoint, ErrorCode, MessageId, Problem, SessionId, Timestamp, headers, routes,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// The behaviour for the n-th request, from 1.
type Fault = fn(u64) -> Behaviour;

/// The behaviour for a request.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Behaviour {
    /// Respond correctly.
    Respond,
    /// Respond correctly after a delay.
    RespondAfter(Duration),
    /// Respond with a problem document.
    RespondProblem(ErrorCode),
    /// Respond with this status and an empty body.
    RespondStatus(StatusCode),
    /// Close the connection without a response.
    HangUp,
    /// Never respond.
    Ignore,
    /// Respond correctly, then close the connection.
    RespondAndClose,
    /// Respond to a message as if it was stored, but lose it.
    Forget,
}

/// A running server. It stops with the test's runtime.
pub(crate) struct Dummy {
    pub(crate) addr: SocketAddr,
    seen: Arc<Mutex<Seen>>,
}

/// What the server received.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) requests: u64,
    pub(crate) connections: u64,
    pub(crate) by_endpoint: HashMap<(Method, &'static str), u64>,
    /// Requests that carried the affinity cookie of their session.
    pub(crate) with_cookie: u64,
    sessions: HashMap<String, u64>,
}

impl Dummy {
    pub(crate) async fn start(fault: Fault) -> Self {
        Self::start_with(fault, None).await
    }

    pub(crate) async fn start_with(fault: Fault, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let addr = listener.local_addr().expect("bound");
        let seen = Arc::new(Mutex::new(Seen::default()));
        let dummy = Self { addr, seen: Arc::clone(&seen) };
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                seen.lock().expect("not poisoned").connections += 1;
                let seen = Arc::clone(&seen);
                match tls.clone() {
                    None => tokio::spawn(serve(stream, fault, seen)),
                    Some(tls) => tokio::spawn(async move {
                        if let Ok(stream) = tls.accept(stream).await {
                            serve(stream, fault, seen).await;
                        }
                    }),
                };
            }
        });
        dummy
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    pub(crate) fn seen<T>(&self, read: impl FnOnce(&Seen) -> T) -> T {
        read(&self.seen.lock().expect("not poisoned"))
    }
}

async fn serve(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    fault: Fault,
    seen: Arc<Mutex<Seen>>,
) {
    let service = service_fn(move |request| respond(request, fault, Arc::clone(&seen)));
    // `Err` after an injected fault, and when the client disconnects.
    let _ended = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

async fn respond(
    request: Request<Incoming>,
    fault: Fault,
    seen: Arc<Mutex<Seen>>,
) -> Result<Response<Full<Bytes>>, &'static str> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(|_| "the client disconnected")?.to_bytes();
    let resolved = routes::resolve(head.uri.path()).ok_or("no such path")?;
    let number = {
        let mut seen = seen.lock().expect("not poisoned");
        seen.requests += 1;
        *seen.by_endpoint.entry((head.method.clone(), resolved.template())).or_default() += 1;
        seen.requests
    };
    let behaviour = fault(number);
    match behaviour {
        Behaviour::Respond | Behaviour::RespondAndClose | Behaviour::Forget => {}
        Behaviour::RespondAfter(wait) => tokio::time::sleep(wait).await,
        Behaviour::RespondProblem(code) => {
            let body = serde_json::to_vec(&Problem::new(code, "injected by the test", None))
                .expect("serializes");
            let mut response = json(code.status(), body);
            response
                .headers_mut()
                .insert(header::CONTENT_TYPE, headers::PROBLEM_JSON.parse().expect("a value"));
            return Ok(response);
        }
        Behaviour::RespondStatus(status) => return Ok(json(status.as_u16(), Vec::new())),
        Behaviour::HangUp => return Err("hung up"),
        Behaviour::Ignore => match std::future::pending::<Infallible>().await {},
    }
    let mut seen = seen.lock().expect("not poisoned");
    let mut response = match resolved.endpoint {
        Endpoint::Info => json(200, b"{}".to_vec()),
        Endpoint::Sessions => seen.create(),
        Endpoint::Messages => {
            let message: PostMessage = serde_json::from_slice(&body).expect("a message");
            seen.post(&id_in(head.uri.path()), message.message, behaviour)
        }
        Endpoint::Conversations => {
            let message: PostConversation = serde_json::from_slice(&body).expect("a message");
            let cookie = head
                .headers
                .get(header::COOKIE)
                .and_then(|value| value.to_str().ok())
                .unwrap_or_default();
            assert_eq!(cookie, format!("affinity={}", message.session_id.affinity_key()));
            seen.with_cookie += 1;
            seen.post(&message.session_id.expose(), message.message, behaviour)
        }
        _ => seen.read(&id_in(head.uri.path())),
    };
    if behaviour == Behaviour::RespondAndClose {
        response.headers_mut().insert(header::CONNECTION, "close".parse().expect("a value"));
    }
    Ok(response)
}

impl Seen {
    fn create(&mut self) -> Response<Full<Bytes>> {
        let id = SessionId::generate(AffinityKey::random());
        self.sessions.insert(id.expose(), 0);
        let cookie = format!("affinity={}; Path=/; HttpOnly", id.affinity_key());
        let mut response = json(201, session(id, 0));
        response.headers_mut().append(header::SET_COOKIE, "other=1".parse().expect("a value"));
        response.headers_mut().append(header::SET_COOKIE, cookie.parse().expect("a value"));
        response
    }

    fn post(&mut self, id: &str, message: String, behaviour: Behaviour) -> Response<Full<Bytes>> {
        let count = self.sessions.get_mut(id).expect("a session of this server");
        if behaviour != Behaviour::Forget {
            *count += 1;
        }
        let posted = MessagePosted {
            session_id: id.parse().expect("an id"),
            message_id: MessageId::generate(),
            number: *count,
            message,
            reply: String::new(),
            created_at: Timestamp::now(),
            message_count: *count,
            version: *count,
        };
        json(201, serde_json::to_vec(&posted).expect("serializes"))
    }

    fn read(&self, id: &str) -> Response<Full<Bytes>> {
        json(200, session(id.parse().expect("an id"), self.sessions[id]))
    }
}

fn session(session_id: SessionId, message_count: u64) -> Vec<u8> {
    let now = Timestamp::now();
    let session: Session = Session {
        session_id,
        client_data: Default::default(),
        created_at: now,
        last_activity: now,
        expires_at: now,
        message_count,
        version: message_count,
    };
    serde_json::to_vec(&session).expect("serializes")
}

fn id_in(path: &str) -> String {
    path.split('/').nth(5).expect("a path with an id").to_owned()
}

fn json(status: u16, body: Vec<u8>) -> Response<Full<Bytes>> {
    Response::builder()
        .status(status)
        .header(header::CONTENT_TYPE, "application/json")
        .body(Full::new(body.into()))
        .expect("a response")
}
