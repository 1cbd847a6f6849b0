//! `/internal/class`: the people of a class, for gateways. A session's end by its digest is the
//! same as its owner's delete.

use actix_web::http::StatusCode;
use actix_web::http::header::CACHE_CONTROL;
use actix_web::{HttpResponse, web};
use proto_contracts::control::{INSTANCE_CLASS_PATH, InstanceClass, Served};
use proto_contracts::{ErrorCode, SessionDigest};
use service_kit::internal::Authorized;
use service_kit::problem::ApiError;
use service_kit::response;
use service_kit::routes::{delete, get, mount_at};

use super::context::Sessions;
use crate::domain::caller::{Caller, Credentials};
use crate::domain::message::Appended;
use crate::domain::roster::Person;
use crate::domain::session::Session;
use crate::store::{Access, DeleteError, ReadError, Routing, Source, Written};

/// Mounts the endpoints of an open classroom.
pub(super) fn mount(app: &mut web::ServiceConfig) {
    mount_at(app, INSTANCE_CLASS_PATH, [get(list), delete(reset)]);
    mount_at(app, &format!("{INSTANCE_CLASS_PATH}/{{digest}}"), [delete(kick)]);
}

async fn list(_: Authorized, sessions: web::Data<Sessions>) -> Result<HttpResponse, ApiError> {
    let people = people(&sessions).into_iter().map(|(digest, person)| Served {
        nickname: person.nickname.as_str().to_owned(),
        digest: digest.to_string(),
        key: person.key.to_string(),
        message_count: person.message_count,
        source: person.source.to_owned(),
        served_at_ms: u64::try_from(person.served_at.as_millisecond()).unwrap_or_default(),
    });
    response::no_store(StatusCode::OK, &InstanceClass { people: people.collect() })
}

/// Ends the session with this digest. It must be one that this instance has served to the class,
/// so this ends no other session.
async fn kick(
    _: Authorized,
    digest: web::Path<String>,
    sessions: web::Data<Sessions>,
) -> Result<HttpResponse, ApiError> {
    let digest = SessionDigest::parse_bytes(digest.as_bytes());
    let known = digest.and_then(|digest| Some((digest, sessions.roster.as_ref()?.get(digest)?)));
    let Some((digest, person)) = known else {
        let detail = "This instance has served no session of the class with this digest.";
        return Err(ApiError::new(ErrorCode::SessionNotFound, detail));
    };
    end(&sessions, digest, &person).await?;
    Ok(no_content())
}

/// Ends all sessions of the class that this instance has served.
async fn reset(_: Authorized, sessions: web::Data<Sessions>) -> Result<HttpResponse, ApiError> {
    for (digest, person) in people(&sessions) {
        end(&sessions, digest, &person).await?;
    }
    Ok(no_content())
}

async fn end(sessions: &Sessions, session: SessionDigest, person: &Person) -> Result<(), ApiError> {
    let Credentials { caller, issued_at } = Credentials::ANONYMOUS;
    let routing = Routing::RoundRobin;
    let access = Access { session, affinity: person.key, caller, issued_at, routing };
    match sessions.store.delete(access).await {
        Ok(_) | Err(DeleteError::NotFound) => sessions.forget(access),
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

fn people(sessions: &Sessions) -> Vec<(SessionDigest, Person)> {
    sessions.roster.as_ref().map_or_else(Vec::new, |roster| roster.people())
}

fn no_content() -> HttpResponse {
    HttpResponse::build(StatusCode::NO_CONTENT).insert_header((CACHE_CONTROL, "no-store")).finish()
}

impl Sessions {
    /// Records a session that was served. Users' own sessions are no part of a class.
    pub(super) fn note_session(&self, access: Access, session: &Session, source: Source) {
        if let Some(roster) = &self.roster
            && access.caller == Caller::Anonymous
        {
            let (data, count) = (&session.client_data, session.message_count);
            roster.served(access.session, access.affinity, data, count, source.label());
        }
    }

    /// Records a message. A session that this instance has not seen before is read for its
    /// nickname.
    pub(super) async fn note_message(&self, access: Access, written: &Written<Appended>) {
        let Some(roster) = self.roster.as_ref().filter(|_| access.caller == Caller::Anonymous)
        else {
            return;
        };
        let count = written.value.message.number;
        if !roster.appended(access.session, count, written.source.label())
            && let Ok(found) = self.store.read(access).await
        {
            self.note_session(access, &found.value, found.source);
        }
    }

    /// Removes a session from the class if it was not found.
    pub(super) fn note_end<T>(
        &self,
        access: Access,
        outcome: Result<T, ReadError>,
    ) -> Result<T, ReadError> {
        if matches!(outcome, Err(ReadError::NotFound)) {
            self.forget(access);
        }
        outcome
    }

    /// Removes a session from the class.
    pub(super) fn forget(&self, access: Access) {
        if let Some(roster) = &self.roster {
            roster.ended(access.session);
        }
    }
}
