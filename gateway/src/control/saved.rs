//! Durable changes: run on a blocking thread, and rejected when they cannot be saved.

use actix_web::web;
use proto_contracts::ErrorCode;
use service_kit::problem::ApiError;

use crate::pool::state_file::{ChangeError, SaveError};

/// Makes a change; `refused` maps the pool's error.
pub(super) async fn change<T, E>(
    change: impl FnOnce() -> Result<T, ChangeError<E>> + Send + 'static,
    refused: impl FnOnce(E) -> ApiError,
) -> Result<T, ApiError>
where
    T: Send + 'static,
    E: Send + 'static,
{
    let panicked = |_| ApiError::new(ErrorCode::Internal, "The change failed; see the log.");
    match web::block(change).await.map_err(panicked)? {
        Ok(done) => Ok(done),
        Err(ChangeError::Refused(error)) => Err(refused(error)),
        Err(ChangeError::NotSaved(error)) => Err(not_saved(&error)),
    }
}

fn not_saved(error: &SaveError) -> ApiError {
    match error {
        SaveError::Io { path, .. } => {
            let folder = path.parent().unwrap_or(path).display();
            let detail = format!(
                "Nothing was changed, because the change could not be saved: {error}. Free space \
                 in {folder} or make it writable, then retry."
            );
            ApiError::new(ErrorCode::StateNotSaved, detail)
        }
        SaveError::Frozen => ApiError::new(
            ErrorCode::UpgradeInProgress,
            "The gateway is being upgraded; retry in a moment.",
        ),
    }
}
