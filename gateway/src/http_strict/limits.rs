//! How large a header may be.

/// How large a header may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeaderLimits {
    /// The most fields.
    pub fields: usize,
    /// The most bytes, the request line and the empty line at the end included.
    pub bytes: usize,
    /// The most bytes of the target.
    pub target_bytes: usize,
}
