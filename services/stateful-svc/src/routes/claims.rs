//! `POST /sessions/{session_id}/claim`: a session without owner becomes the caller's.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use proto_contracts::SessionId;
use proto_contracts::live::NoMembers;
use proto_contracts::stateful::ClaimedSession;
use service_kit::body::{Json, NoQuery};
use service_kit::idempotency::idempotency_key;
use service_kit::problem::ApiError;

use super::caller::set_affinity_key;
use super::context::Sessions;
use super::entity_tags::condition;
use super::response;
use super::session_path::SessionPath;
use crate::domain::keyed::Keyed;
use crate::domain::session_ids::IdSeal;
use crate::metrics::Operation;
use crate::store::{Adopted, Adoption};

/// Gives the session to the caller under a new id, which whoever knew the old one does not know.
pub(super) async fn claim(
    request: HttpRequest,
    SessionPath(id): SessionPath,
    _: NoQuery,
    Json(NoMembers {}): Json<NoMembers>,
    sessions: web::Data<Sessions>,
) -> Result<HttpResponse, ApiError> {
    let user = sessions.user(request.headers()).await?;
    let access = sessions.access(request.headers(), &id)?;
    let expected = condition(request.headers())?;
    let keyed = idempotency_key(request.headers())?.map(Keyed::claim);
    let seal = IdSeal::of_claim(&id, user);
    let new = draw(&sessions, &id).await?;
    let adoption = Adoption { session: new.digest(), sealed: seal.seal(&new) };
    let claimed = sessions.store.adopt(access, &adoption, &expected, keyed).await;
    let claimed = sessions.count_write(Operation::Claim, claimed)?;
    let session_id = match &claimed.value {
        Adopted::Under(sealed) => seal.open(sealed),
        Adopted::Already => id,
    };
    let body = ClaimedSession { session_id };
    let mut response = response::to_write(&claimed, StatusCode::OK, &body)?;
    set_affinity_key(&mut response, &body.session_id)?;
    Ok(response)
}

/// A new id with the same affinity key, to which the store can rename the session. On a Cluster
/// some 16,000 draws find one in the same slot, which takes milliseconds: not on a worker's thread.
async fn draw(sessions: &Sessions, old: &SessionId) -> Result<SessionId, ApiError> {
    let (store, affinity, from) =
        (std::sync::Arc::clone(&sessions.store), old.affinity_key(), old.digest());
    let first = SessionId::generate(affinity);
    if store.can_rename(from, first.digest()) {
        return Ok(first);
    }
    let drawn = web::block(move || {
        std::iter::repeat_with(|| SessionId::generate(affinity))
            .find(|id| store.can_rename(from, id.digest()))
    });
    drawn.await.map_err(ApiError::internal)?.ok_or_else(|| ApiError::internal(NoId))
}

/// Never happens: the draws don't end before one is found.
#[derive(Debug, thiserror::Error)]
#[error("no id was drawn")]
struct NoId;
