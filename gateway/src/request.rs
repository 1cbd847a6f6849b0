//! The state of one request, from its header to its log line.

pub mod client;
mod context;
mod head;
mod ip_text;
mod outcome;
pub mod trace;

pub use context::{Attempt, ExchangeFailure, RequestContext};
pub use head::{FieldLines, FieldSink, RequestHead, ResponseHead};
pub use ip_text::IpText;
pub use outcome::{Finished, Outcome};
pub use trace::RequestTrace;
