//! Lists of products: which, in which order, and from where.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
pub use proto_contracts::products::ProductSort as Sort;
use proto_contracts::products::{DEFAULT_PAGE, MAX_PAGE, MAX_SEARCH_CHARS};
use rust_decimal::Decimal;

use super::{Price, Product, ProductId};
use crate::domain::page::{self, Cursor};

/// Words that a name must have, in the syntax of a web search. PostgreSQL accepts any text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Search(String);

impl Search {
    /// The words.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The text cannot be searched for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be 1 to {MAX_SEARCH_CHARS} characters, without control characters")]
pub struct InvalidSearch;

impl FromStr for Search {
    type Err = InvalidSearch;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fits = (1..=MAX_SEARCH_CHARS).contains(&text.chars().count());
        if fits && !text.contains(char::is_control) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidSearch)
        }
    }
}

/// Which products are listed; what is `None` does not restrict.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    pub search: Option<Search>,
    pub min_price: Option<Price>,
    pub max_price: Option<Price>,
    /// Only those with units in stock.
    pub in_stock: bool,
}

/// What a product is sorted by, before its id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SortKey {
    Id(String),
    Name(String),
    Price(Decimal),
    Age(Timestamp),
}

/// A product's place in an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    sort: Sort,
    pub key: SortKey,
    pub id: ProductId,
}

impl Position {
    fn of(product: &Product, sort: Sort) -> Self {
        let key = match sort {
            Sort::Id | Sort::IdDescending => SortKey::Id(product.id.to_string()),
            Sort::Name | Sort::NameDescending => SortKey::Name(product.name.clone()),
            Sort::Price | Sort::PriceDescending => SortKey::Price(product.price),
            Sort::CreatedAt | Sort::CreatedAtDescending => SortKey::Age(product.created_at),
        };
        Self { sort, key, id: product.id.clone() }
    }
}

/// The id alone in the default order; else the order, the id and the key.
impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sort, key, id } = self;
        match key {
            SortKey::Id(_) if *sort == Sort::Id => id.fmt(f),
            SortKey::Id(key) | SortKey::Name(key) => write!(f, "{sort}/{id}/{key}"),
            SortKey::Price(key) => write!(f, "{sort}/{id}/{key}"),
            SortKey::Age(key) => write!(f, "{sort}/{id}/{key}"),
        }
    }
}

/// The text is no position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is not a position")]
pub struct InvalidPosition;

impl FromStr for Position {
    type Err = InvalidPosition;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let id = |text: &str| text.parse::<ProductId>().map_err(|_| InvalidPosition);
        let Some((sort, rest)) = text.split_once('/') else {
            return Ok(Self { sort: Sort::Id, key: SortKey::Id(text.to_owned()), id: id(text)? });
        };
        let sort: Sort = sort.parse().map_err(|_| InvalidPosition)?;
        let (own_id, key) = rest.split_once('/').ok_or(InvalidPosition)?;
        let own_id = id(own_id)?;
        let key = match sort {
            // It has a form of its own.
            Sort::Id => return Err(InvalidPosition),
            Sort::IdDescending if key == own_id.as_str() => SortKey::Id(key.to_owned()),
            Sort::IdDescending => return Err(InvalidPosition),
            Sort::Name | Sort::NameDescending if !key.contains('\0') => {
                SortKey::Name(key.to_owned())
            }
            Sort::Name | Sort::NameDescending => return Err(InvalidPosition),
            Sort::Price | Sort::PriceDescending => {
                let price: Price = key.parse().map_err(|_| InvalidPosition)?;
                SortKey::Price(price.amount())
            }
            Sort::CreatedAt | Sort::CreatedAtDescending => {
                let at: Timestamp = key.parse().map_err(|_| InvalidPosition)?;
                // PostgreSQL rejects times before 4713 BC, and no product is so old.
                if at < Timestamp::UNIX_EPOCH {
                    return Err(InvalidPosition);
                }
                SortKey::Age(at)
            }
        };
        Ok(Self { sort, key, id: own_id })
    }
}

/// A page of the catalogue: up to `limit` products after one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageRequest {
    limit: u32,
    sort: Sort,
    filter: Filter,
    after: Option<Position>,
}

/// Why there can be no such page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPage {
    /// The page's size is out of range.
    #[error("must be from 1 to {MAX_PAGE}")]
    Limit,
    /// The cursor is of another order.
    #[error("the cursor is of another order")]
    Cursor,
}

