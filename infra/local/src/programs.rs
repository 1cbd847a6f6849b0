//! Installed programs, and the users that they run as.

use std::env;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::unistd::{User, getuid};

use crate::error::StackError;
use crate::process::RunAs;

/// Finds an installed program on the path or in the `sbin` folders, which a user's path may lack.
pub fn find_program(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|dir| dir.join(program))
        .find(|candidate| candidate.is_file())
}

/// Finds a program of the Debian package.
pub(crate) fn find(program: &'static str, package: &'static str) -> Result<PathBuf, StackError> {
    find_program(program).ok_or(StackError::NotInstalled { program, package })
}

/// The first existing user of these names, for a program that must not run as root. `None` when we
/// are not root.
pub(crate) fn unprivileged(names: &[&str]) -> Option<RunAs> {
    if !getuid().is_root() {
        return None;
    }
    names
        .iter()
        .find_map(|name| User::from_name(name).ok().flatten())
        .map(|user| RunAs { uid: user.uid.as_raw(), gid: user.gid.as_raw() })
}

/// Whether any user can traverse the folder and all its parents.
pub(crate) fn anyone_can_enter(dir: &Path) -> bool {
    const ENTER: u32 = 0o001;
    dir.ancestors().all(|dir| fs::metadata(dir).is_ok_and(|meta| meta.mode() & ENTER != 0))
}
