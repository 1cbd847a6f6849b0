//! Calculations, random numbers and products. No HTTP, no database.

pub mod calculation;
pub mod drawing;
pub mod product;
