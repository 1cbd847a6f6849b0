//! What the audit log records of a change, and how it is read.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use jiff::Timestamp;
use proto_contracts::RequestId;
pub use proto_contracts::audit::AuditAction as Action;
use serde_json::{Value, json};
use uuid::Uuid;

use super::account::{Account, Username};
use super::keyed::Keyed;
use super::product::{Product, ProductId};

/// Who makes a change, and by which request. Handlers take it from the request; every change of
/// the store gets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Initiator {
    pub actor: Actor,
    /// `None` at the command line.
    pub request_id: Option<RequestId>,
    /// The client's address; `None` at the command line.
    pub address: Option<IpAddr>,
    /// The request's `Idempotency-Key`, which is kept with the change.
    pub keyed: Option<Keyed>,
}

/// Who acts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Actor {
    /// A client without a token.
    Anonymous,
    /// The user of the token.
    User(Username),
    /// Whoever runs `stateless-svc` at the command line.
    Operator,
}

impl Initiator {
    /// The operator at the command line.
    pub fn operator() -> Self {
        Self { actor: Actor::Operator, request_id: None, address: None, keyed: None }
    }

    /// The same request, by the user that its body proves: with a password or a refresh token.
    #[must_use]
    pub fn acting_as(&self, user: &Username) -> Self {
        Self { actor: Actor::User(user.clone()), ..self.clone() }
    }
}

impl Actor {
    /// The kind in the audit log.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Anonymous => "anonymous",
            Self::User(_) => "user",
            Self::Operator => "operator",
        }
    }

    /// The username of a user.
    pub const fn username(&self) -> Option<&Username> {
        match self {
            Self::User(user) => Some(user),
            Self::Anonymous | Self::Operator => None,
        }
    }
}

/// What a change is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Object {
    User(Username),
    Product(ProductId),
}

/// What the name of a product begins with. No username has a colon.
const PRODUCT: &str = "product:";

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(user) => user.fmt(f),
            Self::Product(product) => write!(f, "{PRODUCT}{product}"),
        }
    }
}

/// The text names nothing that the log knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be a username, or `product:` and the id of a product")]
pub struct InvalidObject;

impl FromStr for Object {
    type Err = InvalidObject;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.strip_prefix(PRODUCT) {
            Some(id) => id.parse().map(Self::Product).map_err(|_| InvalidObject),
            None => text.parse().map(Self::User).map_err(|_| InvalidObject),
        }
    }
}

impl From<&Username> for Object {
    fn from(user: &Username) -> Self {
        Self::User(user.clone())
    }
}

impl From<&ProductId> for Object {
    fn from(product: &ProductId) -> Self {
        Self::Product(product.clone())
    }
}

/// One change, as it is recorded in its transaction. It never holds a password, a token or the id
/// of a session.
#[derive(Clone, Debug)]
pub struct Entry {
    pub action: Action,
    pub object: Object,
    /// What was there before; `None` where nothing was.
    pub before: Option<Value>,
    /// What is there now.
    pub after: Option<Value>,
}

impl Entry {
    /// An action of which there is no more to say.
    pub fn new(action: Action, object: impl Into<Object>) -> Self {
        Self { action, object: object.into(), before: None, after: None }
    }

    /// The end of logins.
    pub fn ends_logins(mut self, count: u64) -> Self {
        self.after = Some(json!({ "logins_ended": count }));
        self
    }
}

/// What the audit log shows of a product.
pub fn product_snapshot(product: &Product) -> Value {
    let Product { id: _, name, price, stock, created_at: _ } = product;
    json!({ "name": name, "price": format!("{price:.2}"), "stock": stock })
}

/// What the audit log shows of a user.
pub fn snapshot(account: &Account) -> Value {
    let Account { id: _, name, role, created_at: _, is_disabled } = account;
    json!({ "name": name, "role": role, "disabled": is_disabled })
}

/// Identifies an entry: a UUID that begins with the time of the entry, in milliseconds, as version
/// 7 does. So ids are in the order of times.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct EntryId {
    uuid: Uuid,
    at: Timestamp,
}

