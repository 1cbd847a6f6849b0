//! The HTTP status of each error code.

use std::fmt;

use crate::error::codes::ErrorCode;

impl ErrorCode {
    /// The code of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|code| code.as_str() == name)
    }

    /// The path of the page about the code.
    pub fn page_path(self) -> String {
        format!("/docs/errors/{self}")
    }

    /// The code's HTTP status.
    pub const fn status(self) -> u16 {
        match self {
            Self::BadRequest
            | Self::MalformedJson
            | Self::InvalidQuery
            | Self::InvalidSessionId
            | Self::InvalidProductId
            | Self::InvalidCursor
            | Self::InvalidIdempotencyKey
            | Self::InvalidFileName
            | Self::InvalidForm
            | Self::InvalidEntityTag
            | Self::InvalidLastEventId
            | Self::InvalidStrategy => 400,
            Self::Unauthorized
            | Self::InvalidToken
            | Self::InvalidCredentials
            | Self::InvalidRefreshToken
            | Self::InvalidInvitation
            | Self::InvalidTicket => 401,
            Self::OriginNotAllowed | Self::Forbidden | Self::WrongClassCode => 403,
            Self::NotFound
            | Self::SessionNotFound
            | Self::ProductNotFound
            | Self::UserNotFound
            | Self::FileNotFound
            | Self::PoolNotFound
            | Self::InstanceNotFound => 404,
            Self::MethodNotAllowed => 405,
            Self::RequestTimeout => 408,
            Self::ConcurrentUpdate
            | Self::SessionFull
            | Self::TooManySessions
            | Self::FileQuotaExceeded
            | Self::InstanceExists
            | Self::UsernameTaken
            | Self::UserHasPassword
            | Self::ProductExists
            | Self::OutOfStock
            | Self::LastAdmin
            | Self::LastInstance
            | Self::WrongState
            | Self::WrongLessonState
            | Self::UpgradeInProgress => 409,
            Self::PreconditionFailed => 412,
            Self::BodyTooLarge | Self::MessageTooLarge | Self::ClientDataTooLarge => 413,
            Self::UriTooLong => 414,
            Self::UnsupportedMediaType => 415,
            Self::RangeNotSatisfiable => 416,
            Self::ExpectationFailed => 417,
            Self::MisdirectedRequest => 421,
            Self::InvalidBody
            | Self::IdempotencyKeyReused
            | Self::InvalidOperands
            | Self::WeakPassword
            | Self::DivisionByZero
            | Self::ResultNotFinite
            | Self::InvalidInstance
            | Self::WrongInstance
            | Self::InvalidConfig => 422,
            Self::UpgradeRequired => 426,
            Self::RateLimited | Self::TooManyInFlight | Self::TooManyClientStreams => 429,
            Self::HeaderTooLarge => 431,
            Self::Internal | Self::ComponentFailed => 500,
            Self::UpstreamFailed => 502,
            Self::NoInstanceAvailable
            | Self::Overloaded
            | Self::TooManyConnections
            | Self::TooManyStreams
            | Self::SessionStoreUnavailable
            | Self::LoginsUnavailable
            | Self::TokenKeysUnavailable
            | Self::DatabaseUnavailable
            | Self::CacheUnavailable
            | Self::FileStorageUnavailable => 503,
            Self::UpstreamTimeout => 504,
            Self::VersionNotSupported => 505,
            Self::StateNotSaved => 507,
        }
    }

    /// Seconds until a retry may succeed (`Retry-After`), for the codes that have it.
    pub const fn retry_after_s(self) -> Option<u32> {
        match self.status() {
            429 | 503 => Some(1),
            _ => None,
        }
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
