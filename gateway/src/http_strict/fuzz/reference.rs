//! Slow and obvious readers of whole inputs, to compare the walkers with.

pub(crate) mod chunked;
pub(crate) mod header;
pub(crate) mod request;
pub(crate) mod response;
