//! The folder of Nginx's cache in `/dev/shm`.

use std::fs;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use nix::unistd::getuid;
use sha2::{Digest, Sha256};

/// Linux's file system in memory that every user may write to.
const MEMORY: &str = "/dev/shm";

/// Makes the folder; `None` where that is not possible.
pub(crate) fn make_cache(state: &Path) -> Option<PathBuf> {
    let folder = cache(state);
    let made = fs::DirBuilder::new().recursive(true).mode(0o711).create(&folder);
    // The name can be guessed, so another user may have made it.
    let is_ours = || {
        fs::symlink_metadata(&folder)
            .is_ok_and(|meta| meta.is_dir() && meta.uid() == getuid().as_raw())
    };
    (made.is_ok() && is_ours()).then_some(folder)
}

/// Removes the folder.
pub(crate) fn remove_cache(state: &Path) {
    // There is none where Nginx was never started.
    let _ = fs::remove_dir_all(cache(state));
}

/// Named after a hash of the whole path of the state folder.
fn cache(state: &Path) -> PathBuf {
    let hash = Sha256::digest(state.as_os_str().as_encoded_bytes());
    let hash: String = hash.iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    Path::new(MEMORY).join(format!("tandem-{hash}-nginx"))
}
