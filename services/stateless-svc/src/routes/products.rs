//! `GET /products` and `/products/{product_id}`: the catalogue, through the cache and with entity
//! tags.

use actix_web::web::{self, Bytes};
use actix_web::{HttpRequest, HttpResponse};
use proto_contracts::ErrorCode;
use proto_contracts::products as wire;
use service_kit::body::Query;
use service_kit::problem::ApiError;
use service_kit::routes::parameter;

use super::app::App;
use super::conditional::conditional;
use crate::domain::product::{Page, PageRequest, Product, ProductId};
use crate::store::StoreError;
use crate::store::cache::LoadError;

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
    fn prices_have_two_decimal_places() {
        let created_at = jiff::Timestamp::UNIX_EPOCH;
        let id = "p001".parse().expect("an id");
        let product =
            Product { id, name: "Bell".to_owned(), price: 15.into(), stock: 1, created_at };
        assert_eq!(to_wire(product).price, "15.00");
    }
}
