//! A small file system of its own, so that a disk can be full without filling that of the machine.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::{Attempt, StackError};

/// What fills it.
const FILLER: &str = "filler";
static BLOCK: [u8; 64 * 1024] = [0x5a; 64 * 1024];

/// A mounted file system in memory; unmounted when it is dropped.
#[derive(Debug)]
pub struct SmallDisk {
    dir: PathBuf,
}

impl SmallDisk {
    /// Mounts one of so many MiB on a folder, which is made when it is missing.
    ///
    /// # Errors
    /// [`StackError::Tool`] when this process may not mount: it takes root.
    pub fn mount(dir: &Path, mib: u32) -> Result<Self, StackError> {
        fs::create_dir_all(dir).attempt(|| format!("make {}", dir.display()))?;
        let options = format!("size={mib}m,mode=711");
        let mut command = Command::new("mount");
        let output = command.args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(dir).output();
        let output = output.attempt(|| "run mount".to_owned())?;
        if output.status.success() {
            return Ok(Self { dir: dir.to_owned() });
        }
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        let detail = format!("{said} (a full disk is tried on a file system of its own, which takes root)");
        Err(StackError::Tool { what: "mounting a small disk", detail })
    }

    /// Whether this process may mount one.
    pub fn may_mount() -> bool {
        nix::unistd::getuid().is_root()
    }

    /// Fills it, but for what is smaller than a byte: every write fails with ENOSPC from now on.
    ///
    /// # Errors
    /// [`StackError::Io`] when it fails otherwise than for want of space.
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

    /// Makes room again.
    ///
    /// # Errors
    /// [`StackError::Io`] when it is not full.
    pub fn free(&self) -> Result<(), StackError> {
        fs::remove_file(self.dir.join(FILLER)).attempt(|| format!("make room in {}", self.dir.display()))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: it goes when the last file in it is closed.
        let _what_is_left_is_in_memory = Command::new("umount").arg("-l").arg(&self.dir).status();
    }
}
