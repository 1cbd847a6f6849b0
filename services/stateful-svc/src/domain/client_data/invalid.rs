//! Why a client's JSON is rejected.

use proto_contracts::stateful::MAX_CLIENT_DATA_BYTES;

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
    /// It is valid JSON, but parsers may read it differently: see the source.
    #[error("client_data is not interoperable JSON")]
    Unreadable(#[from] serde_json::Error),
}
