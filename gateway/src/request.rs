//! The state of one request, from its header to its log line.

pub mod client;
mod context;
mod outcome;
pub mod trace;

pub use context::{Attempt, ExchangeFailure, RequestContext};
pub use outcome::Outcome;
pub use trace::RequestTrace;
