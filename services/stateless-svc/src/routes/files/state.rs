//! The state of handlers of files, and the errors that they share.

use proto_contracts::ErrorCode;
use proto_contracts::files as wire;
use service_kit::problem::ApiError;

use crate::domain::file::StoredFile;
use crate::routes::idempotency::Repetitions;
use crate::store::StoreError;
use crate::store::files::{BlobError, Blobs, FileMetrics, Files};

/// Shared by the handlers of all workers.
pub struct FilesState {
    /// The rows of files.
    pub files: Files,
    /// Their content.
    pub blobs: Blobs,
    /// Counts uploads.
    pub metrics: FileMetrics,
    /// Recognizes repeated requests.
    pub repetitions: Repetitions,
}

pub(super) fn to_wire(file: StoredFile) -> wire::File {
    let StoredFile { id, name, size, sha256, content_type, created_at } = file;
    let (id, sha256) = (id.to_string(), sha256.to_string());
    wire::File { id, name, size, sha256, content_type, created_at: created_at.into() }
}

pub(super) fn not_found() -> ApiError {
    ApiError::new(ErrorCode::FileNotFound, "There is no such file, or it is not yours.")
}

pub(super) fn store_failed(error: StoreError) -> ApiError {
    if !error.is_outage() {
        return ApiError::internal(error);
    }
    let detail = "What is known of files is temporarily unavailable, and the outcome of a change is \
                  unknown; repeat the request shortly.";
    ApiError::new(ErrorCode::DatabaseUnavailable, detail).caused_by(error)
}

pub(super) fn content_failed(error: BlobError) -> ApiError {
    let detail = "The content of files is temporarily unavailable; repeat the request shortly.";
    ApiError::new(ErrorCode::FileStorageUnavailable, detail).caused_by(error)
}
