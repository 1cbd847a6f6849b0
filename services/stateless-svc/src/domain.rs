//! Calculations, random numbers, products, accounts and tokens. No HTTP, no database.

pub mod account;
pub mod attempts;
pub mod audit;
pub mod calculation;
pub mod drawing;
pub mod file;
mod hex;
pub mod import;
pub mod invitation;
pub mod keyed;
pub mod outcome;
pub mod page;
pub mod product;
pub mod refresh_token;
pub mod refusals;
pub mod revocation;
pub mod wal;
