//! OpenAPI 3.1 documents, generated from tables of operations: the API's, the control plane's, the
//! agent's.

mod components;
mod describe;
mod details;
pub mod header;
mod schemas;

pub use describe::{About, Described, document};
pub use details::{Body, Caller, Content, DEFAULT_BODY_BYTES, Details, Method, Success};
pub use schemas::SchemaOf;
