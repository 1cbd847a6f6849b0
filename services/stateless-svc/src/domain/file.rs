//! Files of users: their names, types and ids. A name is text that is shown, never a path.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use proto_contracts::files::MAX_FILE_NAME_BYTES;
use serde_json::{Value, json};
use unicode_normalization::UnicodeNormalization as _;
use uuid::Uuid;

use super::hex;

pub mod content_type;
pub mod disposition;
pub mod range;

/// The least that a file counts for, in bytes: its row, and a block of a disk. Without it, a quota
/// would allow any number of empty files.
pub const LEAST_CHARGE: u64 = 4096;

/// Identifies a file, and is the key of its content: a UUID of version 7, so in the order of
/// uploads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId(Uuid);

impl FileId {
    /// Of a file that is uploaded now.
    pub fn new() -> Self {
        Self(Uuid::now_v7())
    }

    /// The id.
    pub const fn uuid(&self) -> &Uuid {
        &self.0
    }
}

impl Default for FileId {
    fn default() -> Self {
        Self::new()
    }
}

impl From<Uuid> for FileId {
    fn from(uuid: Uuid) -> Self {
        Self(uuid)
    }
}

impl fmt::Display for FileId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The text is not the id of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is not the id of a file")]
pub struct InvalidFileId;

impl FromStr for FileId {
    type Err = InvalidFileId;

    /// Only the one spelling that the API issues.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let id = Uuid::from_str(text).map(Self).map_err(|_| InvalidFileId)?;
        if id.to_string() == text { Ok(id) } else { Err(InvalidFileId) }
    }
}

/// The name that a file's owner gave it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileName(String);

impl FileName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Why a name is rejected. Never quotes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidFileName {
    /// Nothing is left of it.
    #[error("The file's name is empty.")]
    Empty,
    /// Longer than file systems allow.
    #[error("The file's name is longer than 255 bytes of UTF-8.")]
    TooLong,
    /// It names a folder, or a path.
    #[error("The file's name is a path: send its last segment alone.")]
    Path,
    /// Such as a line break, or what reverses the direction of text to hide an extension.
    #[error("The file's name has characters that are not shown.")]
    Hidden,
}

impl FromStr for FileName {
    type Err = InvalidFileName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let name: String = text.trim().nfc().collect();
        if name.is_empty() {
            return Err(InvalidFileName::Empty);
        }
        if name.len() > MAX_FILE_NAME_BYTES {
            return Err(InvalidFileName::TooLong);
        }
        if name.contains(['/', '\\']) || matches!(&*name, "." | "..") {
            return Err(InvalidFileName::Path);
        }
        if name.contains(is_hidden) {
            return Err(InvalidFileName::Hidden);
        }
        Ok(Self(name))
    }
}

/// Control characters, separators of lines, and marks that change the direction of text.
fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}')
}

/// A SHA-256.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sha256(pub [u8; 32]);

impl fmt::Display for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(&self.0))
    }
}

/// A stored file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredFile {
    pub id: FileId,
    pub name: String,
    pub size: u64,
    pub sha256: Sha256,
    pub content_type: String,
    pub created_at: Timestamp,
}

impl StoredFile {
    /// What the audit log shows of it.
    pub fn snapshot(&self) -> Value {
        let Self { id, name, size, sha256, content_type, created_at: _ } = self;
        json!({ "id": id.to_string(), "name": name, "size": size, "sha256": sha256.to_string(),
                "content_type": content_type })
    }
}

/// A page of a user's files: up to `limit` before one, the newest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilePageRequest {
    pub limit: u32,
    pub before: Option<FileId>,
}

/// How large files may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileLimits {
    /// One file, in bytes.
    pub file: u64,
    /// All files of a user, in bytes.
    pub quota: u64,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_name_is_what_people_can_see() {
        for good in [
            "report.pdf",
            " a b ",
            "Ω.txt",
            "CON",
            "nul.txt",
            "..a",
            "a..",
            ".env",
            "😀",
            "%2e%2e%2f",
            "C:",
            "a;b\"c'd",
            "-rf *",
            "&lt;b&gt;",
            "$(id)",
        ] {
            let name: FileName = good.parse().unwrap_or_else(|error| panic!("{good}: {error}"));
            assert_eq!(name.as_str(), good.trim());
        }
        // One character, however it was composed.
        assert_eq!("e\u{301}".parse::<FileName>().map(|name| name.0), Ok("\u{e9}".to_owned()));
        let long = "x".repeat(256);
        for (bad, error) in [
            ("", InvalidFileName::Empty),
            (" \t ", InvalidFileName::Empty),
            (&*long, InvalidFileName::TooLong),
            (".", InvalidFileName::Path),
            ("..", InvalidFileName::Path),
            ("../../etc/passwd", InvalidFileName::Path),
            ("..\\boot.ini", InvalidFileName::Path),
            ("/", InvalidFileName::Path),
            ("a\0.txt", InvalidFileName::Hidden),
            ("a\r\nX: y", InvalidFileName::Hidden),
            ("gpj.\u{202e}exe", InvalidFileName::Hidden),
            ("a\u{7f}", InvalidFileName::Hidden),
            ("a\u{85}b", InvalidFileName::Hidden),
            ("\u{feff}a", InvalidFileName::Hidden),
        ] {
            assert_eq!(bad.parse::<FileName>(), Err(error), "{bad:?}");
        }
    }

    #[test]
    fn an_id_has_one_spelling() {
        let id = FileId::new();
        let text = id.to_string();
        assert_eq!(text.parse(), Ok(id));
        for bad in [
            text.to_uppercase(),
            text.replace('-', ""),
            format!("{{{text}}}"),
            format!("urn:uuid:{text}"),
            String::new(),
            "../x".to_owned(),
        ] {
            assert_eq!(bad.parse::<FileId>(), Err(InvalidFileId), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn an_accepted_name_is_no_path_and_no_header(text in any::<String>()) {
            if let Ok(name) = text.parse::<FileName>() {
                let name = name.as_str();
                prop_assert!(!name.is_empty() && name.len() <= 255);
                prop_assert!(!name.contains(['/', '\\', '\0', '\r', '\n']));
                prop_assert!(name != "." && name != "..");
                // Kept names are accepted again.
                prop_assert_eq!(name.parse::<FileName>().map(|again| again.0), Ok(name.to_owned()));
            }
        }
    }
}
