//! Changes of the catalogue.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use proto_contracts::products::MAX_QUANTITY;
use rust_decimal::Decimal;
use uuid::Uuid;

use super::{Product, ProductId};
use crate::domain::account::DisplayName;

/// A price: at most ten digits before the point and two after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Price(Decimal);

impl Price {
    /// The amount.
    pub const fn amount(self) -> Decimal {
        self.0
    }
}

/// The text is not a price.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "must be a decimal number of at most ten digits before the point and two after it, such as \
     14.90"
)]
pub struct InvalidPrice;

impl FromStr for Price {
    type Err = InvalidPrice;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
        let is_number = |digits: &str, most: usize| {
            (1..=most).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit())
        };
        let has_leading_zero = whole.len() > 1 && whole.starts_with('0');
        if !is_number(whole, 10) || !is_number(fraction, 2) || has_leading_zero {
            return Err(InvalidPrice);
        }
        text.parse().map(Self).map_err(|_| InvalidPrice)
    }
}

/// A number of units that is or may be in stock: not negative.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stock(i32);

impl Stock {
    /// The number.
    pub const fn units(self) -> i32 {
        self.0
    }
}

/// The number is negative.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must not be negative")]
pub struct NegativeStock;

impl TryFrom<i32> for Stock {
    type Error = NegativeStock;

    fn try_from(units: i32) -> Result<Self, Self::Error> {
        if units >= 0 { Ok(Self(units)) } else { Err(NegativeStock) }
    }
}

/// The units of one reservation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quantity(i32);

impl Quantity {
    /// The number.
    pub const fn units(self) -> i32 {
        self.0
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The number is out of range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be from 1 to {MAX_QUANTITY}")]
pub struct InvalidQuantity;

impl TryFrom<i32> for Quantity {
    type Error = InvalidQuantity;

    fn try_from(units: i32) -> Result<Self, Self::Error> {
        if (1..=MAX_QUANTITY).contains(&units) { Ok(Self(units)) } else { Err(InvalidQuantity) }
    }
}

/// A product to add.
#[derive(Clone, Debug)]
pub struct NewProduct {
    pub id: ProductId,
    pub name: DisplayName,
    pub price: Price,
    pub stock: Stock,
}

/// A change of a product; what is `None` stays.
#[derive(Clone, Debug, Default)]
pub struct ProductChange {
    pub name: Option<DisplayName>,
    pub price: Option<Price>,
    pub stock: Option<Stock>,
}

impl ProductChange {
    /// The product after the change.
    pub fn applied_to(&self, product: &Product) -> Product {
        let name = self.name.as_ref().map_or(&*product.name, DisplayName::as_str).to_owned();
        let price = self.price.map_or(product.price, Price::amount);
        let stock = self.stock.map_or(product.stock, Stock::units);
        Product { name, price, stock, ..product.clone() }
    }
}

/// Units that were taken from a product's stock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reservation {
    pub id: Uuid,
    pub product: ProductId,
    pub quantity: Quantity,
    pub created_at: Timestamp,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn prices_are_exact() {
        for (good, amount) in
            [("0", "0"), ("0.5", "0.5"), ("14.90", "14.90"), ("9999999999.99", "9999999999.99")]
        {
            let price: Price = good.parse().expect(good);
            assert_eq!(price.amount().to_string(), amount);
        }
        for bad in [
            "",
            ".",
            "1.",
            ".5",
            "-1",
            "+1",
            "-0",
            "1.999",
            "01",
            "00",
            "1e3",
            "1,5",
            " 1",
            "1 ",
            "10000000000",
            "NaN",
            "inf",
            "0x1",
            "1_000",
            "１",
            "1.٥",
            "1\0",
            "1.2.3",
            "99999999999999999999999999999999",
        ] {
            assert_eq!(bad.parse::<Price>(), Err(InvalidPrice), "{bad:?}");
        }
    }

    #[test]
    fn stocks_and_quantities_have_bounds() {
        for bad in [0, -1, i32::MIN, MAX_QUANTITY + 1, i32::MAX] {
            assert_eq!(Quantity::try_from(bad), Err(InvalidQuantity), "{bad}");
        }
        for bad in [-1, i32::MIN] {
            assert_eq!(Stock::try_from(bad), Err(NegativeStock), "{bad}");
        }
        assert!(Quantity::try_from(MAX_QUANTITY).is_ok() && Stock::try_from(i32::MAX).is_ok());
    }

    proptest! {
        #[test]
        fn a_price_is_accepted_as_the_document_says(text in r"[0-9.+eE-]{0,14}") {
            // The pattern of the API's document.
            let (whole, fraction) = text.split_once('.').unwrap_or((&text, "0"));
            let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
            let fits = digits(whole) && digits(fraction) && whole.len() <= 10
                && fraction.len() <= 2 && (whole == "0" || !whole.starts_with('0'));
            prop_assert_eq!(text.parse::<Price>().is_ok(), fits);
        }
    }
}
