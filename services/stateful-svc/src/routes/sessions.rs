//! `POST /sessions`.

use actix_web::http::StatusCode;
use actix_web::http::header::{HeaderMap, HeaderValue, LOCATION};
use actix_web::{HttpRequest, HttpResponse, web};
use proto_contracts::error::FieldError;
use proto_contracts::stateful::{
    CreateSession, KeptMessage, MAX_MESSAGE_BYTES, MAX_RESTORED_MESSAGES,
};
use proto_contracts::{AffinityKey, Endpoint, ErrorCode, IdempotencyKey, MessageId, SessionId};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use service_kit::body::{Json, NoQuery};
use service_kit::problem::ApiError;

use super::caller::{access_by, affinity_key, set_affinity_key};
use super::context::Sessions;
use super::entity_tags::{condition_of_create, set_etag};
use super::response;
use super::session::body;
use crate::domain::caller::{Caller, Credentials};
use crate::domain::client_data::ClientData;
use crate::domain::keyed::Keyed;
use crate::domain::message::{InvalidMessage, MessageText, RestoredMessage};
use crate::domain::session::{NewSession, Session};
use crate::domain::session_ids::IdReservation;
use crate::metrics::Operation;
use crate::store::{CreateError, StoreFault, Written};
use service_kit::idempotency::idempotency_key;

/// Creates a session, whose id begins with its creator's affinity key. One idempotency key creates
/// one session, whatever affinity keys its repetitions have.
pub(super) async fn create(
    request: HttpRequest,
    _: NoQuery,
    Json(given): Json<CreateSession<GivenData>>,
    sessions: web::Data<Sessions>,
) -> Result<HttpResponse, ApiError> {
    let by = sessions.credentials(request.headers())?;
    let client_data = match given.client_data {
        GivenData::None => ClientData::default(),
        GivenData::Json(json) => ClientData::parse(&json)?,
    };
    let new = NewSession { client_data, messages: restored(given.messages)? };
    condition_of_create(request.headers())?;
    let key = idempotency_key(request.headers())?;
    let created = start(&sessions, request.headers(), by, new, key).await;
    let created = sessions.count_write(Operation::Create, created)?;

    let (id, session) = &created.value;
    sessions.note_session(access_by(request.headers(), id, by), session, created.source);
    let mut response = response::to_write(&created, StatusCode::CREATED, &body(id, session))?;
    set_etag(&mut response, session.tag())?;
    set_affinity_key(&mut response, id)?;
    response
        .headers_mut()
        .insert(LOCATION, HeaderValue::from_str(&location(id)).map_err(ApiError::internal)?);
    Ok(response)
}

async fn start(
    sessions: &Sessions,
    headers: &HeaderMap,
    by: Credentials,
    new: NewSession,
    key: Option<IdempotencyKey>,
) -> Result<Written<(SessionId, Session)>, CreateError> {
    let affinity = affinity_key(headers);
    let id = match key {
        Some(key) => reserved_id(sessions, affinity, by.caller, key).await?,
        None => SessionId::generate(affinity.unwrap_or_else(AffinityKey::random)),
    };
    let keyed = key.map(|key| Keyed::create_from(key, &new));
    let access = access_by(headers, &id, by);
    let Written { value, source, outcome } = sessions.store.create_from(access, new, keyed).await?;
    Ok(Written { value: (id, value), source, outcome })
}

/// The messages that a client kept. All that are invalid are named.
fn restored(given: Vec<KeptMessage>) -> Result<Vec<RestoredMessage>, ApiError> {
    if given.len() > MAX_RESTORED_MESSAGES {
        let fault = format!("must have at most {MAX_RESTORED_MESSAGES} elements");
        let fault = FieldError::in_body("/messages", fault);
        return Err(ApiError::invalid(ErrorCode::InvalidBody, vec![fault]));
    }
    let (mut messages, mut faults, mut is_too_large) = (Vec::new(), Vec::new(), false);
    for (index, KeptMessage { message, reply }) in given.into_iter().enumerate() {
        let mut parse = |name: &str, text| {
            let fault = match MessageText::parse(text) {
                Ok(text) => return Some(text),
                Err(InvalidMessage::Empty) => "must not be empty".to_owned(),
                Err(InvalidMessage::TooLarge { .. }) => {
                    is_too_large = true;
                    format!("must have at most {MAX_MESSAGE_BYTES} bytes")
                }
            };
            faults.push(FieldError::in_body(format!("/messages/{index}/{name}"), fault));
            None
        };
        if let (Some(text), Some(reply)) = (parse("message", message), parse("reply", reply)) {
            messages.push(RestoredMessage { id: MessageId::generate(), text, reply });
        }
    }
    match (faults.is_empty(), is_too_large) {
        (true, _) => Ok(messages),
        (false, false) => Err(ApiError::invalid(ErrorCode::InvalidBody, faults)),
        (false, true) => {
            let detail = format!("A message or reply has more than {MAX_MESSAGE_BYTES} bytes.");
            Err(ApiError::new(ErrorCode::MessageTooLarge, detail).with_errors(faults))
        }
    }
}

/// The reserved id of the session that this caller creates with this key.
async fn reserved_id(
    sessions: &Sessions,
    affinity: Option<AffinityKey>,
    caller: Caller,
    key: IdempotencyKey,
) -> Result<SessionId, StoreFault> {
    let reservation = IdReservation::new(caller, key);
    let proposed = reservation.seal(&sessions.ids.propose(affinity, caller, key));
    let reserved = sessions.store.reserve_id(reservation.name(), proposed).await?;
    Ok(reservation.open(&reserved))
}

/// The `client_data` of the body, which may be absent but not null.
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

/// The session's canonical path, also for a create through the deprecated one.
fn location(id: &SessionId) -> String {
    Endpoint::Session.templates().canonical.replace("{session_id}", &id.expose())
}
