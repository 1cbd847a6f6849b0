//! `/files`: the files of the caller.

use actix_web::http::StatusCode;
use actix_web::http::header::LINK;
use actix_web::{HttpRequest, HttpResponse, web};
use proto_contracts::ErrorCode;
use proto_contracts::error::FieldError;
use proto_contracts::files::{DEFAULT_FILES_PAGE, FilePage, FilesQuery, MAX_FILES_PAGE};
use service_kit::body::{NoQuery, Query};
use service_kit::problem::ApiError;
use service_kit::response;
use service_kit::routes::parameter;
use service_kit::telemetry::chain;

use super::identity::CalledBy;
use super::initiator::RequestedBy;
use super::replies::without_body;
use crate::domain::file::{FileId, FilePageRequest};
use crate::domain::page::{self, Cursor};
use crate::store::files::FileError;
use state::{not_found, store_failed, to_wire};

mod download;
mod incoming;
mod state;
mod upload;

pub(super) use download::download;
pub use state::FilesState;
pub(super) use upload::upload;

pub(super) async fn list(
    Query(query): Query<FilesQuery>,
    CalledBy(caller): CalledBy,
    state: web::Data<FilesState>,
) -> Result<HttpResponse, ApiError> {
    let limit = query.limit.unwrap_or(DEFAULT_FILES_PAGE);
    if !(1..=MAX_FILES_PAGE).contains(&limit) {
        let fault = FieldError::in_query("limit", format!("must be 1 to {MAX_FILES_PAGE}"));
        return Err(ApiError::invalid(ErrorCode::InvalidQuery, vec![fault]));
    }
    let before = query.cursor.map(|cursor| cursor.parse::<Cursor<FileId>>()).transpose();
    let before = before.map_err(|_| {
        let fault = FieldError::in_query("cursor", "must be the `next_cursor` of a page");
        ApiError::new(ErrorCode::InvalidCursor, "the cursor was not issued by this API.")
            .with_errors([fault])
    })?;
    let request = FilePageRequest { limit, before: before.map(|cursor| cursor.0) };
    let files = state.files.page(&caller.user, &request).await.map_err(store_failed)?;
    let (files, next) = page::cut(files, limit, |file| file.id);
    let next_cursor = next.map(|cursor| cursor.to_string());
    let links = response::page_links(&format!("limit={limit}"), next_cursor.as_deref())?;
    let files = files.into_iter().map(to_wire).collect();
    let mut page = response::no_store(StatusCode::OK, &FilePage { files, next_cursor })?;
    page.headers_mut().insert(LINK, links);
    Ok(page)
}

pub(super) async fn read(
    _: NoQuery,
    request: HttpRequest,
    CalledBy(caller): CalledBy,
    state: web::Data<FilesState>,
) -> Result<HttpResponse, ApiError> {
    let id = parameter(&request).parse::<FileId>().map_err(|_| not_found())?;
    let file = state.files.find(&caller.user, id).await.map_err(store_failed)?;
    response::no_store(StatusCode::OK, &to_wire(file.ok_or_else(not_found)?))
}

pub(super) async fn delete(
    _: NoQuery,
    request: HttpRequest,
    CalledBy(caller): CalledBy,
    RequestedBy(initiator): RequestedBy,
    state: web::Data<FilesState>,
) -> Result<HttpResponse, ApiError> {
    let id = parameter(&request).parse::<FileId>().map_err(|_| not_found())?;
    let operation = "delete_file";
    let input = id.to_string();
    let execute = async |by: &_| {
        state.files.delete(&caller.user, id, by).await.map_err(|error| match error {
            FileError::NotFound => not_found(),
            FileError::Store(error) => store_failed(error),
        })?;
        // The user has no such file any more. What fails from here on, the sweeper does.
        let deleted = async {
            state.blobs.delete(id).await?;
            anyhow::Ok(state.files.forget(&[id]).await?)
        };
        if let Err(error) = deleted.await {
            tracing::warn!(cause = chain(&*error), "cannot delete the content of a file yet");
        }
        Ok(without_body())
    };
    let replay = |_| Ok(without_body());
    state.repetitions.once(&request, initiator, operation, &input, replay, execute).await
}
