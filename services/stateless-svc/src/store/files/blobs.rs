//! The content of files: in a folder that all instances share, or in S3. A key is made of the
//! file's id alone.

use std::io;
use std::ops::Range;
use std::path;
use std::sync::Arc;

use actix_web::web::Bytes;
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt as _, TryStreamExt as _};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{GetOptions, GetRange, MultipartUpload, ObjectStore, ObjectStoreExt as _};
use service_kit::telemetry::chain;
use tokio::runtime::Handle;

use super::s3::{self, Misconfigured};
use crate::blob_target::{BlobTarget, S3Settings};
use crate::domain::file::FileId;

/// How much of an upload is in memory: a write of a file.
const FOLDER_PART: usize = 128 * 1024;
/// The same for S3, whose parts have at least 5 MiB. With 10,000 parts, a file has up to 50 GiB.
const S3_PART: usize = 5 * 1024 * 1024;

/// Content could not be read, written or deleted.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// There is none.
    #[error("there is no such content")]
    NotFound,
    /// The store failed.
    #[error("the store of files failed")]
    Store(#[source] object_store::Error),
    /// The folder could not be read or changed.
    #[error("the folder of files cannot be used")]
    Folder(#[source] io::Error),
    /// The settings must be changed.
    #[error(transparent)]
    Misconfigured(#[from] Misconfigured),
}

impl From<object_store::Error> for BlobError {
    fn from(error: object_store::Error) -> Self {
        match error {
            object_store::Error::NotFound { .. } => Self::NotFound,
            error => Self::Store(error),
        }
    }
}

/// Reads and writes content. Cheap to clone.
#[derive(Clone)]
pub struct Blobs {
    store: Arc<dyn ObjectStore>,
    prefix: Path,
    /// Where unfinished uploads are files, too.
    folder: Option<Arc<path::Path>>,
    part: usize,
}

impl Blobs {
    /// Content at this place. Nothing is read or written yet.
    ///
    /// # Errors
    /// When the settings fit no place.
    pub fn new(target: &BlobTarget, s3: &S3Settings) -> Result<Self, BlobError> {
        match target {
            BlobTarget::Folder(folder) => Ok(Self {
                store: Arc::new(LocalFileSystem::new().with_fsync(true)),
                prefix: Path::from_absolute_path(folder).map_err(object_store::Error::from)?,
                folder: Some(Arc::from(folder.as_path())),
                part: FOLDER_PART,
            }),
            BlobTarget::S3 { bucket, prefix } => {
                if s3.access_key.is_some() != s3.secret_key.is_some() {
                    return Err(Misconfigured::HalfOfAKey.into());
                }
                Ok(Self {
                    store: Arc::new(s3::client(bucket, s3)?),
                    prefix: Path::parse(prefix).map_err(object_store::Error::from)?,
                    folder: None,
                    part: S3_PART,
                })
            }
        }
    }

    /// Looks for content: S3 that is there tells what is wrong with the settings. S3 that is gone
    /// is only logged, since it may come back.
    ///
    /// # Errors
    /// [`BlobError::Misconfigured`]
    pub async fn check(&self) -> Result<(), BlobError> {
        if self.folder.is_some() {
            return Ok(());
        }
        // No file has this name, so 404 is well. A list tells more of the bucket.
        let mut error = self.store.get(&self.prefix.clone().join("start")).await.err();
        if matches!(error, Some(object_store::Error::NotFound { .. })) {
            error = self.store.list(Some(&self.prefix)).next().await.and_then(Result::err);
        }
        let Some(error) = error else { return Ok(()) };
        match s3::fault(&error) {
            Some(fault) => {
                tracing::error!(cause = chain(&error), "the bucket of files cannot be used");
                Err(fault.into())
            }
            None => {
                tracing::warn!(cause = chain(&error), "the bucket of files cannot be reached yet");
                Ok(())
            }
        }
    }

    /// Begins to write content, which exists only once it is complete. What fits into one part is
    /// one request at its end.
    pub fn write(&self, id: FileId) -> BlobWriter {
        BlobWriter {
            store: Arc::clone(&self.store),
            key: self.key(id),
            upload: None,
            buffer: Vec::new(),
            part: self.part,
        }
    }

    /// Reads a part of content, piece by piece.
    ///
    /// # Errors
    /// See [`BlobError`].
    pub async fn read(
        &self,
        id: FileId,
        range: Range<u64>,
    ) -> Result<BoxStream<'static, Result<Bytes, BlobError>>, BlobError> {
        let options = GetOptions::new().with_range(Some(GetRange::Bounded(range)));
        let found = self.store.get_opts(&self.key(id), options).await?;
        Ok(found.into_stream().map_err(BlobError::from).boxed())
    }

    /// Deletes content, and what there is of an upload of it, if there is any.
    ///
    /// # Errors
    /// See [`BlobError`].
    pub async fn delete(&self, id: FileId) -> Result<(), BlobError> {
        match self.store.delete(&self.key(id)).await.map_err(BlobError::from) {
            Ok(()) | Err(BlobError::NotFound) => {}
            Err(error) => return Err(error),
        }
        let Some(folder) = self.folder.clone() else { return Ok(()) };
        in_background(move || {
            let shard = folder.join(shard(id));
            for name in names(&shard)? {
                if of_name(&name) == Some(id) {
                    ignore_missing(std::fs::remove_file(shard.join(name)))?;
                }
            }
            Ok(())
        })
        .await
    }

    /// The ids of all content, and of all uploads in a folder; some twice. S3 keeps uploads that
    /// were given up apart, where a rule of the bucket deletes them.
    pub fn list(&self) -> BoxStream<'static, Result<FileId, BlobError>> {
        let Some(folder) = self.folder.clone() else {
            let prefix = self.prefix.clone();
            let found = self.store.list(Some(&prefix)).map_err(BlobError::from);
            let id = |path: Path| path.filename().and_then(of_key);
            return found.try_filter_map(move |meta| async move { Ok(id(meta.location)) }).boxed();
        };
        let shards = stream::iter(0..=u8::MAX).then(move |shard| {
            let shard = folder.join(format!("{shard:02x}"));
            in_background(move || Ok(names(&shard)?.iter().filter_map(|n| of_name(n)).collect()))
        });
        shards
            .map_ok(|ids: Vec<FileId>| stream::iter(ids.into_iter().map(Ok)))
            .try_flatten()
            .boxed()
    }

    /// Its last two digits spread files over folders; the first ones are the time.
    fn key(&self, id: FileId) -> Path {
        self.prefix.clone().join(shard(id)).join(id.to_string())
    }
}

