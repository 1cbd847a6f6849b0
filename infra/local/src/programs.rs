//! Programs of the distribution, and the users that some of them run as.

use std::env;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::unistd::{User, getuid};

use crate::error::StackError;
use crate::process::RunAs;

/// Finds a program on the path, or where Debian keeps servers even when the path of a user lacks it.
pub(crate) fn find(program: &'static str, package: &'static str) -> Result<PathBuf, StackError> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|dir| dir.join(program))
        .find(|candidate| candidate.is_file())
        .ok_or(StackError::NotInstalled { program, package })
}

/// The user that a program runs as which refuses to run as root: the first of the names that exists. `None`: we are
/// not root, so everything runs as we do.
pub(crate) fn unprivileged(names: &[&str]) -> Option<RunAs> {
    if !getuid().is_root() {
        return None;
    }
    names
        .iter()
        .find_map(|name| User::from_name(name).ok().flatten())
        .map(|user| RunAs { uid: user.uid.as_raw(), gid: user.gid.as_raw() })
}

/// Whether any user can pass through the folder and all above it.
pub(crate) fn anyone_can_enter(dir: &Path) -> bool {
    const ENTER: u32 = 0o001;
    dir.ancestors().all(|dir| fs::metadata(dir).is_ok_and(|meta| meta.mode() & ENTER != 0))
}
