//! Bodies of `/products`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::timestamp::Timestamp;

/// The most products on one page.
pub const MAX_PAGE: u32 = 100;
/// The products on a page when the client names no `limit`.
pub const DEFAULT_PAGE: u32 = 20;

/// One product.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Product {
    /// Text, such as `p001`, as on the legacy paths.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Price in the shop's currency, as a decimal string with two places, so that no client rounds
    /// it.
    pub price: String,
    /// Units in stock.
    pub stock: i32,
    /// When it was added.
    pub created_at: Timestamp,
}

/// Query of `GET /products`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ProductsQuery {
    /// Page size, 1 to 100; 20 by default.
    #[schemars(range(min = 1, max = 100))]
    pub limit: Option<u32>,
    /// The `next_cursor` of the page before.
    #[schemars(regex(pattern = "^[A-Za-z0-9._~-]+$"))]
    pub cursor: Option<String>,
}

/// One page, ordered by id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ProductPage {
    /// The products.
    pub products: Vec<Product>,
    /// Where the next page starts; `null` on the last one.
    pub next_cursor: Option<String>,
}
