//! `GET /sessions/{session_id}/live`: a WebSocket, over which a client receives events and posts
//! messages.

use std::io;
use std::time::Duration;

use actix_web::body::MessageBody as _;
use actix_web::http::header::{
    HOST, HeaderMap, HeaderName, HeaderValue, ORIGIN, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use actix_web::{HttpRequest, HttpResponse, rt, web};
use actix_ws::{AggregatedMessage, AggregatedMessageStream, CloseCode, CloseReason, ProtocolError};
use proto_contracts::error::FieldError;
use proto_contracts::headers::{CLIENT_RATE, REQUEST_ID};
use proto_contracts::live::{
    ClientFrame, EventName, FrameReference, LiveQuery, MAX_FRAME_BYTES, MAX_REF_BYTES, ServerFrame,
    close,
};
use proto_contracts::{ErrorCode, IdempotencyKey, RequestId};
use serde::Serialize;
use service_kit::body::{Query, Strictness, from_json};
use service_kit::connection::ClosesAfter;
use service_kit::problem::ApiError;
use service_kit::telemetry::chain;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};

use super::open::Subscription;
use crate::domain::message::Appended;
use crate::domain::message_rate::{Allowance, ClientRate, TooMany};
use crate::domain::session_tag::Expected;
use crate::feed::Event;
use crate::metrics::{Closed, LiveConnection, LiveKind};
use crate::routes::context::Sessions;
use crate::routes::history::body as message_body;
use crate::routes::messages;
use crate::routes::session::body as session_body;
use crate::routes::session_path::SessionPath;
use crate::store::{Access, Routing, WriteOutcome, Written};

const X_CLIENT_RATE: HeaderName = HeaderName::from_static(CLIENT_RATE);
const X_REQUEST_ID: HeaderName = HeaderName::from_static(REQUEST_ID);
/// How long the server waits for the client's Close frame after its own.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
/// After this many heartbeats without any frame, pongs included, the connection is closed.
const SILENT_HEARTBEATS: u32 = 3;

/// Opens a WebSocket.
pub(in crate::routes) async fn open(
    request: HttpRequest,
    SessionPath(id): SessionPath,
    Query(query): Query<LiveQuery>,
    payload: web::Payload,
    sessions: web::Data<Sessions>,
) -> Result<HttpResponse, ApiError> {
    let headers = request.headers();
    if !headers.get(UPGRADE).is_some_and(|to| to.as_bytes().eq_ignore_ascii_case(b"websocket")) {
        return Err(upgrade_required(
            "Use a WebSocket client, or read the session's events from …/events.",
        ));
    }
    let value = |name| headers.get(name).map(HeaderValue::as_bytes);
    if !sessions.live.allowed_origins.allow(value(ORIGIN), value(HOST)) {
        let detail = "Pages of this origin may not connect; add the origin to \
                      LIVE_ALLOWED_ORIGINS of the service.";
        return Err(ApiError::new(ErrorCode::OriginNotAllowed, detail));
    }
    let rate = headers.get(X_CLIENT_RATE).and_then(|rate| ClientRate::parse(rate.as_bytes()));
    let subscription = sessions.subscribe(&request, id, query, LiveKind::Socket).await?;
    let handshake = actix_ws::handle(&request, payload);
    let (response, sender, frames) =
        handshake.map_err(|error| upgrade_required(format!("{error}.")))?;
    let (close, may_close) = oneshot::channel();
    let response = response.map_body(|_, body| ClosesAfter::new(&request, body, may_close).boxed());
    let frames = frames.max_frame_size(MAX_FRAME_BYTES).aggregate_continuations();
    let socket = Socket {
        request_id: request_id(request.headers()),
        send_timeout: sessions.live.send_timeout,
        idle_timeout: sessions.live.heartbeat * SILENT_HEARTBEATS,
        last_received: Instant::now(),
        allowance: sessions.live.rates.of(subscription.access.caller, rate),
        peer_code: None,
        connection: sessions.metrics.live.open(LiveKind::Socket),
        sessions: sessions.get_ref().clone(),
        subscription,
        sender,
    };
    rt::spawn(socket.serve(frames.max_continuation_size(MAX_FRAME_BYTES), close));
    Ok(response)
}

