//! What the service computes and what a product is. No HTTP, no database.

pub mod calculation;
pub mod drawing;
pub mod product;
