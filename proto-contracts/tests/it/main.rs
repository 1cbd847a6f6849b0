//! Tests of the contract against the files of the repository.

#![expect(clippy::expect_used, reason = "tests fail by panicking")]

mod error_pages;
mod openapi;
