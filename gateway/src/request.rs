//! One request: what is known of it from its first byte to its log line, and how it ended.

pub mod client;
mod context;
mod outcome;
pub mod trace;

pub use context::{Attempt, ExchangeFailure, RequestContext};
pub use outcome::Outcome;
pub use trace::RequestTrace;