/// Content that is being written. Dropped, it is given up, and its parts are deleted.
pub struct BlobWriter {
    store: Arc<dyn ObjectStore>,
    key: Path,
    /// Once a part was written.
    upload: Option<Box<dyn MultipartUpload>>,
    buffer: Vec<u8>,
    part: usize,
}

impl BlobWriter {
    /// Goes on with these bytes. Waits until they are written, so that no more are in memory.
    ///
    /// # Errors
    /// See [`BlobError`].
    pub async fn write(&mut self, mut bytes: &[u8]) -> Result<(), BlobError> {
        while !bytes.is_empty() {
            if self.buffer.capacity() == 0 {
                // Its pages are taken as it fills. Grown step by step, it would take up to twice
                // as much.
                self.buffer.reserve_exact(self.part);
            }
            let (now, later) = bytes.split_at(bytes.len().min(self.part - self.buffer.len()));
            self.buffer.extend_from_slice(now);
            bytes = later;
            if self.buffer.len() == self.part {
                self.flush().await?;
            }
        }
        Ok(())
    }

    /// Ends the content: it exists now, and survives a loss of power.
    ///
    /// # Errors
    /// See [`BlobError`].
    pub async fn complete(mut self) -> Result<(), BlobError> {
        if self.upload.is_none() {
            let content = std::mem::take(&mut self.buffer);
            self.store.put(&self.key, content.into()).await?;
            return Ok(());
        }
        if !self.buffer.is_empty() {
            self.flush().await?;
        }
        if let Some(upload) = &mut self.upload {
            upload.complete().await?;
        }
        self.upload = None;
        Ok(())
    }

