//! The problem documents for errors of the domain and the store.

use std::borrow::Cow;

use proto_contracts::ErrorCode;
use proto_contracts::error::FieldError;
use proto_contracts::stateful::{MAX_CLIENT_DATA_BYTES, MAX_MESSAGE_BYTES, MAX_OWNED_SESSIONS};
use service_kit::problem::{ApiError, sentence};
use service_kit::tokens::invalid_token;

use super::entity_tags::precondition_failed;
use crate::domain::client_data::{InvalidClientData, Unreadable};
use crate::domain::message::InvalidMessage;
use crate::store::{
    AdoptError, AppendError, CreateError, DeleteError, PatchError, ReadError, StoreFault,
};

impl From<InvalidClientData> for ApiError {
    fn from(error: InvalidClientData) -> Self {
        match error {
            InvalidClientData::NotAnObject => invalid_field("/client_data", "must be an object"),
            InvalidClientData::TooLarge { .. } => {
                let fault = format!("must have at most {MAX_CLIENT_DATA_BYTES} bytes");
                let fault = FieldError::in_body("/client_data", fault);
                Self::new(ErrorCode::ClientDataTooLarge, sentence(error)).with_errors([fault])
            }
            InvalidClientData::Unreadable(Unreadable { pointer, fault }) => {
                invalid_field(format!("/client_data{pointer}"), fault.to_string())
            }
            InvalidClientData::Internal(error) => Self::internal(error),
        }
    }
}

impl From<InvalidMessage> for ApiError {
    fn from(error: InvalidMessage) -> Self {
        match error {
            InvalidMessage::Empty => invalid_field("/message", "must not be empty"),
            InvalidMessage::TooLarge { .. } => {
                let fault = format!("must have at most {MAX_MESSAGE_BYTES} bytes");
                let fault = FieldError::in_body("/message", fault);
                Self::new(ErrorCode::MessageTooLarge, sentence(error)).with_errors([fault])
            }
        }
    }
}

impl From<CreateError> for ApiError {
    fn from(error: CreateError) -> Self {
        match error {
            CreateError::Exists => Self::internal(error),
            CreateError::Deleted => {
                let detail =
                    "The session created with this Idempotency-Key was deleted; use a new key.";
                Self::new(ErrorCode::SessionNotFound, detail)
            }
            CreateError::KeyReused => key_reused(),
            CreateError::TooMany => too_many_sessions(),
            CreateError::Revoked => revoked(),
            CreateError::Store(fault) => {
                let unknown = "Retry, with the same Idempotency-Key if the request had one; an \
                               unused session expires.";
                write_failed(fault, unknown)
            }
        }
    }
}

/// Of the list of a user's sessions, and of their end.
impl From<StoreFault> for ApiError {
    fn from(fault: StoreFault) -> Self {
        match fault {
            StoreFault::Unavailable(_) => read_failed(fault),
            fault => write_failed(fault, "Repeat the request: it does no harm."),
        }
    }
}

impl From<ReadError> for ApiError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::NotFound => not_found(),
            ReadError::Revoked => revoked(),
            ReadError::Store(fault) => read_failed(fault),
        }
    }
}

impl From<AppendError> for ApiError {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::NotFound => not_found(),
            AppendError::Full => {
                let detail =
                    "The session has reached the maximum number of messages; create a new session.";
                Self::new(ErrorCode::SessionFull, detail)
            }
            AppendError::PreconditionFailed => precondition_failed(),
            AppendError::KeyReused => key_reused(),
            AppendError::Revoked => revoked(),
            AppendError::Store(fault) => write_failed(fault, RETRY_IF_KEYED),
        }
    }
}

impl From<PatchError> for ApiError {
    fn from(error: PatchError) -> Self {
        match error {
            PatchError::NotFound => not_found(),
            PatchError::Invalid(error) => error.into(),
            PatchError::Contended => {
                let detail =
                    "Too many concurrent updates of the client data; nothing was changed. Retry.";
                Self::new(ErrorCode::ConcurrentUpdate, detail)
            }
            PatchError::PreconditionFailed => precondition_failed(),
            PatchError::KeyReused => key_reused(),
            PatchError::Revoked => revoked(),
            PatchError::Store(fault) => write_failed(fault, RETRY_IF_KEYED),
        }
    }
}

impl From<AdoptError> for ApiError {
    fn from(error: AdoptError) -> Self {
        match error {
            AdoptError::NotFound => not_found(),
            AdoptError::PreconditionFailed => precondition_failed(),
            AdoptError::KeyReused => key_reused(),
            AdoptError::TooMany => too_many_sessions(),
            AdoptError::Revoked => revoked(),
            AdoptError::Store(fault) => {
                write_failed(fault, "Repeat the claim: it returns the same new id.")
            }
        }
    }
}

impl From<DeleteError> for ApiError {
    fn from(error: DeleteError) -> Self {
        match error {
            DeleteError::NotFound => not_found(),
            DeleteError::PreconditionFailed => precondition_failed(),
            DeleteError::Revoked => revoked(),
            DeleteError::Store(fault) => write_failed(fault, "Retry: a delete is idempotent."),
        }
    }
}

fn invalid_field(
    pointer: impl Into<Cow<'static, str>>,
    fault: impl Into<Cow<'static, str>>,
) -> ApiError {
    ApiError::invalid(ErrorCode::InvalidBody, vec![FieldError::in_body(pointer, fault)])
}

pub(super) fn not_found() -> ApiError {
    ApiError::new(
        ErrorCode::SessionNotFound,
        "The session never existed, has expired, or was deleted; create a new one.",
    )
}

/// 401 for a token that was issued before its user's last revocation.
pub(super) fn revoked() -> ApiError {
    invalid_token("The token was revoked; log in again.")
}

fn key_reused() -> ApiError {
    let detail = "This Idempotency-Key was used with a different request; generate a new key for \
                  each request.";
    ApiError::new(ErrorCode::IdempotencyKeyReused, detail)
}

fn too_many_sessions() -> ApiError {
    let detail = format!(
        "You have {MAX_OWNED_SESSIONS} sessions, the most that a user can have; end one that you \
         no longer need."
    );
    ApiError::new(ErrorCode::TooManySessions, detail)
}

// The cause of an outage is not attached here: the store logs it once, not once per request.

fn read_failed(fault: StoreFault) -> ApiError {
    match fault {
        StoreFault::Unavailable(_) | StoreFault::NoResponse(_) | StoreFault::Unfinished(_) => {
            ApiError::new(
                ErrorCode::SessionStoreUnavailable,
                "The session store is unavailable; retry shortly.",
            )
        }
        StoreFault::Damaged(_) => ApiError::internal(fault),
    }
}

/// How to proceed after a write of unknown outcome.
const RETRY_IF_KEYED: &str =
    "Retry if the request had an Idempotency-Key; otherwise read the session first.";

fn write_failed(fault: StoreFault, when_unknown: &str) -> ApiError {
    let code = ErrorCode::SessionStoreUnavailable;
    match fault {
        StoreFault::Unavailable(_) => ApiError::new(
            code,
            "The session store is unavailable; nothing was changed. Retry shortly.",
        ),
        StoreFault::NoResponse(_) | StoreFault::Unfinished(_) => {
            let unknown = "The outcome is unknown: the session store did not respond, and the \
                           write may have been made.";
            ApiError::new(code, format!("{unknown} {when_unknown}"))
        }
        StoreFault::Damaged(_) => ApiError::internal(fault),
    }
}
