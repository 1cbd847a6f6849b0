//! The middleware around all requests of a service.
//!
//! It canonicalizes the path, assigns the request id, catches panics, turns failures into problem
//! documents, adds headers to the response, records metrics, and writes the access log.

use std::borrow::Cow;
use std::fmt;
use std::future::{Ready, ready};
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use actix_web::body::BoxBody;
use actix_web::dev::{Service, ServiceRequest, ServiceResponse, Transform, forward_ready};
use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue, LINK};
use actix_web::http::{StatusCode, Uri};
use actix_web::{Error, HttpMessage as _, HttpResponse, ResponseError, rt};
use futures_util::FutureExt as _;
use futures_util::future::LocalBoxFuture;
use proto_contracts::headers::{
    DEPRECATION, INSTANCE_ID, LEGACY_DEPRECATED_SINCE, REQUEST_ID, TRACEPARENT, TRACESTATE,
};
use proto_contracts::path::{self, PathFault};
use proto_contracts::{Endpoint, ErrorCode, InstanceName, RequestId, TraceContext, routes};
use tracing::Instrument as _;

use crate::problem::{ApiError, code_for};
use crate::telemetry::access::{self, Line};
use crate::telemetry::chain;
use crate::telemetry::metrics::{Metrics, method_label};
use crate::telemetry::traces::spans::{Received, RequestSpan};

const X_INSTANCE_ID: HeaderName = HeaderName::from_static(INSTANCE_ID);
const X_REQUEST_ID: HeaderName = HeaderName::from_static(REQUEST_ID);
const X_TRACEPARENT: HeaderName = HeaderName::from_static(TRACEPARENT);
const X_TRACESTATE: HeaderName = HeaderName::from_static(TRACESTATE);
const DEPRECATED: HeaderName = HeaderName::from_static(DEPRECATION);

/// The middleware around the whole application.
#[derive(Clone)]
pub struct Edge(Arc<Shared>);

struct Shared {
    instance: InstanceName,
    instance_header: HeaderValue,
    metrics: Metrics,
    admit: Box<Admit>,
}

/// Admission check, before a request is routed.
pub type Admit = dyn Fn(&ServiceRequest) -> Result<(), ApiError> + Send + Sync;

impl Edge {
    /// One for all workers of the instance. `admit` rejects requests whatever their path.
    pub fn new(instance: InstanceName, metrics: Metrics, admit: Box<Admit>) -> Self {
        // All characters of an instance name are valid in a header.
        let instance_header = HeaderValue::from_str(instance.as_str())
            .unwrap_or_else(|_| HeaderValue::from_static("unnamed"));
        Self(Arc::new(Shared { instance, instance_header, metrics, admit }))
    }
}

impl<S> Transform<S, ServiceRequest> for Edge
where
    S: Service<ServiceRequest, Response = ServiceResponse, Error = Error> + 'static,
{
    type Response = ServiceResponse;
    type Error = Error;
    type Transform = EdgeService<S>;
    type InitError = ();
    type Future = Ready<Result<Self::Transform, ()>>;

    fn new_transform(&self, service: S) -> Self::Future {
        ready(Ok(EdgeService { service: Rc::new(service), shared: Rc::new(self.clone()) }))
    }
}

/// The edge of one worker.
pub struct EdgeService<S> {
    service: Rc<S>,
    shared: Rc<Edge>,
}

impl<S> Service<ServiceRequest> for EdgeService<S>
where
    S: Service<ServiceRequest, Response = ServiceResponse, Error = Error> + 'static,
{
    type Response = ServiceResponse;
    type Error = Error;
    type Future = Serving;

    forward_ready!(service);

    fn call(&self, mut request: ServiceRequest) -> Self::Future {
        let (service, edge) = (Rc::clone(&self.service), Rc::clone(&self.shared));
        Serving(Some(Box::pin(async move {
            let shared = &*edge.0;
            let in_flight = shared.metrics.enter();
            let path = make_canonical(&mut request);
            let arrival = Arrival::of(&request, path.is_ok());
            // A panic drops the handler's state; what workers share stays usable.
            let serve = async {
                (shared.admit)(&request)?;
                path?;
                service.call(request).await
            };
            let outcome =
                AssertUnwindSafe(serve.instrument(arrival.trace.span())).catch_unwind().await;
            let outcome = outcome.unwrap_or_else(|_panic| {
                Err(ApiError::internal(
                    "a handler panicked; the log line of the panic has its location",
                )
                .into())
            });
            drop(in_flight);
            shared.finish(arrival, outcome)
        })))
    }
}

