//! The service's part of the API. HTTP and the bodies of the contract end here.

use std::sync::Arc;

use actix_web::http::StatusCode;
use actix_web::http::header::{HeaderName, HeaderValue};
use actix_web::{HttpResponse, web};
use proto_contracts::Endpoint;
use proto_contracts::headers::SESSION_SOURCE;
use serde::Serialize;
use service_kit::problem::ApiError;
use service_kit::response;
use service_kit::routes::{delete, get, mount as mount_endpoint, patch, post};
use service_kit::tokens::TokenVerifier;

use crate::domain::caller::Caller;
use crate::domain::session_ids::SessionIds;
use crate::metrics::{Act, SessionMetrics};
use crate::store::{SessionStore, Source, Written};

mod caller;
mod entity_tags;
mod history;
mod idempotency;
mod live;
mod messages;
mod problems;
mod session;
mod session_path;
mod sessions;

pub use live::Live;

const X_SESSION_SOURCE: HeaderName = HeaderName::from_static(SESSION_SOURCE);

/// What handlers work on. Cheap to clone; all workers share one store.
#[derive(Clone)]
pub struct Sessions {
    /// Where sessions are kept.
    pub store: Arc<dyn SessionStore>,
    /// Where new sessions get their ids.
    pub ids: SessionIds,
    /// Verifies bearer tokens; without it, none are accepted.
    pub tokens: Option<Arc<TokenVerifier<Caller>>>,
    /// What live connections share.
    pub live: Live,
    /// What is counted.
    pub metrics: SessionMetrics,
}

/// Mounts every endpoint of the service.
pub fn mount(app: &mut web::ServiceConfig, sessions: Sessions) {
    app.app_data(web::Data::new(sessions));
    mount_endpoints(app);
}

/// Mounts them without what they work on, for a test of who is reached by which path.
pub fn mount_endpoints(app: &mut web::ServiceConfig) {
    mount_endpoint(app, Endpoint::Sessions, || [post(sessions::create)]);
    mount_endpoint(app, Endpoint::Session, || [get(session::read), patch(session::patch), delete(session::delete)]);
    mount_endpoint(app, Endpoint::Messages, || [post(messages::post_to_path)]);
    mount_endpoint(app, Endpoint::Conversations, || [post(messages::post_to_body)]);
    mount_endpoint(app, Endpoint::History, || [get(history::read)]);
    mount_endpoint(app, Endpoint::Events, || [get(live::events::stream)]);
    mount_endpoint(app, Endpoint::Live, || [get(live::socket::open)]);
    mount_endpoint(app, Endpoint::Tickets, || [post(live::issue_ticket)]);
}

impl Sessions {
    /// Counts a write by its outcome and hands the outcome on.
    fn wrote<T, E: Into<ApiError>>(&self, act: Act, outcome: Result<Written<T>, E>) -> Result<Written<T>, ApiError> {
        let outcome = outcome.map_err(Into::into);
        self.metrics.wrote(act, outcome.as_ref().map(|written| written.done).map_err(ApiError::code));
        outcome
    }
}

/// An answer that tells where the state came from.
fn answer_from(source: Source, status: StatusCode, body: &impl Serialize) -> Result<HttpResponse, ApiError> {
    let mut answer = response::no_store(status, body)?;
    tell_source(&mut answer, source);
    Ok(answer)
}

/// The answer to a write, which also tells whether it was done before.
fn answer_to_write<T>(
    written: &Written<T>,
    status: StatusCode,
    body: &impl Serialize,
) -> Result<HttpResponse, ApiError> {
    let mut answer = answer_from(written.source, status, body)?;
    idempotency::tell_replay(&mut answer, written.done);
    Ok(answer)
}

fn tell_source(answer: &mut HttpResponse, source: Source) {
    answer.headers_mut().insert(X_SESSION_SOURCE, HeaderValue::from_static(source.as_str()));
}
