//! Why a client's JSON is rejected.

use proto_contracts::stateful::{MAX_CLIENT_DATA_BYTES, MAX_CLIENT_DATA_DEPTH};

/// Why a JSON value cannot be client data, or a patch of it.
#[derive(Debug, thiserror::Error)]
pub enum InvalidClientData {
    #[error("client_data is not an object")]
    NotAnObject,
    /// It, or the result of the patch, is too large.
    #[error(
        "client_data would be {bytes} bytes of compact JSON; the limit is {MAX_CLIENT_DATA_BYTES}"
    )]
    TooLarge { bytes: usize },
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    /// JSON that was valid before could not be composed.
    #[error("client_data could not be composed")]
    Internal(#[from] serde_json::Error),
}

/// It is valid JSON, but parsers may read it differently.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("client_data{pointer} is not interoperable JSON")]
pub struct Unreadable {
    /// The JSON Pointer of the value, or of one around it if that would be long.
    pub pointer: String,
    pub fault: JsonFault,
}

/// The fault of a JSON value, as the rest of a sentence about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JsonFault {
    #[error("is given more than once")]
    DuplicateMember,
    #[error("is nested deeper than {MAX_CLIENT_DATA_DEPTH} levels")]
    TooDeep,
    #[error("must be within the range of 64-bit floating-point numbers")]
    OutOfRange,
    #[error("has an escape \\ud800 to \\udfff that is half of a pair")]
    HalfOfPair,
}
