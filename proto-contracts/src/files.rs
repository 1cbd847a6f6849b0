//! Bodies of `/files`: files of users.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::timestamp::Timestamp;

/// The largest file, in bytes, unless an installation sets another limit.
pub const DEFAULT_MAX_FILE_BYTES: u64 = 50 * 1024 * 1024;
/// The largest body of an upload, in bytes: a file of that size, and the framing of a form.
pub const DEFAULT_MAX_UPLOAD_BYTES: u64 = DEFAULT_MAX_FILE_BYTES + 1024 * 1024;
/// The most bytes of a file's name, as UTF-8.
pub const MAX_FILE_NAME_BYTES: usize = 255;
/// The most files on one page.
pub const MAX_FILES_PAGE: u32 = 100;
/// The files on a page when the client names no `limit`.
pub const DEFAULT_FILES_PAGE: u32 = 20;

/// A file of the caller.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
//
// Generated clients in Python have a type `File` of their own.
#[schemars(rename = "StoredFile")]
pub struct File {
    /// Identifies it: a UUID.
    #[schemars(extend("format" = "uuid"))]
    pub id: String,
    /// Its name, as its owner gave it. It is only shown: no path is made of it.
    pub name: String,
    /// Its length in bytes.
    pub size: u64,
    /// The SHA-256 of its content, hexadecimal.
    #[schemars(regex(pattern = "^[0-9a-f]{64}$"))]
    pub sha256: String,
    /// Its media type, by its first bytes; the name and the client's type have no influence.
    pub content_type: String,
    /// When it was uploaded.
    pub created_at: Timestamp,
}

/// Query of `GET /files`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct FilesQuery {
    /// Page size, 1 to 100; 20 by default.
    #[schemars(range(min = 1, max = 100))]
    pub limit: Option<u32>,
    /// The `next_cursor` of the page before.
    #[schemars(regex(pattern = "^[A-Za-z0-9._~-]+$"))]
    pub cursor: Option<String>,
}

/// One page of the caller's files, the newest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FilePage {
    /// The files.
    pub files: Vec<File>,
    /// Where the next page starts; `null` on the last one.
    pub next_cursor: Option<String>,
}
