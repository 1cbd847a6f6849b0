//! What executed requests left, so that the response to a repetition is the same.

use serde_json::{Value, json};

use super::account::Account;
use super::file::{Sha256, StoredFile};
use super::hex;
use super::product::{Product, Quantity, Reservation};

/// What the response to a change shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Account(Account),
    Product(Product),
    Reservation(Reservation),
    File(StoredFile),
}

/// The JSON is not an outcome that this version knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is not the outcome of a request")]
pub struct NotAnOutcome;

impl Outcome {
    /// As it is kept.
    pub fn to_json(&self) -> Value {
        match self {
            Self::Account(account) => json!({ "account": account.to_json() }),
            Self::Product(Product { id, name, price, stock, created_at }) => {
                let (id, price) = (id.as_str(), price.to_string());
                let created_at = created_at.to_string();
                json!({ "product": { "id": id, "name": name, "price": price, "stock": stock,
                                     "created_at": created_at } })
            }
            Self::Reservation(Reservation { id, product, quantity, created_at }) => {
                let (id, product, quantity) = (id.to_string(), product.as_str(), quantity.units());
                let created_at = created_at.to_string();
                json!({ "reservation": { "id": id, "product": product, "quantity": quantity,
                                         "created_at": created_at } })
            }
            Self::File(StoredFile { id, name, size, sha256, content_type, created_at }) => {
                let (id, sha256) = (id.to_string(), sha256.to_string());
                let created_at = created_at.to_string();
                json!({ "file": { "id": id, "name": name, "size": size, "sha256": sha256,
                                  "content_type": content_type, "created_at": created_at } })
            }
        }
    }

    /// What was kept.
    ///
    /// # Errors
    /// When something else was.
    pub fn from_json(mut kept: Value) -> Result<Self, NotAnOutcome> {
        if let Some(account) = kept.get_mut("account") {
            let account = Account::from_json(account.take());
            return account.map(Self::Account).map_err(|_| NotAnOutcome);
        }
        if let Some(product) = kept.get("product") {
            return product_from(product).map(Self::Product);
        }
        if let Some(file) = kept.get("file") {
            return file_from(file).map(Self::File);
        }
        kept.get("reservation")
            .ok_or(NotAnOutcome)
            .and_then(reservation_from)
            .map(Self::Reservation)
    }
}

fn product_from(kept: &Value) -> Result<Product, NotAnOutcome> {
    Ok(Product {
        id: parsed(kept, "id")?,
        name: text(kept, "name")?.to_owned(),
        price: parsed(kept, "price")?,
        stock: number(kept, "stock")?,
        created_at: parsed(kept, "created_at")?,
    })
}

fn reservation_from(kept: &Value) -> Result<Reservation, NotAnOutcome> {
    Ok(Reservation {
        id: parsed(kept, "id")?,
        product: parsed(kept, "product")?,
        quantity: Quantity::try_from(number(kept, "quantity")?).map_err(|_| NotAnOutcome)?,
        created_at: parsed(kept, "created_at")?,
    })
}

fn file_from(kept: &Value) -> Result<StoredFile, NotAnOutcome> {
    let sha256 = hex::decode(text(kept, "sha256")?).ok_or(NotAnOutcome)?;
    Ok(StoredFile {
        id: parsed(kept, "id")?,
        name: text(kept, "name")?.to_owned(),
        size: kept.get("size").and_then(Value::as_u64).ok_or(NotAnOutcome)?,
        sha256: Sha256(sha256.try_into().map_err(|_| NotAnOutcome)?),
        content_type: text(kept, "content_type")?.to_owned(),
        created_at: parsed(kept, "created_at")?,
    })
}

fn text<'a>(kept: &'a Value, member: &str) -> Result<&'a str, NotAnOutcome> {
    kept.get(member).and_then(Value::as_str).ok_or(NotAnOutcome)
}

fn parsed<T: std::str::FromStr>(kept: &Value, member: &str) -> Result<T, NotAnOutcome> {
    text(kept, member)?.parse().map_err(|_| NotAnOutcome)
}

fn number(kept: &Value, member: &str) -> Result<i32, NotAnOutcome> {
    let number = kept.get(member).and_then(Value::as_i64).ok_or(NotAnOutcome)?;
    number.try_into().map_err(|_| NotAnOutcome)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kept_outcome_is_the_same() {
        let created_at = "2026-11-28T17:00:00.123456Z".parse().expect("a time");
        let product = Product {
            id: "p-1_X".parse().expect("an id"),
            name: "Bell \"Ω\"".to_owned(),
            price: "14.90".parse().expect("a price"),
            stock: i32::MAX,
            created_at,
        };
        let reservation = Reservation {
            id: uuid::Uuid::max(),
            product: product.id.clone(),
            quantity: 3.try_into().expect("a quantity"),
            created_at,
        };
        let file = StoredFile {
            id: Default::default(),
            name: "Ω \"x\"".to_owned(),
            size: u64::MAX,
            sha256: Sha256([0xab; 32]),
            content_type: "text/plain".to_owned(),
            created_at,
        };
        for outcome in
            [Outcome::Product(product), Outcome::Reservation(reservation), Outcome::File(file)]
        {
            let kept = outcome.to_json();
            assert_eq!(Outcome::from_json(kept), Ok(outcome));
        }
        for other in [json!({}), json!(null), json!({"product": {}}), json!({"file": {"id": 1}})] {
            assert_eq!(Outcome::from_json(other), Err(NotAnOutcome));
        }
    }
}
