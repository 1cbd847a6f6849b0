//! Health checks, discovery by DNS and outlier ejection.
//!
//! They run as background services beside the data plane and update the pools.

pub mod checks;
mod class_client;
mod dialer;
mod discovery;
mod drain_client;
pub mod ejector;
mod prober;

pub use discovery::{LookupError, lookup};
pub use drain_client::DrainRequestError;
pub use prober::Prober;
