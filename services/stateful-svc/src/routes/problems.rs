//! What clients are told when the domain or the store says no.

use proto_contracts::ErrorCode;
use service_kit::problem::ApiError;

use super::entity_tags::overtaken;
use super::session_path::sentence;
use crate::domain::client_data::InvalidClientData;
use crate::domain::message::InvalidMessage;
use crate::store::{AppendError, CreateError, DeleteError, PatchError, ReadError, StoreFault};

impl From<InvalidClientData> for ApiError {
    fn from(error: InvalidClientData) -> Self {
        match error {
            InvalidClientData::NotAnObject => {
                Self::new(ErrorCode::InvalidBody, "field `client_data`: expected an object")
            }
            InvalidClientData::TooLarge { .. } => Self::new(ErrorCode::ClientDataTooLarge, sentence(error)),
            InvalidClientData::Unreadable(fault) => {
                Self::new(ErrorCode::InvalidBody, format!("field `client_data`: {fault}"))
            }
        }
    }
}

impl From<InvalidMessage> for ApiError {
    fn from(error: InvalidMessage) -> Self {
        match error {
            InvalidMessage::Empty => Self::new(ErrorCode::InvalidBody, "field `message`: it is empty"),
            InvalidMessage::TooLarge { .. } => Self::new(ErrorCode::MessageTooLarge, sentence(error)),
        }
    }
}

impl From<CreateError> for ApiError {
    fn from(error: CreateError) -> Self {
        match error {
            CreateError::Exists => Self::internal(error),
            CreateError::Deleted => {
                let detail =
                    "The session that this Idempotency-Key created was deleted; create a new one with a new key.";
                Self::new(ErrorCode::SessionNotFound, detail)
            }
            CreateError::KeyReused => key_reused(),
            CreateError::Store(fault) => {
                let unknown = "Repeat the request, with the same Idempotency-Key if it has one; a session that nobody knows \
                               ends by itself.";
                write_failed(fault, unknown)
            }
        }
    }
}

impl From<ReadError> for ApiError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::NotFound => not_found(),
            ReadError::Store(fault) => read_failed(fault),
        }
    }
}

impl From<AppendError> for ApiError {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::NotFound => not_found(),
            AppendError::Full => {
                let detail = "The session holds the most messages that it may; go on in a new one.";
                Self::new(ErrorCode::SessionFull, detail)
            }
            AppendError::Overtaken => overtaken(),
            AppendError::KeyReused => key_reused(),
            AppendError::Store(fault) => write_failed(fault, LOOK_FIRST),
        }
    }
}

impl From<PatchError> for ApiError {
    fn from(error: PatchError) -> Self {
        match error {
            PatchError::NotFound => not_found(),
            PatchError::Invalid(error) => error.into(),
            PatchError::Contended => {
                let detail = "Others kept changing the client data; nothing was changed. Repeat the request.";
                Self::new(ErrorCode::ConcurrentUpdate, detail)
            }
            PatchError::Overtaken => overtaken(),
            PatchError::KeyReused => key_reused(),
            PatchError::Store(fault) => write_failed(fault, LOOK_FIRST),
        }
    }
}

impl From<DeleteError> for ApiError {
    fn from(error: DeleteError) -> Self {
        match error {
            DeleteError::NotFound => not_found(),
            DeleteError::Overtaken => overtaken(),
            DeleteError::Store(fault) => write_failed(fault, "Repeat the request: a delete can be repeated."),
        }
    }
}

fn not_found() -> ApiError {
    ApiError::new(ErrorCode::SessionNotFound, "It never was, it expired, or it was deleted; create a new one.")
}

fn key_reused() -> ApiError {
    let detail = "This Idempotency-Key came before with another request; draw a new one for each new request.";
    ApiError::new(ErrorCode::IdempotencyKeyReused, detail)
}

// The cause of an outage is left out here: the store has told the log of it, once and not for each request.

fn read_failed(fault: StoreFault) -> ApiError {
    match fault {
        StoreFault::Unavailable(_) | StoreFault::NoAnswer(_) | StoreFault::Unfinished(_) => ApiError::new(
            ErrorCode::SessionStoreUnavailable,
            "The session store does not answer; repeat the request soon.",
        ),
        StoreFault::Damaged(_) => ApiError::internal(fault),
    }
}

/// What to do about a write of unknown outcome.
const LOOK_FIRST: &str = "Repeat the request if it has an Idempotency-Key; else read the session first.";

fn write_failed(fault: StoreFault, when_unknown: &str) -> ApiError {
    let code = ErrorCode::SessionStoreUnavailable;
    match fault {
        StoreFault::Unavailable(_) => {
            ApiError::new(code, "The session store does not answer; nothing was changed. Repeat the request soon.")
        }
        StoreFault::NoAnswer(_) | StoreFault::Unfinished(_) => {
            let unknown = "The outcome is unknown; the session store did not answer, and the write may be done or not.";
            ApiError::new(code, format!("{unknown} {when_unknown}"))
        }
        StoreFault::Damaged(_) => ApiError::internal(fault),
    }
}
