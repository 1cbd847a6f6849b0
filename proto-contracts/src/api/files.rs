//! The details of the operations on files.

use crate::accounts::Role;
use crate::error::ErrorCode;
use crate::files::{File, FilePage, FilesQuery};
use crate::openapi::{Caller, Details, header};

const TAG: &str = "Files";

const FILE: &str = r#"{"id": "019ac8f5-7a3b-7c35-8d21-5e0f6a7b8c9d", "name": "report.pdf",
    "size": 4096, "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "content_type": "application/pdf", "created_at": "2026-11-28T17:00:00.123Z"}"#;

/// An operation on files of the caller.
const fn on_files(summary: &'static str) -> Details {
    Details::new(TAG, summary)
        .called_by(Caller::User(Role::User))
        .fails_with(&[ErrorCode::DatabaseUnavailable])
}

/// An operation on one file of the caller.
const fn on_file(summary: &'static str) -> Details {
    on_files(summary).fails_with(&[ErrorCode::FileNotFound])
}

pub(super) const UPLOAD_FILE: Details = on_files("Upload a file")
    .described_as(
        "The body is the file, and `Content-Disposition` has its name. Or it is a form \
         (`multipart/form-data`) with the file as its one part. The media type is found by the \
         content. An upload counts against the quota before it begins, with its `Content-Length`; a \
         file counts for at least 4 KiB. One that breaks off leaves nothing.",
    )
    .takes(&[header::CONTENT_DISPOSITION])
    .upload()
    .returns::<File>(201, "The file.", FILE)
    .with_headers(&[header::LOCATION])
    .identifies("file_id", "/id")
    .fails_with(&[
        ErrorCode::InvalidFileName,
        ErrorCode::InvalidForm,
        ErrorCode::UnsupportedMediaType,
        ErrorCode::FileQuotaExceeded,
        ErrorCode::FileStorageUnavailable,
    ])
    .keyed();

pub(super) const LIST_FILES: Details = on_files("List your files")
    .described_as("One page, the newest file first.")
    .query::<FilesQuery>()
    .returns::<FilePage>(
        200,
        "The page.",
        r#"{"files": [{"id": "019ac8f5-7a3b-7c35-8d21-5e0f6a7b8c9d", "name": "report.pdf",
            "size": 4096,
            "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
            "content_type": "application/pdf", "created_at": "2026-11-28T17:00:00.123Z"}],
            "next_cursor": null}"#,
    )
    .with_headers(&[header::LINK])
    .fails_with(&[ErrorCode::InvalidCursor]);

pub(super) const GET_FILE: Details = on_file("Read what is known of a file")
    .described_as("Of your own file; others get 404.")
    .returns::<File>(200, "The file.", FILE);

pub(super) const DOWNLOAD_FILE: Details = on_file("Download a file")
    .described_as(
        "The bytes, or one range of them. The `ETag` is the SHA-256. Browsers save the file and \
         never show it as a page of this origin.",
    )
    .takes(&[header::RANGE, header::IF_RANGE])
    .returns_file("The content.")
    .also(206, "The range.")
    .with_headers(&[header::ATTACHMENT, header::ACCEPT_RANGES, header::CONTENT_RANGE])
    .conditional()
    .fails_with(&[ErrorCode::RangeNotSatisfiable, ErrorCode::FileStorageUnavailable]);

pub(super) const DELETE_FILE: Details = on_file("Delete a file")
    .described_as("Final. Of your own file; others get 404.")
    .returns_nothing(204, "Deleted.")
    .keyed();
