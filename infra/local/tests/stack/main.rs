//! Stacks with real programs, several at once.

mod agent;
mod command_line;
mod data;
mod whole;
