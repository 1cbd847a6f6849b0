//! Size limits of headers.

/// Size limits of a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeaderLimits {
    /// Maximum number of fields.
    pub fields: usize,
    /// Maximum bytes, including the request line and the empty line at the end.
    pub bytes: usize,
    /// Maximum bytes of the target.
    pub target_bytes: usize,
}
