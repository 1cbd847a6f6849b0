//! A small separate file system, so that tests can fill a disk without filling the machine's.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::{Attempt, StackError};

/// The file that fills it.
const FILLER: &str = "filler";
static BLOCK: [u8; 64 * 1024] = [0x5a; 64 * 1024];

/// A mounted file system in memory; unmounted when it is dropped.
#[derive(Debug)]
pub struct SmallDisk {
    dir: PathBuf,
}

impl SmallDisk {
    /// Mounts one of this size in MiB on a folder, which is made if missing.
    ///
    /// # Errors
    /// [`StackError::Tool`] when this process may not mount: that requires root.
    pub fn mount(dir: &Path, mib: u32) -> Result<Self, StackError> {
        fs::create_dir_all(dir).attempt(|| format!("make {}", dir.display()))?;
        let options = format!("size={mib}m,mode=711");
        let mut command = Command::new("mount");
        let output = command.args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(dir).output();
        let output = output.attempt(|| "run mount".to_owned())?;
        if output.status.success() {
            return Ok(Self { dir: dir.to_owned() });
        }
        let message = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        let detail = format!(
            "{message} (a full disk is tested on a separate file system, which requires root)"
        );
        Err(StackError::Tool { what: "mounting a small disk", detail })
    }

    /// Whether this process may mount one.
    pub fn may_mount() -> bool {
        nix::unistd::getuid().is_root()
    }

    /// Fills it to the last byte: every write fails with ENOSPC from now on.
    ///
    /// # Errors
    /// [`StackError::Io`] for any other failure than a full disk.
    pub fn fill(&self) -> Result<(), StackError> {
        let path = self.dir.join(FILLER);
        let full = |error: &io::Error| error.kind() == io::ErrorKind::StorageFull;
        let fill = || {
            let mut filler = File::create(&path)?;
            for block in [&BLOCK[..], &BLOCK[..512], &BLOCK[..1]] {
                loop {
                    match filler.write_all(block) {
                        Err(error) if full(&error) => break,
                        written => written?,
                    }
                }
            }
            Ok::<_, io::Error>(())
        };
        fill().attempt(|| format!("fill {}", self.dir.display()))
    }

    /// Frees the space again.
    ///
    /// # Errors
    /// [`StackError::Io`] when it is not full.
    pub fn free(&self) -> Result<(), StackError> {
        fs::remove_file(self.dir.join(FILLER))
            .attempt(|| format!("free space in {}", self.dir.display()))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: unmounted when its last file is closed.
        let _best_effort = Command::new("umount").arg("-l").arg(&self.dir).status();
    }
}
