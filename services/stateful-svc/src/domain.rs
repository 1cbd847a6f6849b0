//! Sessions and the rules for them. Pure: no HTTP, no Redis, no clock of its own.

pub mod caller;
pub mod client_data;
pub mod clock;
pub mod conversation;
pub mod cursor;
pub mod digest;
pub mod keyed;
pub mod lifetime;
pub mod live_sessions;
pub mod message;
pub mod message_rate;
pub mod nickname;
pub mod origins;
pub mod owned;
pub mod roster;
pub mod session;
pub mod session_ids;
pub mod session_tag;
pub mod shared_secret;
pub mod tickets;
