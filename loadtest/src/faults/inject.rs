//! Injects a fault and undoes it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use local_stack::{SmallDisk, Stack};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::faults::table::{Case, Fault, Part};

/// How long a slow process is paused and then runs, in turn.
const PAUSED: Duration = Duration::from_millis(450);
const RUNNING: Duration = Duration::from_millis(50);
/// Size of the disk of users' files: more than the probes upload, and quick to fill.
const DISK_MIB: u32 = 16;
/// `maxmemory` of a full Redis: less than it already uses.
const FULL: &str = "1mb";

/// An injected fault, with what is needed to undo it.
pub(super) enum ActiveFault {
    Killed(&'static str),
    Hung(&'static str),
    Slow(&'static str, watch::Sender<bool>, JoinHandle<()>),
    /// The URL of the Redis, and its `maxmemory` before.
    Full(String, String),
    /// The disk of users' files.
    FullDisk,
    /// The folder that was replaced by a file.
    Replaced(PathBuf),
}

impl ActiveFault {
    pub(super) async fn inject(
        stack: &Stack,
        disk: Option<&FilesDisk>,
        case: &Case,
    ) -> Result<Self> {
        let component = case.part.component();
        match case.fault {
            Fault::Killed => {
                stack.kill(component).await?;
                Ok(Self::Killed(component))
            }
            Fault::Hung => {
                stack.pause(component)?;
                Ok(Self::Hung(component))
            }
            Fault::Slow => {
                let pid = Pid::from_raw(stack.pid_of(component)?.cast_signed());
                let (stop, stopped) = watch::channel(false);
                Ok(Self::Slow(component, stop, tokio::spawn(slow_down(pid, stopped))))
            }
            Fault::Full if case.part == Part::Files => {
                disk.context("there is no disk to fill")?.fill()?;
                Ok(Self::FullDisk)
            }
            // Permissions would not keep root out.
            Fault::Unusable => {
                let folder = files(stack, disk);
                std::fs::rename(&folder, aside(&folder)).context("cannot move the folder")?;
                std::fs::write(&folder, "").context("cannot replace the folder")?;
                Ok(Self::Replaced(folder))
            }
            Fault::Full => {
                let url = match case.part {
                    Part::RedisCache => stack.redis_cache_url(),
                    _ => stack.redis_sessions_url(),
                };
                let before = swap_memory(&url, FULL).await?;
                Ok(Self::Full(url, before))
            }
        }
    }

    pub(super) async fn end(self, stack: &Stack, disk: Option<&FilesDisk>) -> Result<()> {
        match self {
            Self::Killed(component) => Ok(stack.start_component(component).await?),
            Self::Hung(component) => Ok(stack.resume(component)?),
            Self::Slow(component, stop, slowing) => {
                stop.send_replace(true);
                slowing.await.context("the slow process may still be paused")?;
                // Also resumes its child processes.
                Ok(stack.resume(component)?)
            }
            Self::Full(url, before) => swap_memory(&url, &before).await.map(drop),
            Self::FullDisk => Ok(disk.context("there is no disk to free")?.free()?),
            Self::Replaced(folder) => {
                std::fs::remove_file(&folder).context("cannot remove the file")?;
                std::fs::rename(aside(&folder), &folder).context("cannot move the folder back")
            }
        }
    }
}

/// A small disk for users' files, mounted in a temporary folder.
pub(super) struct FilesDisk {
    disk: SmallDisk,
    // Dropped after the disk, which is mounted on it.
    folder: TempDir,
}

impl FilesDisk {
    /// Mounts it.
    pub(super) fn mount() -> Result<Self> {
        let folder = tempfile::tempdir().context("cannot make a folder")?;
        Ok(Self { disk: SmallDisk::mount(folder.path(), DISK_MIB)?, folder })
    }

    /// The folder of files on it, which the services make.
    pub(super) fn files(&self) -> PathBuf {
        self.folder.path().join("files")
    }

    fn fill(&self) -> Result<()> {
        Ok(self.disk.fill()?)
    }

    fn free(&self) -> Result<()> {
        Ok(self.disk.free()?)
    }
}

/// The folder of users' files.
fn files(stack: &Stack, disk: Option<&FilesDisk>) -> PathBuf {
    disk.map_or_else(|| stack.files(), FilesDisk::files)
}

/// Where a folder is meanwhile.
fn aside(folder: &Path) -> PathBuf {
    folder.with_extension("aside")
}

/// Pauses a process for nine tenths of the time.
async fn slow_down(pid: Pid, mut stopped: watch::Receiver<bool>) {
    while !*stopped.borrow() {
        for (signal, pause) in [(Signal::SIGSTOP, PAUSED), (Signal::SIGCONT, RUNNING)] {
            // The process has exited, which the probes show as failures.
            if kill(pid, signal).is_err() {
                return;
            }
            let stop = stopped.wait_for(|stop| *stop);
            let _stopped_or_time_is_over = tokio::time::timeout(pause, stop).await;
        }
    }
}

/// Sets `maxmemory` of a Redis and returns the previous value.
async fn swap_memory(url: &str, limit: &str) -> Result<String> {
    let client = Arc::new(redis::Client::open(url).context("the URL of Redis")?);
    let mut connection =
        client.get_multiplexed_async_connection().await.context("cannot connect to Redis")?;
    let get: Vec<String> =
        redis::cmd("CONFIG").arg("GET").arg("maxmemory").query_async(&mut connection).await?;
    redis::cmd("CONFIG").arg("SET").arg("maxmemory").arg(limit).exec_async(&mut connection).await?;
    get.into_iter().nth(1).context("Redis did not return its maxmemory")
}
