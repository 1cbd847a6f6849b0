//! Stacks with real programs, several at once.

mod data;
