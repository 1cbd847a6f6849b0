//! Slow and obvious readers of whole inputs, to compare the walkers with.

pub(crate) mod chunked;
