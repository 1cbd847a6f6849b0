//! `GET /products` and `/products/{product_id}`: the catalogue, through the cache and with entity
//! tags.

use actix_web::http::StatusCode;
use actix_web::http::header::{
    CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderMap, HeaderValue, IF_MATCH, IF_NONE_MATCH,
};
use actix_web::web::{self, Bytes};
use actix_web::{HttpRequest, HttpResponse};
use proto_contracts::ErrorCode;
use proto_contracts::products as wire;
use service_kit::body::Query;
use service_kit::entity_tags::EntityTags;
use service_kit::problem::ApiError;
use service_kit::routes::parameter;
use xxhash_rust::xxh3::xxh3_128;

use super::app::App;
use crate::domain::product::{Page, PageRequest, Product, ProductId};
use crate::store::StoreError;
use crate::store::cache::LoadError;

/// Nginx may cache these responses for a minute; the TTL in Redis is about the same.
const CACHING: HeaderValue = HeaderValue::from_static("public, max-age=60");

pub(super) async fn list(
    request: HttpRequest,
    app: web::Data<App>,
    Query(query): Query<wire::ProductsQuery>,
) -> Result<HttpResponse, ApiError> {
    let after = query.cursor.map(|cursor| cursor.parse()).transpose();
    let after = after.map_err(|error| invalid(ErrorCode::InvalidCursor, &error))?;
    let page = PageRequest::new(query.limit, after)
        .map_err(|error| invalid(ErrorCode::InvalidQuery, &error))?;

    let key = format!("products:page:{}:{}", page.limit(), page.after());
    let products = app.products.clone();
    let load = || async move { Ok(Some(json(&page_to_wire(products.page(&page).await?))?)) };
    let document = app.documents.get_or_load(key, load).await.map_err(failed)?;
    conditional(request.headers(), document.unwrap_or_default())
}

pub(super) async fn read(
    request: HttpRequest,
    app: web::Data<App>,
) -> Result<HttpResponse, ApiError> {
    let id: ProductId = parameter(&request)
        .parse()
        .map_err(|error| invalid(ErrorCode::InvalidProductId, &error))?;

    let key = format!("products:item:{id}");
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

/// 304 when `If-None-Match` lists this document, 412 when `If-Match` does not, else the document.
fn conditional(headers: &HeaderMap, document: Bytes) -> Result<HttpResponse, ApiError> {
    let tag = format!("{:032x}", xxh3_128(&document));
    let lists_tag = |name| {
        Ok::<_, ApiError>(
            EntityTags::from_headers(headers, name)?.map(|tags| tags.include(tag.as_bytes())),
        )
    };
    if lists_tag(&IF_MATCH)? == Some(false) {
        let detail =
            "The document's ETag matches none in If-Match; repeat the request without If-Match.";
        return Err(ApiError::new(ErrorCode::PreconditionFailed, detail));
    }
    let not_modified = lists_tag(&IF_NONE_MATCH)?.unwrap_or(false);
    let mut response =
        HttpResponse::build(if not_modified { StatusCode::NOT_MODIFIED } else { StatusCode::OK });
    response.insert_header((CACHE_CONTROL, CACHING)).insert_header((ETAG, format!("\"{tag}\"")));
    if not_modified {
        return Ok(response.finish());
    }
    Ok(response
        .insert_header((CONTENT_TYPE, HeaderValue::from_static("application/json")))
        .body(document))
}

fn invalid(code: ErrorCode, error: &dyn std::fmt::Display) -> ApiError {
    ApiError::new(code, error.to_string())
}

fn failed(error: LoadError) -> ApiError {
    match &*error {
        StoreError::Unavailable(_) | StoreError::NoConnection(_) | StoreError::Timeout => {
            ApiError::new(
                ErrorCode::DatabaseUnavailable,
                "The catalogue is temporarily unavailable; repeat the request shortly.",
            )
            .caused_by(error)
        }
        StoreError::Query(_) | StoreError::Row(_) | StoreError::Document(_) => {
            ApiError::internal(error)
        }
    }
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
    wire::Product { id: id.to_string(), name, price: format!("{price:.2}"), stock, created_at }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_matching_if_none_match_yields_304() {
        let document = Bytes::from_static(b"{}");
        let sent = conditional(&HeaderMap::new(), document.clone()).expect("the document");
        let tag = sent.headers().get(ETAG).expect("a tag").clone();
        assert_eq!(sent.status(), StatusCode::OK);

        let weak = format!("\"other\", W/{}", tag.to_str().expect("text"));
        for (known, status) in
            [(tag.as_bytes(), 304), (weak.as_bytes(), 304), (b"*", 304), (b"\"other\"", 200)]
        {
            let mut headers = HeaderMap::new();
            headers.insert(IF_NONE_MATCH, HeaderValue::from_bytes(known).expect("a value"));
            let response = conditional(&headers, document.clone()).expect("no error");
            assert_eq!(response.status().as_u16(), status, "{}", String::from_utf8_lossy(known));
            assert_eq!(response.headers().get(ETAG), Some(&tag));
            assert_eq!(response.headers().get(CACHE_CONTROL), Some(&CACHING));
        }
    }

    #[test]
    fn failed_and_malformed_conditions_are_rejected() {
        for (name, value, code) in [
            (IF_MATCH, "\"other\"", ErrorCode::PreconditionFailed),
            (IF_MATCH, "other", ErrorCode::InvalidEntityTag),
            (IF_NONE_MATCH, "other", ErrorCode::InvalidEntityTag),
            (IF_NONE_MATCH, "", ErrorCode::InvalidEntityTag),
        ] {
            let headers = HeaderMap::from_iter([(name, HeaderValue::from_static(value))]);
            let error = conditional(&headers, Bytes::from_static(b"{}")).expect_err(value);
            assert_eq!(error.code(), code, "{value}");
        }
    }

    #[test]
    fn prices_have_two_decimal_places() {
        let created_at = jiff::Timestamp::UNIX_EPOCH;
        let id = "p001".parse().expect("an id");
        let product =
            Product { id, name: "Bell".to_owned(), price: 15.into(), stock: 1, created_at };
        assert_eq!(to_wire(product).price, "15.00");
    }
}
