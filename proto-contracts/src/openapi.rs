//! OpenAPI 3.1 documents, generated from tables of operations: the API's, the control plane's, the
//! agent's.

mod components;
mod describe;
mod details;
pub mod header;
mod schemas;
mod table;

pub use describe::{About, Described, document};
pub use details::{Body, Caller, Content, DEFAULT_BODY_BYTES, Details, Method, Success};
pub use schemas::SchemaOf;
pub(crate) use table::table;

/// Checks that each example has its type.
#[cfg(test)]
pub(crate) fn check_examples(operations: &[Described<'_>]) {
    assert!(!operations.is_empty());
    for Described { id, details, .. } in operations {
        if let Some(body) = details.body {
            body.example_fits().unwrap_or_else(|error| panic!("body of {id}: {error}"));
        }
        if let Some(content) = details.success.content {
            content.example_fits().unwrap_or_else(|error| panic!("response of {id}: {error}"));
        }
        if let Some(content) = details.also.and_then(|also| also.content) {
            content.example_fits().unwrap_or_else(|error| panic!("also of {id}: {error}"));
        }
    }
}
