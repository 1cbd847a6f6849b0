//! Products as documents.

use actix_web::HttpRequest;
use actix_web::web::Bytes;
use proto_contracts::ErrorCode;
use proto_contracts::products as wire;
use service_kit::problem::{ApiError, sentence};
use service_kit::routes::parameter;

use crate::domain::product::{InvalidProductId, Page, Product, ProductId};
use crate::store::StoreError;

/// The product's id in the path.
pub(super) fn product_id(request: &HttpRequest) -> Result<ProductId, ApiError> {
    parameter(request).parse().map_err(|error: InvalidProductId| {
        ApiError::new(ErrorCode::InvalidProductId, sentence(error))
    })
}

pub(super) fn json(document: &impl serde::Serialize) -> Result<Bytes, StoreError> {
    serde_json::to_vec(document).map(Bytes::from).map_err(StoreError::Document)
}

pub(super) fn page_to_wire(page: Page) -> wire::ProductPage {
    let products = page.products.into_iter().map(to_wire).collect();
    wire::ProductPage { products, next_cursor: page.next.map(|cursor| cursor.to_string()) }
}

pub(super) fn to_wire(product: Product) -> wire::Product {
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
