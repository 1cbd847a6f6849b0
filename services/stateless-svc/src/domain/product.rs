//! Products and their pagination.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use rust_decimal::Decimal;
use uuid::Uuid;

mod change;
mod listing;

pub use change::{
    InvalidPrice, InvalidQuantity, NegativeStock, NewProduct, Price, ProductChange, Quantity,
    Reservation, Stock,
};
pub use listing::{Filter, InvalidPage, Page, PageRequest, Position, Search, Sort, SortKey};

/// 1 to 64 letters, digits, `_` or `-`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProductId(String);

impl ProductId {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl ProductId {
    /// A new id, in the order of time.
    pub fn generate() -> Self {
        Self(Uuid::now_v7().to_string())
    }
}

impl fmt::Display for ProductId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The text is not a product's id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a product id is 1 to 64 letters, digits, '_' or '-'")]
pub struct InvalidProductId;

impl FromStr for ProductId {
    type Err = InvalidProductId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fits = (1..=64).contains(&text.len());
        let plain = text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
        if fits && plain { Ok(Self(text.to_owned())) } else { Err(InvalidProductId) }
    }
}

/// One product.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Product {
    pub id: ProductId,
    pub name: String,
    /// In the shop's currency, with two decimal places.
    pub price: Decimal,
    /// Units in stock.
    pub stock: i32,
    /// When the product was added.
    pub created_at: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn malformed_ids_are_rejected() {
        for bad in ["", "a b", "p/1", "p001'--", "ä", "p\0", &"p".repeat(65)] {
            assert_eq!(bad.parse::<ProductId>(), Err(InvalidProductId), "{bad:?}");
        }
    }
}
