//! Products and their pagination.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use proto_contracts::products::{DEFAULT_PAGE, MAX_PAGE};
use rust_decimal::Decimal;
use uuid::Uuid;

use super::page::{self, Cursor};

mod change;

pub use change::{
    InvalidPrice, InvalidQuantity, NegativeStock, NewProduct, Price, ProductChange, Quantity,
    Reservation, Stock,
};

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

/// A page of the catalogue: up to `limit` products after one, ordered by id.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PageRequest {
    limit: u32,
    after: Option<ProductId>,
}

/// The page's size is out of range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("`limit` is {0}: it must be 1 to {MAX_PAGE}")]
pub struct InvalidLimit(u32);

impl PageRequest {
    /// A page of `limit` products ([`DEFAULT_PAGE`] by default), after a cursor or from the
    /// beginning.
    ///
    /// # Errors
    /// When the limit is 0 or more than [`MAX_PAGE`].
    pub fn new(limit: Option<u32>, after: Option<Cursor<ProductId>>) -> Result<Self, InvalidLimit> {
        let limit = limit.unwrap_or(DEFAULT_PAGE);
        if !(1..=MAX_PAGE).contains(&limit) {
            return Err(InvalidLimit(limit));
        }
        Ok(Self { limit, after: after.map(|cursor| cursor.0) })
    }

    /// The maximum number of products on the page.
    pub fn limit(&self) -> u32 {
        self.limit
    }

    /// The id after which the page starts. For the first page it is empty, which sorts before every
    /// id.
    pub fn after(&self) -> &str {
        self.after.as_ref().map_or("", ProductId::as_str)
    }
}

/// One page of the catalogue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// Ordered by id.
    pub products: Vec<Product>,
    /// The start of the next page, if there is one.
    pub next: Option<Cursor<ProductId>>,
}

impl Page {
    /// Builds the page from a query for one product more than the page holds.
    pub fn from_one_more(products: Vec<Product>, request: &PageRequest) -> Self {
        let (products, next) = page::cut(products, request.limit, |product| product.id.clone());
        Self { products, next }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::page::InvalidCursor;
    use super::*;

    fn product(id: &str) -> Product {
        let created_at = Timestamp::UNIX_EPOCH;
        Product {
            id: id.parse().expect("an id"),
            name: id.to_owned(),
            price: Decimal::ONE,
            stock: 1,
            created_at,
        }
    }

    #[test]
    fn a_page_has_a_next_cursor_when_more_products_follow() {
        let request = PageRequest::new(Some(2), None).expect("a page");
        let full = Page::from_one_more(vec![product("p1"), product("p2"), product("p3")], &request);
        assert_eq!(full.products.len(), 2);
        let next = PageRequest::new(Some(2), full.next).expect("the next");
        assert_eq!(next.after(), "p2");
        assert_eq!(Page::from_one_more(vec![product("p3"), product("p4")], &next).next, None);
    }

    #[test]
    fn limits_are_1_to_100() {
        for limit in [0, MAX_PAGE + 1, u32::MAX] {
            assert_eq!(PageRequest::new(Some(limit), None), Err(InvalidLimit(limit)));
        }
        assert_eq!(PageRequest::new(None, None).map(|page| page.limit()), Ok(DEFAULT_PAGE));
    }

    #[test]
    fn malformed_cursors_and_ids_are_rejected() {
        for bad in ["", "7", "zz", "7G", "20", "707030303g", "ff", "7030303100", "70\u{e4}"] {
            assert_eq!(bad.parse::<Cursor<ProductId>>(), Err(InvalidCursor), "{bad:?}");
        }
        for bad in ["", "a b", "p/1", "p001'--", "ä", "p\0", &"p".repeat(65)] {
            assert_eq!(bad.parse::<ProductId>(), Err(InvalidProductId), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn a_cursor_round_trips(id in "[A-Za-z0-9_-]{1,64}") {
            let cursor = Cursor(id.parse::<ProductId>().expect("an id"));
            prop_assert_eq!(cursor.to_string().parse(), Ok(cursor));
        }
    }
}