fn upgrade_required(detail: impl Into<std::borrow::Cow<'static, str>>) -> ApiError {
    // The framework adds `Connection: upgrade`.
    ApiError::new(ErrorCode::UpgradeRequired, detail)
        .with_header(UPGRADE, HeaderValue::from_static("websocket"))
        .with_header(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"))
}

fn request_id(headers: &HeaderMap) -> Option<RequestId> {
    headers.get(X_REQUEST_ID).and_then(|value| RequestId::parse_bytes(value.as_bytes()))
}

struct Socket {
    sessions: Sessions,
    subscription: Subscription,
    sender: actix_ws::Session,
    connection: LiveConnection,
    /// The id of the upgrade request.
    request_id: Option<RequestId>,
    /// How long one frame may take to send.
    send_timeout: Duration,
    /// How long the client may send nothing.
    idle_timeout: Duration,
    last_received: Instant,
    /// The client's rate limit.
    allowance: Allowance,
    /// The code of the client's Close frame, if it has sent one; `Some(None)` for one without a
    /// code.
    peer_code: Option<Option<CloseCode>>,
}

/// `Err` ends the connection for this reason.
type Step = Result<(), Closed>;

impl Socket {
    async fn serve(mut self, mut frames: AggregatedMessageStream, close: oneshot::Sender<()>) {
        let reason = loop {
            let step = tokio::select! {
                event = self.subscription.feed.next() => self.forward(event).await,
                frame = frames.recv() => self.handle(frame).await,
            };
            if let Err(reason) = step {
                break reason;
            }
        };
        let own = close_code(reason).map(|code| {
            Some(CloseReason {
                code: CloseCode::from(code),
                description: Some(reason.as_str().to_owned()),
            })
        });
        let close_frame = own.or(self.peer_code.map(echo));
        if let Some(close_frame) = close_frame {
            // A slow client that reads again within this time receives the reason.
            let sent = timeout(self.send_timeout, self.sender.close(close_frame)).await;
            let expects_close = self.peer_code.is_none() && reason.leaves_frames_readable();
            if matches!(sent, Ok(Ok(()))) && expects_close {
                let _timeout = timeout(CLOSE_TIMEOUT, until_closed(&mut frames)).await;
            }
            if reason != Closed::TooSlow {
                // The closing handshake is complete, and the server closes first (RFC 6455, section
                // 7.1.1). For a slow client the framework first sends what is buffered, then
                // closes.
                let _gone = close.send(());
            }
        }
        self.connection.close(reason);
    }

    async fn forward(&mut self, event: Event) -> Step {
        match event {
            Event::Session(session) => {
                let frame =
                    frame(EventName::Session, None, session_body(&self.subscription.id, &session));
                self.send(EventName::Session, frame).await
            }
            Event::Message(message) => {
                let frame = frame(EventName::Message, Some(message.number), message_body(message));
                self.send(EventName::Message, frame).await
            }
            Event::Ended => Err(Closed::Ended),
            Event::GoingAway => Err(Closed::GoingAway),
            Event::Quiet if self.last_received.elapsed() > self.idle_timeout => Err(Closed::Silent),
            Event::Quiet => self.within_timeout(async |sender| sender.ping(b"").await).await,
        }
    }

    async fn handle(&mut self, frame: Option<Result<AggregatedMessage, ProtocolError>>) -> Step {
        self.last_received = Instant::now();
        match frame {
            Some(Ok(AggregatedMessage::Text(text))) => {
                match self.allowance.take(std::time::Instant::now()) {
                    Ok(()) => self.post(text.as_bytes()).await,
                    Err(too_many) => self.reject(too_many, reference_in(text.as_bytes())).await,
                }
            }
            Some(Ok(AggregatedMessage::Binary(_))) => Err(Closed::NotText),
            // A ping costs a frame in return.
            Some(Ok(AggregatedMessage::Ping(bytes))) => {
                match self.allowance.take(std::time::Instant::now()) {
                    Ok(()) => self.within_timeout(async |sender| sender.pong(&bytes).await).await,
                    Err(too_many) => self.reject(too_many, None).await,
                }
            }
            Some(Ok(AggregatedMessage::Pong(_))) => Ok(()),
            Some(Ok(AggregatedMessage::Close(reason))) => {
                self.peer_code = Some(reason.map(|reason| reason.code));
                Err(Closed::ByClient)
            }
            None => Err(Closed::ByClient),
            Some(Err(ProtocolError::Overflow)) => Err(Closed::TooBig),
            Some(Err(ProtocolError::Io(error))) if error.kind() == io::ErrorKind::InvalidData => {
                Err(Closed::NotUtf8)
            }
            // The connection ended without a Close frame.
            Some(Err(ProtocolError::Io(_))) => Err(Closed::ByClient),
            Some(Err(_)) => Err(Closed::Malformed),
        }
    }

    /// Sends a rate-limit error, or ends the connection of a client that keeps ignoring them.
    async fn reject(&mut self, too_many: TooMany, reference: Option<String>) -> Step {
        if too_many.persists {
            return Err(Closed::RateLimited);
        }
        let TooMany { retry_after_s, .. } = too_many;
        let detail = format!(
            "WebSocket frames count against the request rate limit; retry in {retry_after_s} s."
        );
        let problem = ApiError::new(ErrorCode::RateLimited, detail).document(self.request_id);
        let frame = ServerFrame {
            reference,
            retry_after_s: Some(retry_after_s),
            ..frame(EventName::Error, None, problem)
        };
        self.send(EventName::Error, frame).await
    }

    /// Posts the message of a frame and sends the result.
    async fn post(&mut self, text: &[u8]) -> Step {
        match self.try_to_post(text).await {
            Ok((appended, reference)) => {
                let posted = messages::posted(self.subscription.id.clone(), &appended.value);
                let replayed = appended.outcome == WriteOutcome::Replayed;
                let frame =
                    ServerFrame { reference, replayed, ..frame(EventName::Posted, None, posted) };
                self.send(EventName::Posted, frame).await
            }
            Err(error) => {
                if let Some(cause) = error.cause() {
                    let request_id = self.request_id.map(|id| id.to_string());
                    tracing::error!(
                        request_id,
                        code = error.code().as_str(),
                        cause = chain(cause),
                        "WebSocket frame failed"
                    );
                }
                let problem = error.document(self.request_id);
                let reference = reference_in(text);
                let frame = ServerFrame { reference, ..frame(EventName::Error, None, problem) };
                self.send(EventName::Error, frame).await
            }
        }
    }

    /// The posted message, and the frame's `ref`.
    async fn try_to_post(
        &self,
        text: &[u8],
    ) -> Result<(Written<Appended>, Option<String>), ApiError> {
        let given: ClientFrame = from_json(text, Strictness::Strict)?;
        if given.reference.as_deref().is_some_and(is_too_long) {
            let fault = format!("must have at most {MAX_REF_BYTES} bytes");
            let fault = FieldError::in_body("/ref", fault);
            return Err(ApiError::invalid(ErrorCode::InvalidBody, vec![fault]));
        }
        let key = given.idempotency_key.map(|key| {
            IdempotencyKey::parse_bytes(key.as_bytes()).ok_or_else(|| {
                let fault = "must be 8 to 128 visible ASCII characters";
                let fault = FieldError::in_body("/idempotency_key", fault);
                ApiError::invalid(ErrorCode::InvalidIdempotencyKey, vec![fault])
            })
        });
        // The session's home may have changed since; a write over this connection must not claim it
        // back.
        let access = Access { routing: Routing::RoundRobin, ..self.subscription.access };
        let (expected, key) = (Expected::Any, key.transpose()?);
        let appended =
            messages::append(&self.sessions, access, given.message, &expected, key).await?;
        Ok((appended, given.reference))
    }

    async fn send(&mut self, event: EventName, frame: ServerFrame<impl Serialize>) -> Step {
        let text = serde_json::to_string(&frame).map_err(|_| Closed::Malformed)?;
        self.within_timeout(async |sender| sender.text(text).await).await?;
        self.connection.sent(event);
        Ok(())
    }

    /// Sends with a timeout, which a client exceeds when it does not read.
    async fn within_timeout(
        &mut self,
        send: impl AsyncFnOnce(&mut actix_ws::Session) -> Result<(), actix_ws::Closed>,
    ) -> Step {
        match timeout(self.send_timeout, send(&mut self.sender)).await {
            Ok(sent) => sent.map_err(|_| Closed::ByClient),
            Err(_) => Err(Closed::TooSlow),
        }
    }
}

/// The `ref` of a frame whose other fields may be wrong, if it can be repeated.
fn reference_in(text: &[u8]) -> Option<String> {
    let frame: FrameReference = from_json(text, Strictness::Lenient).ok()?;
    frame.reference.filter(|reference| !is_too_long(reference))
}

fn is_too_long(reference: &str) -> bool {
    reference.len() > MAX_REF_BYTES
}

fn frame<T>(event: EventName, id: Option<u64>, data: T) -> ServerFrame<T> {
    ServerFrame { event, id, reference: None, replayed: false, retry_after_s: None, data }
}

/// Echoes the client's Close frame with its code (RFC 6455, section 5.5.1), unless that code must
/// not be sent.
fn echo(code: Option<CloseCode>) -> Option<CloseReason> {
    let code = code.map(u16::from).map(|code| match code {
        1000..=1003 | 1007..=1014 | 3000..=4999 => code,
        _ => close::PROTOCOL_ERROR,
    });
    code.map(|code| CloseReason { code: CloseCode::from(code), description: None })
}

/// Discards the frames that the client sent before it received the Close frame.
async fn until_closed(frames: &mut AggregatedMessageStream) {
    while let Some(Ok(frame)) = frames.recv().await {
        if matches!(frame, AggregatedMessage::Close(_)) {
            return;
        }
    }
}

/// The close code; `None` where the client is gone, or where its own code is echoed.
const fn close_code(reason: Closed) -> Option<u16> {
    match reason {
        Closed::Ended => Some(close::SESSION_ENDED),
        Closed::GoingAway => Some(close::GOING_AWAY),
        Closed::TooSlow => Some(close::TOO_SLOW),
        Closed::NotText => Some(close::UNSUPPORTED),
        Closed::NotUtf8 => Some(close::NOT_UTF8),
        Closed::RateLimited => Some(close::RATE_LIMITED),
        Closed::TooBig => Some(close::TOO_BIG),
        Closed::Malformed => Some(close::PROTOCOL_ERROR),
        Closed::ByClient | Closed::Silent => None,
    }
}