/// A request in progress. When its client disconnects, the framework drops this, and the handler
/// continues in the background. A cancelled handler would cost its database connection, so a client
/// that aborts many requests would slow down others.
pub struct Serving(Option<LocalBoxFuture<'static, Result<ServiceResponse, Error>>>);

impl Future for Serving {
    type Output = Result<ServiceResponse, Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(request) = &mut self.0 else { return Poll::Pending };
        let outcome = ready!(request.as_mut().poll(context));
        self.0 = None;
        Poll::Ready(outcome)
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        if let Some(request) = self.0.take() {
            drop(rt::spawn(request));
        }
    }
}

/// Canonicalizes the request's path, so that routing matches the gateway's.
fn make_canonical(request: &mut ServiceRequest) -> Result<(), ApiError> {
    let reject = |fault: PathFault| ApiError::new(fault.code(), fault.to_string());
    let Cow::Owned(canonical) = path::canonical(request.uri().path()).map_err(reject)? else {
        return Ok(());
    };
    let mut parts = request.uri().clone().into_parts();
    let target = match request.uri().query() {
        Some(query) => format!("{canonical}?{query}"),
        None => canonical,
    };
    // A canonical path is a valid path.
    parts.path_and_query = Some(target.try_into().map_err(ApiError::internal)?);
    let uri = Uri::from_parts(parts).map_err(ApiError::internal)?;
    request.match_info_mut().get_mut().update(&uri);
    request.head_mut().uri = uri;
    Ok(())
}

/// State of a request in progress.
struct Arrival {
    at: Instant,
    method: &'static str,
    route: &'static str,
    kind: Kind,
    request_id: RequestId,
    request_id_header: HeaderValue,
    successor: Option<HeaderValue>,
    trace: RequestSpan,
}

/// Whether a request is in the access log.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Call,
    /// Frequent health checks and scrapes: measured, not logged.
    Probe,
}

impl Arrival {
    /// A path that is not canonical has no route.
    fn of(request: &ServiceRequest, is_canonical: bool) -> Self {
        let (request_id, request_id_header) = request_id(request.headers());
        let path = request.uri().path();
        let probe =
            ["/health", "/livez", "/readyz", "/metrics"].into_iter().find(|known| *known == path);
        let resolved = if probe.is_none() && is_canonical { routes::resolve(path) } else { None };
        // For handlers that record who changed what.
        request.extensions_mut().insert(request_id);
        // `routes::mount` finds the handler by it.
        resolved.and_then(|resolved| request.extensions_mut().insert(resolved));
        let method = method_label(request.method().as_str());
        let route = probe
            .or(resolved.map(|r| r.template()))
            .unwrap_or(Endpoint::Unknown.templates().canonical);
        let kind = if probe.is_some() { Kind::Probe } else { Kind::Call };
        let trace = match kind {
            Kind::Call => {
                RequestSpan::begin(|| received(request.headers(), method, route, request_id))
            }
            Kind::Probe => RequestSpan::none(),
        };
        Self {
            at: Instant::now(),
            method,
            route,
            kind,
            request_id,
            request_id_header,
            trace,
            successor: resolved
                .filter(|r| r.is_legacy)
                .and_then(|r| successor(r.endpoint, request.path())),
        }
    }
}

/// The client's id if it is a UUID, else a new one; and its header.
fn request_id(headers: &HeaderMap) -> (RequestId, HeaderValue) {
    let given = headers.get(X_REQUEST_ID);
    let id = given
        .and_then(|value| RequestId::parse_bytes(value.as_bytes()))
        .unwrap_or_else(RequestId::generate);
    let text = id.to_ascii();
    match given {
        // Already in our spelling: the bytes are shared with the request, not copied.
        Some(value) if value.as_bytes() == text => (id, value.clone()),
        _ => (id, HeaderValue::from_bytes(&text).unwrap_or_else(|_| HeaderValue::from_static(""))),
    }
}

/// The data of the request's span.
fn received<'a>(
    headers: &'a HeaderMap,
    method: &'static str,
    route: &'static str,
    request_id: RequestId,
) -> Received<'a> {
    let mut parents = headers.get_all(X_TRACEPARENT);
    // Several are ambiguous, so none is used.
    let parent = match (parents.next(), parents.next()) {
        (Some(parent), None) => TraceContext::parse(parent.as_bytes()),
        _ => None,
    };
    let state = headers.get(X_TRACESTATE).map(HeaderValue::as_bytes);
    Received { method, route, request_id, parent, state }
}

/// The `Link` from a legacy path to its successor. All legacy templates have their parameter last.
fn successor(endpoint: Endpoint, path: &str) -> Option<HeaderValue> {
    let templates = endpoint.templates();
    templates.legacy?;
    let parameter = path.rsplit('/').next()?;
    let canonical = match templates.canonical.split_once('{') {
        Some((before, rest)) => format!("<{before}{parameter}{}>", rest.split_once('}')?.1),
        None => format!("<{}>", templates.canonical),
    };
    HeaderValue::try_from(canonical + "; rel=\"successor-version\"").ok()
}

