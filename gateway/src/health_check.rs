//! Which instances are there and how they are: health checks, discovery by DNS, and ejection.
//!
//! [`checks`] runs them as services beside the data plane. What they find goes to the pools.

pub mod checks;
mod discovery;
mod drain_client;
pub mod ejector;
mod prober;

pub use drain_client::TellError;
pub use prober::Prober;
