//! `/users`: users read and change themselves, admins everyone.

use actix_web::http::StatusCode;
use actix_web::http::header::LINK;
use actix_web::{HttpRequest, HttpResponse, web};
use proto_contracts::accounts::{
    DEFAULT_USERS_PAGE, MAX_USERS_PAGE, PatchUser, UserPage, UsersQuery,
};
use proto_contracts::error::FieldError;
use proto_contracts::{ErrorCode, Role};
use service_kit::body::{Json, NoQuery, Query};
use service_kit::problem::ApiError;
use service_kit::response;
use service_kit::routes::parameter;

use super::auth::Auth;
use super::identity::CalledBy;
use super::initiator::RequestedBy;
use super::replies::{replay_account, store_failed, to_wire, without_body};
use crate::domain::account::{AccountChange, DisplayName, UserPageRequest, Username};
use crate::domain::audit::{Action, Initiator};
use crate::domain::page::{self, Cursor};
use crate::issuer::Identity;
use crate::store::accounts::ChangeError;

pub(super) async fn list(
    Query(query): Query<UsersQuery>,
    auth: web::Data<Auth>,
) -> Result<HttpResponse, ApiError> {
    let UsersQuery { limit, cursor, role } = query;
    let limit = limit.unwrap_or(DEFAULT_USERS_PAGE);
    if !(1..=MAX_USERS_PAGE).contains(&limit) {
        let fault = FieldError::in_query("limit", format!("must be 1 to {MAX_USERS_PAGE}"));
        return Err(ApiError::invalid(ErrorCode::InvalidQuery, vec![fault]));
    }
    let after = cursor.map(|cursor| cursor.parse::<Cursor<Username>>()).transpose();
    let after = after.map_err(|_| {
        let fault = FieldError::in_query("cursor", "must be the `next_cursor` of a page");
        ApiError::new(ErrorCode::InvalidCursor, "the cursor was not issued by this API.")
            .with_errors([fault])
    })?;
    let after = after.map_or(String::new(), |Cursor(user)| user.to_string());

    let page = UserPageRequest { limit, after, role };
    let users = auth.accounts.page(&page).await.map_err(store_failed)?;
    let (users, next) = page::cut(users, limit, |user| user.id.clone());
    let next_cursor = next.map(|cursor| cursor.to_string());
    let mut links = format!("limit={limit}");
    if let Some(role) = role {
        links = format!("{links}&role={role}");
    }
    let links = response::page_links(&links, next_cursor.as_deref())?;
    let users = users.into_iter().map(to_wire).collect();
    let mut page = response::no_store(StatusCode::OK, &UserPage { users, next_cursor })?;
    page.headers_mut().insert(LINK, links);
    Ok(page)
}

pub(super) async fn read(
    _: NoQuery,
    request: HttpRequest,
    CalledBy(caller): CalledBy,
    auth: web::Data<Auth>,
) -> Result<HttpResponse, ApiError> {
    let user = visible(&request, &caller)?;
    let found = auth.accounts.get(&user).await.map_err(store_failed)?;
    response::no_store(StatusCode::OK, &to_wire(found.ok_or_else(not_found)?))
}

pub(super) async fn patch(
    _: NoQuery,
    request: HttpRequest,
    CalledBy(caller): CalledBy,
    RequestedBy(initiator): RequestedBy,
    Json(given): Json<PatchUser>,
    auth: web::Data<Auth>,
) -> Result<HttpResponse, ApiError> {
    let user = visible(&request, &caller)?;
    let execute = async |by: &Initiator| patch_once(&auth, &caller, &user, given.clone(), by).await;
    let operation = format!("patch_user {user}");
    let replay = replay_account(StatusCode::OK);
    auth.repetitions.once(&request, initiator, &operation, &given, replay, execute).await
}

async fn patch_once(
    auth: &Auth,
    caller: &Identity,
    user: &Username,
    given: PatchUser,
    initiator: &Initiator,
) -> Result<HttpResponse, ApiError> {
    let PatchUser { name, role, disabled } = given;
    let name = name.map(|name| name.parse::<DisplayName>()).transpose().map_err(|error| {
        let fault = FieldError::in_body("/name", error.to_string());
        ApiError::invalid(ErrorCode::InvalidBody, vec![fault])
    })?;
    let change = AccountChange { name, role, is_disabled: disabled };
    if change.needs_admin() && caller.role < Role::Admin {
        auth.refusals.note(Action::Forbidden, initiator, Some(&caller.user));
        let detail = "Only admins change `role` and `disabled`.";
        return Err(ApiError::new(ErrorCode::Forbidden, detail));
    }
    let changed = auth.accounts.change(user, &change, initiator).await.map_err(not_changed)?;
    response::no_store(StatusCode::OK, &to_wire(changed))
}

pub(super) async fn delete(
    _: NoQuery,
    request: HttpRequest,
    CalledBy(caller): CalledBy,
    RequestedBy(initiator): RequestedBy,
    auth: web::Data<Auth>,
) -> Result<HttpResponse, ApiError> {
    let user = visible(&request, &caller)?;
    auth.accounts.delete(&user, &initiator).await.map_err(not_changed)?;
    Ok(without_body())
}

/// The user of the path, if this caller may see it.
fn visible(request: &HttpRequest, caller: &Identity) -> Result<Username, ApiError> {
    let user: Username = parameter(request).parse().map_err(|_| not_found())?;
    if user == caller.user || caller.role >= Role::Admin { Ok(user) } else { Err(not_found()) }
}

pub(super) fn not_found() -> ApiError {
    ApiError::new(ErrorCode::UserNotFound, "There is no such user, or it is not you.")
}

fn not_changed(error: ChangeError) -> ApiError {
    match error {
        ChangeError::NotFound => not_found(),
        ChangeError::LastAdmin => {
            let detail = "This user is the last admin; make another user an admin first.";
            ApiError::new(ErrorCode::LastAdmin, detail)
        }
        ChangeError::Store(error) => store_failed(error),
    }
}