/// Calls `look` with the failure as an [`ApiError`], converted if it is the framework's.
fn as_ours<R>(error: &Error, look: impl FnOnce(&ApiError) -> R) -> R {
    if let Some(error) = error.as_error::<ApiError>() {
        return look(error);
    }
    look(&match code_for(error.as_response_error().status_code()) {
        ErrorCode::Internal => ApiError::internal(error.to_string()),
        code => ApiError::new(code, "The request is malformed."),
    })
}

impl Shared {
    fn finish(
        &self,
        arrival: Arrival,
        outcome: Result<ServiceResponse, Error>,
    ) -> Result<ServiceResponse, Error> {
        match outcome {
            Ok(response) => match response.response().error() {
                None => Ok(self.stamped(&arrival, response, None)),
                Some(error) => {
                    let (document, code) = as_ours(error, |error| {
                        log_failure(error, &arrival);
                        (error.to_response(Some(arrival.request_id)), error.code())
                    });
                    Ok(self.stamped(&arrival, response.into_response(document), Some(code)))
                }
            },
            // The request is gone, so the response is an error that renders itself.
            Err(error) => {
                as_ours(&error, |error| {
                    log_failure(error, &arrival);
                    self.record(&arrival, error.status_code(), Some(error.code()));
                });
                let headers = self.headers(&arrival);
                Err(Failure { error, request_id: arrival.request_id, headers }.into())
            }
        }
    }

    fn stamped(
        &self,
        arrival: &Arrival,
        mut response: ServiceResponse,
        code: Option<ErrorCode>,
    ) -> ServiceResponse {
        self.stamp(arrival, |name, value| match name {
            // A page has links of its own.
            LINK => response.headers_mut().append(name, value),
            _ => drop(response.headers_mut().insert(name, value)),
        });
        self.record(arrival, response.status(), code);
        response
    }

    fn headers(&self, arrival: &Arrival) -> Vec<(HeaderName, HeaderValue)> {
        let mut headers = Vec::with_capacity(4);
        self.stamp(arrival, |name, value| headers.push((name, value)));
        headers
    }

    fn stamp(&self, arrival: &Arrival, mut insert: impl FnMut(HeaderName, HeaderValue)) {
        insert(X_INSTANCE_ID, self.instance_header.clone());
        insert(X_REQUEST_ID, arrival.request_id_header.clone());
        if let Some(link) = &arrival.successor {
            insert(DEPRECATED, HeaderValue::from_static(LEGACY_DEPRECATED_SINCE));
            insert(LINK, link.clone());
        }
    }

    fn record(&self, arrival: &Arrival, status: StatusCode, code: Option<ErrorCode>) {
        let Arrival { at, method, route, kind, request_id, .. } = *arrival;
        let duration = at.elapsed();
        arrival.trace.finish(status.as_u16(), code);
        self.metrics.observe(method, route, status.as_str(), duration);
        if kind == Kind::Call {
            let (status, instance, trace_id) =
                (status.as_u16(), self.instance.as_str(), arrival.trace.trace_id());
            access::log(&Line {
                method,
                route,
                status,
                duration,
                request_id,
                instance,
                code,
                trace_id,
            });
        }
    }
}

/// Logs the cause of a failure, once. Client errors and failures without a cause are only in the
/// access log; a missing cause was logged elsewhere, such as once per outage.
fn log_failure(error: &ApiError, arrival: &Arrival) {
    let (code, request_id, route) = (error.code(), arrival.request_id, arrival.route);
    let Some(cause) = error.cause() else { return };
    let trace_id = arrival.trace.trace_id().map(tracing::field::display);
    match code.status() {
        500 => {
            tracing::error!(%code, %request_id, trace_id, route, cause = chain(cause), "request failed")
        }
        501.. => {
            tracing::warn!(%code, %request_id, trace_id, route, cause = chain(cause), "request failed")
        }
        _ => {}
    }
}

/// A failure as a response, after its request is gone.
struct Failure {
    error: Error,
    request_id: RequestId,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl ResponseError for Failure {
    fn status_code(&self) -> StatusCode {
        as_ours(&self.error, ApiError::status_code)
    }

    fn error_response(&self) -> HttpResponse<BoxBody> {
        let mut response = as_ours(&self.error, |error| error.to_response(Some(self.request_id)));
        for (name, value) in &self.headers {
            response.headers_mut().insert(name.clone(), value.clone());
        }
        response
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.error, f)
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.error, f)
    }
}
