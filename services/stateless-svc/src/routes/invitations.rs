//! `POST /users/{user_id}/invitation` and `POST /auth/invitation`: how users without a password set
//! one.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use proto_contracts::ErrorCode;
use proto_contracts::accounts as wire;
use proto_contracts::live::NoMembers;
use service_kit::body::{Json, NoQuery};
use service_kit::problem::ApiError;
use service_kit::response;
use service_kit::routes::parameter;

use super::auth::{Auth, hash_failed, weak};
use super::initiator::RequestedBy;
use super::replies::{replay_account, store_failed, to_wire};
use super::users::not_found;
use crate::domain::account::{Password, Username};
use crate::domain::audit::{Action, Initiator};
use crate::domain::invitation::InvitationCode;
use crate::store::accounts::InviteError;

/// Takes no `Idempotency-Key`, as only the code's hash is stored: a repetition has the next code.
pub(super) async fn invite(
    _: NoQuery,
    request: HttpRequest,
    RequestedBy(initiator): RequestedBy,
    Json(NoMembers {}): Json<NoMembers>,
    auth: web::Data<Auth>,
) -> Result<HttpResponse, ApiError> {
    let user: Username = parameter(&request).parse().map_err(|_| not_found())?;
    let invited = auth.accounts.invite(&user, &initiator).await.map_err(|error| match error {
        InviteError::NotFound => not_found(),
        InviteError::HasPassword => {
            let detail = "This user has a password, and changes it by POST /auth/password.";
            ApiError::new(ErrorCode::UserHasPassword, detail)
        }
        InviteError::Store(error) => store_failed(error),
    })?;
    let expires_at = invited.expires_at.into();
    let invitation = wire::Invitation { code: invited.code.expose(), expires_at };
    response::no_store(StatusCode::CREATED, &invitation)
}

pub(super) async fn accept(
    _: NoQuery,
    request: HttpRequest,
    RequestedBy(initiator): RequestedBy,
    Json(given): Json<wire::AcceptInvitation>,
    auth: web::Data<Auth>,
) -> Result<HttpResponse, ApiError> {
    let execute = async |by: &Initiator| accept_once(&auth, &given, by).await;
    let replay = replay_account(StatusCode::OK);
    auth.repetitions.once(&request, initiator, "accept_invitation", &given, replay, execute).await
}

async fn accept_once(
    auth: &Auth,
    given: &wire::AcceptInvitation,
    initiator: &Initiator,
) -> Result<HttpResponse, ApiError> {
    let refused = || {
        auth.refusals.note(Action::InvitationRejected, initiator, None);
        let detail = "The code is unknown, expired or used; ask an admin for another one.";
        ApiError::new(ErrorCode::InvalidInvitation, detail)
    };
    let code = given.code.parse::<InvitationCode>().map_err(|_| refused())?;
    let invited = auth.accounts.invited(&code).await.map_err(store_failed)?;
    let invited = invited.ok_or_else(refused)?;
    let password = Password::chosen(&given.password, &invited.id, &invited.name)
        .map_err(|error| weak(&error, "/password"))?;
    let hash = auth.passwords.hash(password).await.map_err(hash_failed)?;
    let accepted = auth.accounts.accept_invitation(&code, &hash, initiator).await;
    let account = accepted.map_err(store_failed)?.ok_or_else(refused)?;
    response::no_store(StatusCode::OK, &to_wire(account))
}
