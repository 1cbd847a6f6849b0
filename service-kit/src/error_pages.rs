//! The page about each error code, to which the `type` of problem documents leads.
//!
//! Clients of Nginx get its pages. These are for clients that reach a program directly, such as
//! operators at the gateway's control plane.

use actix_web::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, ContentType};
use actix_web::{HttpResponse, web};
use proto_contracts::ErrorCode;
use proto_contracts::error::{Site, index, page};

use crate::problem::ApiError;
use crate::routes::{get, mount_at};

pub(crate) fn mount(app: &mut web::ServiceConfig) {
    mount_at(app, "/docs/errors", [get(list)]);
    mount_at(app, "/docs/errors/{code}", [get(one)]);
}

async fn list() -> HttpResponse {
    html(index(Site::Direct))
}

async fn one(code: web::Path<String>) -> Result<HttpResponse, ApiError> {
    let code = ErrorCode::named(&code).ok_or_else(|| {
        ApiError::new(ErrorCode::NotFound, "There is no such error code; see /docs/errors.")
    })?;
    Ok(html(page(code, Site::Direct)))
}

fn html(text: String) -> HttpResponse {
    HttpResponse::Ok()
        .insert_header(ContentType::html())
        .insert_header((CACHE_CONTROL, "no-cache"))
        .insert_header((CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"))
        .body(text)
}