    /// Deletes what was written.
    ///
    /// # Errors
    /// See [`BlobError`].
    pub async fn abort(mut self) -> Result<(), BlobError> {
        if let Some(mut upload) = self.upload.take() {
            upload.abort().await?;
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), BlobError> {
        let upload = match &mut self.upload {
            Some(upload) => upload,
            none => none.insert(self.store.put_multipart(&self.key).await?),
        };
        let part = std::mem::take(&mut self.buffer);
        upload.put_part(part.into()).await?;
        Ok(())
    }
}

impl Drop for BlobWriter {
    /// A request that is cancelled ends here.
    fn drop(&mut self) {
        let (Some(mut upload), Ok(runtime)) = (self.upload.take(), Handle::try_current()) else {
            return;
        };
        runtime.spawn(async move {
            if let Err(error) = upload.abort().await {
                tracing::debug!(cause = chain(&error), "cannot abort an upload");
            }
        });
    }
}

/// The folder of a file.
fn shard(id: FileId) -> String {
    format!("{:02x}", id.uuid().as_bytes()[15])
}

/// The id in the name of a file: of content, or of an upload, which has a suffix.
fn of_name(name: &str) -> Option<FileId> {
    of_key(name.split_once('#').map_or(name, |(key, _)| key))
}

fn of_key(key: &str) -> Option<FileId> {
    key.parse().ok()
}

/// The names in a folder; none if there is no such folder.
fn names(folder: &path::Path) -> io::Result<Vec<String>> {
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let name = |entry: io::Result<std::fs::DirEntry>| Ok(entry?.file_name().into_string().ok());
    entries.filter_map(|entry| name(entry).transpose()).collect()
}

fn ignore_missing(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

/// Works on files without blocking requests.
async fn in_background<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, BlobError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|ended| Err(io::Error::other(ended))).map_err(BlobError::Folder)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn blobs(folder: &tempfile::TempDir) -> Blobs {
        let s3 = S3Settings {
            endpoint: None,
            region: String::new(),
            access_key: None,
            secret_key: None,
        };
        let target = BlobTarget::Folder(PathBuf::from(folder.path()).join("not yet there"));
        Blobs::new(&target, &s3).expect("a store")
    }

    async fn all(blobs: &Blobs) -> Vec<FileId> {
        blobs.list().try_collect().await.expect("lists")
    }

    async fn content(blobs: &Blobs, id: FileId, range: Range<u64>) -> Vec<u8> {
        let pieces = blobs.read(id, range).await.expect("reads");
        pieces.try_collect::<Vec<_>>().await.expect("reads").concat()
    }

    #[tokio::test]
    async fn content_exists_when_it_is_complete() {
        let folder = tempfile::tempdir().expect("a folder");
        let (blobs, id) = (blobs(&folder), FileId::new());
        assert_eq!(all(&blobs).await, []);
        let text: Vec<u8> = (0..300_000_u32).map(|n| n as u8).collect();
        let mut writer = blobs.write(id);
        for piece in text.chunks(7_000) {
            writer.write(piece).await.expect("writes");
        }
        assert!(matches!(blobs.read(id, 0..1).await, Err(BlobError::NotFound)));
        writer.complete().await.expect("completes");
        assert_eq!(content(&blobs, id, 0..300_000).await, text);
        assert_eq!(content(&blobs, id, 131_071..131_073).await, &text[131_071..131_073]);
        assert_eq!(all(&blobs).await, [id]);
        blobs.delete(id).await.expect("deletes");
        blobs.delete(id).await.expect("is deleted");
        assert_eq!(all(&blobs).await, []);
    }

    #[tokio::test]
    async fn an_upload_that_was_left_is_found_and_deleted() {
        let folder = tempfile::tempdir().expect("a folder");
        let (blobs, id) = (blobs(&folder), FileId::new());
        let mut writer = blobs.write(id);
        writer.write(&[0; 200_000]).await.expect("writes");
        // As if the process ended.
        std::mem::forget(writer);
        assert_eq!(all(&blobs).await, [id]);
        blobs.delete(id).await.expect("deletes");
        assert_eq!(all(&blobs).await, []);

        let mut writer = blobs.write(id);
        writer.write(&[0; 200_000]).await.expect("writes");
        writer.abort().await.expect("aborts");
        assert_eq!(all(&blobs).await, []);
        // An empty file is one, too.
        blobs.write(id).complete().await.expect("completes");
        assert_eq!(all(&blobs).await, [id]);
    }
}