impl PageRequest {
    /// A page of `limit` products ([`DEFAULT_PAGE`] by default), after a cursor or from the
    /// beginning.
    ///
    /// # Errors
    /// See [`InvalidPage`].
    pub fn new(
        limit: Option<u32>,
        sort: Sort,
        filter: Filter,
        after: Option<Cursor<Position>>,
    ) -> Result<Self, InvalidPage> {
        let limit = limit.unwrap_or(DEFAULT_PAGE);
        if !(1..=MAX_PAGE).contains(&limit) {
            return Err(InvalidPage::Limit);
        }
        let after = after.map(|cursor| cursor.0);
        if after.as_ref().is_some_and(|after| after.sort != sort) {
            return Err(InvalidPage::Cursor);
        }
        Ok(Self { limit, sort, filter, after })
    }

    /// The maximum number of products on the page.
    pub fn limit(&self) -> u32 {
        self.limit
    }

    /// The order.
    pub fn sort(&self) -> Sort {
        self.sort
    }

    /// Which products there are on it.
    pub fn filter(&self) -> &Filter {
        &self.filter
    }

    /// Where it begins.
    pub fn after(&self) -> Option<&Position> {
        self.after.as_ref()
    }
}

/// One page of the catalogue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    pub products: Vec<Product>,
    /// The start of the next page, if there is one.
    pub next: Option<Cursor<Position>>,
}

impl Page {
    /// Builds the page from a query for one product more than the page holds.
    pub fn from_one_more(products: Vec<Product>, request: &PageRequest) -> Self {
        let position = |product: &Product| Position::of(product, request.sort);
        let (products, next) = page::cut(products, request.limit, position);
        Self { products, next }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::super::page::InvalidCursor;
    use super::*;

    fn product(id: &str) -> Product {
        let created_at = Timestamp::UNIX_EPOCH;
        Product {
            id: id.parse().expect("an id"),
            name: format!("{id}/Ω \"x\""),
            price: "14.90".parse().expect("a price"),
            stock: 1,
            created_at,
        }
    }

    fn page(
        limit: Option<u32>,
        after: Option<Cursor<Position>>,
    ) -> Result<PageRequest, InvalidPage> {
        PageRequest::new(limit, Sort::Id, Filter::default(), after)
    }

    #[test]
    fn a_page_has_a_next_cursor_when_more_products_follow() {
        let request = page(Some(2), None).expect("a page");
        let full = Page::from_one_more(vec![product("p1"), product("p2"), product("p3")], &request);
        assert_eq!(full.products.len(), 2);
        let next = page(Some(2), full.next).expect("the next");
        assert_eq!(next.after().map(|after| after.id.as_str()), Some("p2"));
        assert_eq!(Page::from_one_more(vec![product("p3"), product("p4")], &next).next, None);
    }

    #[test]
    fn limits_are_1_to_100() {
        for limit in [0, MAX_PAGE + 1, u32::MAX] {
            assert_eq!(page(Some(limit), None), Err(InvalidPage::Limit));
        }
        assert_eq!(page(None, None).map(|page| page.limit()), Ok(DEFAULT_PAGE));
    }

    #[test]
    fn a_cursor_is_of_one_order() {
        for sort in Sort::ALL {
            let cursor = Cursor(Position::of(&product("p1"), *sort));
            let again: Cursor<Position> = cursor.to_string().parse().expect("a cursor");
            assert_eq!(again, cursor);
            for other in Sort::ALL {
                let after = Some(again.clone());
                let page = PageRequest::new(None, *other, Filter::default(), after);
                assert_eq!(page.is_ok(), other == sort);
            }
        }
    }

    #[test]
    fn malformed_cursors_are_rejected() {
        let forged = [
            "id/p1/p1",
            "price/p1/1e3",
            "price/p1/NaN",
            "price/p1/",
            "-created_at/p1/now",
            "created_at/p1/-004713-01-01T00:00:00Z",
            "name/p1/a\0b",
            "name/p 1/a",
            "stock/p1/1",
            "-id/p1/p2",
            "price",
            "price/",
            "/",
            "name/p1",
        ];
        let forged = forged.map(|text| crate::domain::hex::encode(text.as_bytes()));
        let malformed = ["", "7", "zz", "7G", "20", "707030303g", "ff", "7030303100", "70\u{e4}"];
        for bad in malformed.into_iter().chain(forged.iter().map(String::as_str)) {
            // "price" alone is an id.
            if bad != crate::domain::hex::encode(b"price") {
                assert_eq!(bad.parse::<Cursor<Position>>(), Err(InvalidCursor), "{bad:?}");
            }
        }
    }

    proptest! {
        #[test]
        fn a_cursor_round_trips(id in "[A-Za-z0-9_-]{1,64}") {
            let cursor = Cursor(Position::of(&product(&id), Sort::Id));
            prop_assert_eq!(cursor.to_string().parse(), Ok(cursor));
        }
    }
}
