//! `POST /sessions`.

use actix_web::http::StatusCode;
use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue, LOCATION};
use actix_web::{HttpRequest, HttpResponse, web};
use proto_contracts::headers::AFFINITY_KEY;
use proto_contracts::stateful::CreateSession;
use proto_contracts::{AffinityKey, Endpoint, SessionId};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use service_kit::body::Json;
use service_kit::problem::ApiError;

use super::caller::routing;
use super::entity_tags::{condition_of_create, tell_tag};
use super::idempotency::idempotency_key;
use super::session::body;
use super::{Sessions, answer_to_write};
use crate::domain::client_data::ClientData;
use crate::domain::keyed::Keyed;
use crate::metrics::Act;
use crate::store::Access;

const X_AFFINITY_KEY: HeaderName = HeaderName::from_static(AFFINITY_KEY);

/// Starts a session, whose id begins with its creator's affinity key.
pub(super) async fn create(
    request: HttpRequest,
    Json(given): Json<CreateSession<GivenData>>,
    sessions: web::Data<Sessions>,
) -> Result<HttpResponse, ApiError> {
    let caller = sessions.caller(request.headers())?;
    let client_data = match given.client_data {
        GivenData::None => ClientData::default(),
        GivenData::Json(json) => ClientData::parse(&json)?,
    };
    condition_of_create(request.headers())?;
    let (affinity, key) = (affinity_key(request.headers()), idempotency_key(request.headers())?);
    let keyed = key.map(|key| Keyed::create(key, &client_data));
    let id = sessions.ids.assign(affinity, caller, key);
    let access = Access { session: id.digest(), caller, routing: routing(request.headers()) };
    let created = sessions.store.create(access, client_data, keyed).await;
    let created = sessions.wrote(Act::Create, created)?;

    let mut answer = answer_to_write(&created, StatusCode::CREATED, &body(&id, &created.value))?;
    tell_tag(&mut answer, created.value.tag())?;
    let headers = answer.headers_mut();
    headers.insert(LOCATION, header(&location(&id))?);
    headers.insert(X_AFFINITY_KEY, header(&id.affinity_key().to_string())?);
    Ok(answer)
}

/// The `client_data` of the body, which may be left out but not be null.
#[derive(Debug, Default)]
pub(super) enum GivenData {
    #[default]
    None,
    Json(Box<RawValue>),
}

impl<'de> Deserialize<'de> for GivenData {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Box::<RawValue>::deserialize(deserializer).map(Self::Json)
    }
}

/// The key that the gateway routed by. Without a gateway in front there is none.
fn affinity_key(headers: &HeaderMap) -> Option<AffinityKey> {
    headers.get(X_AFFINITY_KEY).and_then(|value| AffinityKey::parse_bytes(value.as_bytes()))
}

/// The session's canonical path, also when it was created by the deprecated one.
fn location(id: &SessionId) -> String {
    Endpoint::Session.templates().canonical.replace("{session_id}", &id.expose())
}

fn header(text: &str) -> Result<HeaderValue, ApiError> {
    HeaderValue::from_str(text).map_err(ApiError::internal)
}
