//! `GET /products` and `/products/{product_id}`: the catalogue, through the cache and with entity
//! tags.

use actix_web::http::header::{HeaderValue, LINK};
use actix_web::web::{self, Bytes};
use actix_web::{HttpRequest, HttpResponse};
use proto_contracts::ErrorCode;
use proto_contracts::error::FieldError;
use proto_contracts::products as wire;
use service_kit::body::{NoQuery, Query};
use service_kit::problem::{ApiError, sentence};
use service_kit::response::page_links;
use service_kit::routes::parameter;

use super::app::App;
use super::conditional::conditional;
use crate::domain::page::InvalidCursor;
use crate::domain::product::{
    InvalidLimit, InvalidProductId, Page, PageRequest, Product, ProductId,
};
use crate::store::StoreError;
use crate::store::cache::LoadError;

/// The prefix of cached documents. Its number changes with their format, so that instances of two
/// versions do not serve each other's.
const CACHED: &str = "products:2";

pub(super) async fn list(
    request: HttpRequest,
    app: web::Data<App>,
    Query(query): Query<wire::ProductsQuery>,
) -> Result<HttpResponse, ApiError> {
    let after = query.cursor.map(|cursor| cursor.parse()).transpose();
    let after = after.map_err(invalid_cursor)?;
    let page = PageRequest::new(query.limit, after).map_err(invalid_limit)?;

    let key = format!("{CACHED}:page:{}:{}", page.limit(), page.after());
    let (products, requested) = (app.products.clone(), page.clone());
    let load = || async move { Ok(Some(json(&page_to_wire(products.page(&requested).await?))?)) };
    let document = app.documents.get_or_load(key, load).await.map_err(failed)?;
    let document = document.unwrap_or_default();
    let links = links(&page, &document)?;
    let mut response = conditional(request.headers(), document)?;
    response.headers_mut().insert(LINK, links);
    Ok(response)
}

pub(super) async fn read(
    request: HttpRequest,
    _: NoQuery,
    app: web::Data<App>,
) -> Result<HttpResponse, ApiError> {
    let id: ProductId = parameter(&request).parse().map_err(|error: InvalidProductId| {
        ApiError::new(ErrorCode::InvalidProductId, sentence(error))
    })?;

    let key = format!("{CACHED}:item:{id}");
    let (products, requested) = (app.products.clone(), id.clone());
    let load = || async move {
        products.find(&requested).await?.map(|found| json(&to_wire(found))).transpose()
    };
    match app.documents.get_or_load(key, load).await.map_err(failed)? {
        Some(document) => conditional(request.headers(), document),
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

fn json(document: &impl serde::Serialize) -> Result<Bytes, StoreError> {
    serde_json::to_vec(document).map(Bytes::from).map_err(StoreError::Document)
}

fn page_to_wire(page: Page) -> wire::ProductPage {
    let products = page.products.into_iter().map(to_wire).collect();
    wire::ProductPage { products, next_cursor: page.next.map(|cursor| cursor.to_string()) }
}

fn to_wire(product: Product) -> wire::Product {
    let Product { id, name, price, stock, created_at } = product;
    wire::Product {
        id: id.to_string(),
        name,
        price: format!("{price:.2}"),
        stock,
        created_at: created_at.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prices_have_two_decimal_places() {
        let created_at = jiff::Timestamp::UNIX_EPOCH;
        let id = "p001".parse().expect("an id");
        let product =
            Product { id, name: "Bell".to_owned(), price: 15.into(), stock: 1, created_at };
        assert_eq!(to_wire(product).price, "15.00");
    }
}
