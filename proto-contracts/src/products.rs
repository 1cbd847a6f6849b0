//! Bodies of `/products`.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

use crate::timestamp::Timestamp;

/// The most products on one page.
pub const MAX_PAGE: u32 = 100;
/// The products on a page when the client names no `limit`.
pub const DEFAULT_PAGE: u32 = 20;

/// The most characters of a name.
pub const MAX_PRODUCT_NAME_CHARS: usize = 200;
/// The most characters of a search.
pub const MAX_SEARCH_CHARS: usize = 200;
/// The most units of one reservation.
pub const MAX_QUANTITY: i32 = 1_000_000;

/// Body of `POST /products`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NewProduct {
    /// 1 to 64 letters, digits, `_` or `-`. Without one, the service chooses it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = "^[A-Za-z0-9_-]{1,64}$"))]
    pub id: Option<String>,
    /// Its name, 1 to 200 characters, none of them a control character.
    #[schemars(length(min = 1, max = 200))]
    pub name: String,
    /// Price in the shop's currency: a decimal string with at most ten digits before the point and
    /// two after it.
    #[schemars(regex(pattern = r"^(0|[1-9][0-9]{0,9})(\.[0-9]{1,2})?$"))]
    pub price: String,
    /// Units in stock.
    #[schemars(range(min = 0))]
    pub stock: i32,
}

/// Body of `PATCH /products/{product_id}`: a merge patch (RFC 7396). No field can be removed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct PatchProduct {
    /// Its name, 1 to 200 characters, none of them a control character.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "not_null")]
    #[schemars(with = "String", length(min = 1, max = 200))]
    pub name: Option<String>,
    /// Price in the shop's currency: a decimal string with at most ten digits before the point and
    /// two after it.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "not_null")]
    #[schemars(with = "String", regex(pattern = r"^(0|[1-9][0-9]{0,9})(\.[0-9]{1,2})?$"))]
    pub price: Option<String>,
    /// Units in stock.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "not_null")]
    #[schemars(with = "i32", range(min = 0))]
    pub stock: Option<i32>,
}

/// A field that may be absent, but not null: in a merge patch null removes a field.
fn not_null<'de, T, D>(deserializer: D) -> Result<Option<T>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    T::deserialize(deserializer).map(Some)
}

/// Body of `POST /products/{product_id}/reservations`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NewReservation {
    /// Units to take from the stock, 1 to 1,000,000.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub quantity: i32,
}

/// Units that were taken from a product's stock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Reservation {
    /// Identifies it: a UUID.
    pub id: String,
    /// The product.
    pub product_id: String,
    /// Units that were taken.
    pub quantity: i32,
    /// When it was made.
    pub created_at: Timestamp,
}

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

macro_rules! sorts {
    ($($(#[$doc:meta])* $sort:ident = $name:literal,)*) => {
        /// The order of a list of products; `-` for the reverse. Equal ones are in the order of ids.
        #[derive(
            Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema,
        )]
        pub enum ProductSort {
            $($(#[$doc])* #[serde(rename = $name)] $sort,)*
        }

        impl ProductSort {
            /// All orders.
            pub const ALL: &[Self] = &[$(Self::$sort,)*];

            /// The name in a query.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$sort => $name,)*
                }
            }
        }
    };
}

sorts! {
    /// By id.
    #[default]
    Id = "id",
    /// By id, the last one first.
    IdDescending = "-id",
    /// By name, in the order of code points.
    Name = "name",
    /// By name, the last one first.
    NameDescending = "-name",
    /// The cheapest first.
    Price = "price",
    /// The most expensive first.
    PriceDescending = "-price",
    /// The oldest first.
    CreatedAt = "created_at",
    /// The newest first.
    CreatedAtDescending = "-created_at",
}

impl fmt::Display for ProductSort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The text names no order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("names no order of products")]
pub struct UnknownSort;

impl FromStr for ProductSort {
    type Err = UnknownSort;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.iter().copied().find(|sort| sort.as_str() == text).ok_or(UnknownSort)
    }
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
    /// The order; `id` by default.
    pub sort: Option<ProductSort>,
    /// Words that the name must have: `brass bell`, `"bell for two"`, `bell or horn`, `-steel`.
    #[schemars(length(min = 1, max = 200))]
    pub q: Option<String>,
    /// Only products of this price or a higher one.
    #[schemars(regex(pattern = r"^(0|[1-9][0-9]{0,9})(\.[0-9]{1,2})?$"))]
    pub min_price: Option<String>,
    /// Only products of this price or a lower one.
    #[schemars(regex(pattern = r"^(0|[1-9][0-9]{0,9})(\.[0-9]{1,2})?$"))]
    pub max_price: Option<String>,
    /// With `true`, only products with units in stock.
    pub in_stock: Option<bool>,
}

/// One page, in the order of the query.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ProductPage {
    /// The products.
    pub products: Vec<Product>,
    /// Where the next page starts; `null` on the last one.
    pub next_cursor: Option<String>,
}