/// The UUID holds no time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is not the id of an entry")]
pub struct InvalidEntryId;

impl EntryId {
    /// Of an entry that is made now.
    pub fn now() -> Self {
        let uuid = Uuid::now_v7();
        // Fails in the year 9999.
        Self::try_from(uuid).unwrap_or(Self { uuid, at: Timestamp::MAX })
    }

    /// Of the one entry with this time and these 74 bits or more, of which some are ignored.
    pub fn derived(at: Timestamp, bits: u128) -> Self {
        let milliseconds = u128::from(at.as_millisecond().unsigned_abs());
        let custom = uuid::Builder::from_custom_bytes(
            (milliseconds << 80 | bits & (u128::MAX >> 48)).to_be_bytes(),
        );
        Self { uuid: custom.into_uuid(), at }
    }

    /// The id.
    pub const fn uuid(&self) -> &Uuid {
        &self.uuid
    }

    /// The time of its entry.
    pub const fn at(&self) -> &Timestamp {
        &self.at
    }
}

impl TryFrom<Uuid> for EntryId {
    type Error = InvalidEntryId;

    fn try_from(uuid: Uuid) -> Result<Self, Self::Error> {
        let milliseconds = i64::try_from(uuid.as_u128() >> 80).map_err(|_| InvalidEntryId)?;
        let at = Timestamp::from_millisecond(milliseconds).map_err(|_| InvalidEntryId)?;
        Ok(Self { uuid, at })
    }
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.uuid.fmt(f)
    }
}

impl FromStr for EntryId {
    type Err = InvalidEntryId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Uuid::from_str(text).map_err(|_| InvalidEntryId)?.try_into()
    }
}

/// An entry of the log, as it is read. The texts are as some version of the service wrote them.
#[derive(Clone, Debug)]
pub struct Recorded {
    pub id: EntryId,
    pub action: String,
    pub actor_kind: String,
    pub actor: Option<String>,
    pub object: Option<String>,
    pub request_id: Option<RequestId>,
    pub address: Option<String>,
    pub before: Option<Value>,
    pub after: Option<Value>,
    /// How many requests a sum counts; 1 of a change.
    pub count: i64,
}

/// A page of the log: up to `limit` entries before one, the newest first. What is `None` does not
/// restrict it.
#[derive(Clone, Debug)]
pub struct AuditPageRequest {
    pub limit: u32,
    pub before: Option<EntryId>,
    pub actor: Option<Username>,
    pub object: Option<Object>,
    pub action: Option<Action>,
    pub from: Option<Timestamp>,
    pub to: Option<Timestamp>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_holds_the_time_of_its_entry() {
        let before = Timestamp::now().as_millisecond();
        let id = EntryId::now();
        let after = Timestamp::now().as_millisecond();
        assert!((before..=after).contains(&id.at().as_millisecond()), "{id:?}");
        assert_eq!(id.to_string().parse(), Ok(id));
        let year_10000 = "e677d21fdc00-7000-8000-000000000000".replace('-', "");
        for bad in ["", "ada", "\0", "0190", &year_10000] {
            assert_eq!(bad.parse::<EntryId>(), Err(InvalidEntryId), "{bad:?}");
        }
    }

    #[test]
    fn an_object_has_one_name() {
        for name in ["ada", "product:p001", "product:A_-9"] {
            assert_eq!(
                name.parse::<Object>().map(|object| object.to_string()),
                Ok(name.to_owned())
            );
        }
        for bad in ["", "Ada", "product:", "product:a b", "file:1", "Product:p001", "product:\0"] {
            assert_eq!(bad.parse::<Object>(), Err(InvalidObject), "{bad:?}");
        }
    }

    #[test]
    fn a_derived_id_is_the_same_for_the_same_bits() {
        let at: Timestamp = "2026-11-28T17:00:00Z".parse().expect("a time");
        let id = EntryId::derived(at, 7);
        assert_eq!((id, *id.at()), (EntryId::derived(at, 7), at));
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_ne!(id, EntryId::derived(at, 8));
        assert_eq!(id.uuid().get_version_num(), 8);
    }
}
