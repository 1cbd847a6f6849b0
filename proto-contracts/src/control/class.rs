//! The class: who of a room holds a session, by nickname and digest. No session id appears here.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Lists the class of an instance (`GET`, an [`InstanceClass`]), ends all its sessions (`DELETE`),
/// or one by its digest (`DELETE …/{digest}`). Gateways forward no client request to it.
pub const INSTANCE_CLASS_PATH: &str = "/internal/class";

/// The class as one instance has served it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InstanceClass {
    /// The sessions with a nickname that it served lately, in no order.
    pub people: Vec<Served>,
}

/// A session of the class, as an instance last served it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Served {
    /// The nickname: at most 24 characters, without control characters. It is text, not markup.
    pub nickname: String,
    /// The digest of the session's id, 32 hex digits.
    pub digest: String,
    /// The affinity key, by which `explain` names the session's home.
    pub key: String,
    /// How many messages the session had then.
    pub message_count: u64,
    /// From where the state came: `memory`, `redis`, `created` or `unverified`.
    pub source: String,
    /// When it was last served, milliseconds since 1970.
    pub served_at_ms: u64,
}

/// `GET /control/v1/class`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Class {
    /// The address of the page for phones, with the room's code in its fragment.
    pub url: String,
    /// The room's code.
    pub code: String,
    /// The address as a QR code, without its margin: one string for each row, `1` for a dark module
    /// and `0` for a light one.
    pub qr: Vec<String>,
    /// The people, by nickname: each session once, as the instance that served it last knows it.
    pub people: Vec<Person>,
    /// The instances that did not say whom they serve.
    pub missed: Vec<String>,
}

/// A person of the class.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Person {
    /// The instance that served the session last.
    pub instance: String,
    /// How it served it.
    #[serde(flatten)]
    pub served: Served,
}
