//! Live connections: `…/events` (server-sent events), `…/live` (a WebSocket), and the tickets that
//! authorize them.

pub(super) mod events;
mod open;
pub(super) mod shared;
pub(super) mod socket;
pub(super) mod tickets;
