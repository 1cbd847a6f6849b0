//! What keeps a few failing parts, or too many clients, from failing everybody.
//!
//! Each part is a policy of its own section of the configuration, and state that the data path reads and writes without a
//! lock: [`outlier`] leaves out an instance that keeps failing requests.

pub mod outlier;
