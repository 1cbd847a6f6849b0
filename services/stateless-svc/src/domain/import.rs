//! What an import of the legacy API's data brings, and what becomes of it.

use proto_contracts::Role;
use serde_json::{Value, json};

use super::account::{DisplayName, Username};
use super::product::{NewProduct, Product};

/// A user to import. It has no password until it uses an invitation.
#[derive(Clone, Debug)]
pub struct NewUser {
    pub id: Username,
    pub name: DisplayName,
    pub role: Role,
}

/// A user with the username of one to import.
#[derive(Clone, Debug)]
pub struct KnownUser {
    pub name: String,
    pub role: Role,
    pub is_deleted: bool,
}

/// What became of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    Inserted,
    /// The same is there already.
    Skipped,
    /// Something else is there, which stays as it is.
    Conflict(String),
}

impl NewUser {
    /// What the audit log shows of it.
    pub fn snapshot(&self) -> Value {
        json!({ "name": self.name.as_str(), "role": self.role, "disabled": false })
    }

    /// What becomes of it where this user is known.
    pub fn fate(&self, known: &KnownUser) -> Fate {
        if known.is_deleted {
            return Fate::Conflict("a deleted user had this username".to_owned());
        }
        compare([
            ("name", &known.name, self.name.as_str()),
            ("role", known.role.as_str(), self.role.as_str()),
        ])
    }
}

impl NewProduct {
    /// What the audit log shows of it.
    pub fn snapshot(&self) -> Value {
        let Self { id: _, name, price, stock } = self;
        json!({ "name": name.as_str(), "price": format!("{:.2}", price.amount()),
                "stock": stock.units() })
    }

    /// What becomes of it where this product is known.
    pub fn fate(&self, known: &Product) -> Fate {
        let price = |price| format!("{price:.2}");
        compare([
            ("name", &known.name, self.name.as_str()),
            ("price", &price(known.price), &price(self.price.amount())),
            ("stock", &known.stock.to_string(), &self.stock.units().to_string()),
        ])
    }
}

/// Of each field its name, the value that is there, and that of the file.
fn compare<const N: usize>(fields: [(&str, &str, &str); N]) -> Fate {
    let differences = fields.iter().filter(|(_, there, given)| there != given);
    let differences: Vec<_> = differences
        .map(|(field, there, given)| format!("{field} is {there:?} here and {given:?} in the file"))
        .collect();
    if differences.is_empty() { Fate::Skipped } else { Fate::Conflict(differences.join("; ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_that_differs_or_was_deleted_is_a_conflict() {
        let new = NewUser {
            id: "ada".parse().expect("a username"),
            name: " Ada ".parse().expect("a name"),
            role: Role::User,
        };
        let known = |role, is_deleted| KnownUser { name: "Ada".to_owned(), role, is_deleted };
        assert_eq!(new.fate(&known(Role::User, false)), Fate::Skipped);
        let differs = Fate::Conflict(r#"role is "admin" here and "user" in the file"#.to_owned());
        assert_eq!(new.fate(&known(Role::Admin, false)), differs);
        let deleted = new.fate(&known(Role::User, true));
        assert!(matches!(deleted, Fate::Conflict(_)), "{deleted:?}");
    }

    #[test]
    fn a_product_is_compared_by_its_values() {
        let new = NewProduct {
            id: "p1".parse().expect("an id"),
            name: "Bell".parse().expect("a name"),
            price: "14.9".parse().expect("a price"),
            stock: 3.try_into().expect("a stock"),
        };
        let known = |price: &str, stock| Product {
            id: "p1".parse().expect("an id"),
            name: "Bell".to_owned(),
            price: price.parse().expect("a number"),
            stock,
            created_at: jiff::Timestamp::UNIX_EPOCH,
        };
        assert_eq!(new.fate(&known("14.90", 3)), Fate::Skipped);
        let differs = r#"stock is "2" here and "3" in the file"#.to_owned();
        assert_eq!(new.fate(&known("14.90", 2)), Fate::Conflict(differs));
    }
}
