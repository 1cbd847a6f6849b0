//! `/products`: the catalogue, read through the cache and with entity tags.

use actix_web::http::header::{HeaderValue, LINK};
use actix_web::web;
use actix_web::{HttpRequest, HttpResponse};
use proto_contracts::ErrorCode;
use proto_contracts::error::FieldError;
use proto_contracts::products as wire;
use service_kit::body::{NoQuery, Query};
use service_kit::problem::ApiError;
use service_kit::response::page_links;

use super::app::App;
use super::conditional::{PRODUCTS, conditional};
use super::product_document::{json, page_to_wire, product_id, to_wire};
use crate::domain::page::InvalidCursor;
use crate::domain::product::{InvalidLimit, PageRequest};
use crate::store::cache::{LoadError, Loaded, Place};
use crate::store::products::Read;

pub(super) async fn list(
    request: HttpRequest,
    app: web::Data<App>,
    Query(query): Query<wire::ProductsQuery>,
) -> Result<HttpResponse, ApiError> {
    let after = query.cursor.map(|cursor| cursor.parse()).transpose();
    let after = after.map_err(invalid_cursor)?;
    let page = PageRequest::new(query.limit, after).map_err(invalid_limit)?;

    let load = || {
        let (products, page) = (app.products.clone(), page.clone());
        async move {
            let Read { value, is_settled } = products.page(&page).await?;
            Ok(Loaded { document: Some(json(&page_to_wire(value))?), is_settled })
        }
    };
    let document = app.documents.get_or_load(Place::page(&page), load).await.map_err(failed)?;
    let document = document.unwrap_or_default();
    let links = links(&page, &document)?;
    let mut response = conditional(request.headers(), PRODUCTS, document)?;
    response.headers_mut().insert(LINK, links);
    Ok(response)
}

pub(super) async fn read(
    request: HttpRequest,
    _: NoQuery,
    app: web::Data<App>,
) -> Result<HttpResponse, ApiError> {
    let id = product_id(&request)?;
    let load = || {
        let (products, id) = (app.products.clone(), id.clone());
        async move {
            let Read { value, is_settled } = products.find(&id).await?;
            let document = value.map(|found| json(&to_wire(found))).transpose()?;
            Ok(Loaded { document, is_settled })
        }
    };
    match app.documents.get_or_load(Place::product(&id), load).await.map_err(failed)? {
        Some(document) => conditional(request.headers(), PRODUCTS, document),
        None => {
            Err(ApiError::new(ErrorCode::ProductNotFound, format!("There is no product {id}.")))
        }
    }
}

/// The `Link` of a page, by its document.
fn links(page: &PageRequest, document: &[u8]) -> Result<HeaderValue, ApiError> {
    /// The rest is skipped.
    #[derive(serde::Deserialize)]
    struct Next {
        next_cursor: Option<String>,
    }

    let Next { next_cursor } = serde_json::from_slice(document).map_err(ApiError::internal)?;
    page_links(&format!("limit={}", page.limit()), next_cursor.as_deref())
}

fn invalid_cursor(_: InvalidCursor) -> ApiError {
    let fault = "must be the `next_cursor` of the previous page; omit it for the first page";
    ApiError::invalid(ErrorCode::InvalidCursor, vec![FieldError::in_query("cursor", fault)])
}

fn invalid_limit(_: InvalidLimit) -> ApiError {
    let fault = format!("must be from 1 to {}", wire::MAX_PAGE);
    ApiError::invalid(ErrorCode::InvalidQuery, vec![FieldError::in_query("limit", fault)])
}

fn failed(error: LoadError) -> ApiError {
    if !error.is_outage() {
        return ApiError::internal(error);
    }
    let detail = "The catalogue is temporarily unavailable; repeat the request shortly.";
    ApiError::new(ErrorCode::DatabaseUnavailable, detail).caused_by(error)
}
