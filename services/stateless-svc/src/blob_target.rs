//! Where content is stored, as the configuration says it.

use std::path::PathBuf;
use std::str::FromStr;

use reqwest::Url;
use secrecy::SecretString;

/// Where content is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BlobTarget {
    /// A folder that all instances share, absolute.
    Folder(PathBuf),
    /// A bucket of S3, and what keys in it begin with.
    S3 {
        /// Its name.
        bucket: String,
        /// Without slashes at its ends; may be empty.
        prefix: String,
    },
}

/// The URL names no place for content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be file:///an/absolute/folder or s3://bucket/prefix")]
pub struct InvalidTarget;

impl FromStr for BlobTarget {
    type Err = InvalidTarget;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let url = Url::parse(text).map_err(|_| InvalidTarget)?;
        if url.query().is_some() || url.fragment().is_some() || !url.username().is_empty() {
            return Err(InvalidTarget);
        }
        match url.scheme() {
            "file" => url.to_file_path().map(Self::Folder).map_err(|()| InvalidTarget),
            "s3" => Ok(Self::S3 {
                bucket: url.host_str().ok_or(InvalidTarget)?.to_owned(),
                prefix: url.path().trim_matches('/').to_owned(),
            }),
            _ => Err(InvalidTarget),
        }
    }
}

/// How S3 is reached.
#[derive(Clone, Debug)]
pub struct S3Settings {
    /// The endpoint of another implementation than Amazon's, such as `http://127.0.0.1:9000`.
    pub endpoint: Option<Url>,
    /// The region.
    pub region: String,
    /// The access key, and its secret. Without both, those of the machine's role are used.
    pub access_key: Option<String>,
    /// The secret of the access key.
    pub secret_key: Option<SecretString>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_a_folder_or_a_bucket() {
        let folder = |path: &str| BlobTarget::Folder(path.into());
        let s3 = |bucket: &str, prefix: &str| BlobTarget::S3 {
            bucket: bucket.to_owned(),
            prefix: prefix.to_owned(),
        };
        for (text, target) in [
            ("file:///var/lib/tandem/files", folder("/var/lib/tandem/files")),
            ("file:/tmp/a%20b", folder("/tmp/a b")),
            ("s3://files", s3("files", "")),
            ("s3://files/tandem/live/", s3("files", "tandem/live")),
        ] {
            assert_eq!(text.parse(), Ok(target), "{text}");
        }
        for bad in [
            "",
            "files",
            "/var/lib/files",
            "file://host/x",
            "https://s3.example/b",
            "s3:",
            "s3://",
            "s3://key:secret@bucket",
            "s3://bucket?x=y",
        ] {
            assert_eq!(bad.parse::<BlobTarget>(), Err(InvalidTarget), "{bad}");
        }
    }
}
