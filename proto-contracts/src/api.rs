//! The API, as one table: each operation with its method, paths, pool, types, errors and limits.
//!
//! The services mount it, the gateway resolves paths by it, and the OpenAPI document is generated
//! from it. A new operation is a row in `table.rs`, its details beside those of its service, and
//! a handler: a service does not compile without a handler for each of its rows.

mod accounts;
mod document;
mod files;
mod stateful;
mod stateless;
mod table;

pub use document::document;
pub use table::{Endpoint, Operation, StatefulHandlers, StatelessHandlers, Templates, operations};
