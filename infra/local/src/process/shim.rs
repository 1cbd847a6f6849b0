//! `local-stack exec-child`: becomes the program it is asked for, after it has arranged to die with its launcher.
//!
//! Arranging that between `fork` and `exec` needs unsafe code, so the launcher starts its own binary instead and the
//! new process does it for itself, before it replaces itself with the program.

use std::convert::Infallible;
use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::unistd::{Gid, Pid, Uid, getppid, setgid, setgroups, setuid};

/// Arguments of `exec-child`, which only the launcher calls.
#[derive(clap::Args, Debug)]
pub(crate) struct ExecChild {
    /// Process id of the launcher.
    #[arg(long)]
    parent: i32,
    /// Number of the signal to receive when the launcher ends.
    #[arg(long)]
    death_signal: i32,
    /// Run as this user.
    #[arg(long, requires = "gid")]
    uid: Option<u32>,
    /// Run as this group.
    #[arg(long, requires = "uid")]
    gid: Option<u32>,
    /// What to become.
    program: PathBuf,
    /// Its arguments.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<OsString>,
}

impl ExecChild {
    /// Replaces this process; returns only when that failed.
    pub(crate) fn run(self) -> io::Result<Infallible> {
        if let (Some(uid), Some(gid)) = (self.uid, self.gid) {
            let gid = Gid::from_raw(gid);
            setgroups(&[gid])?;
            setgid(gid)?;
            setuid(Uid::from_raw(uid))?;
        }
        // After the change of user, which clears it; it survives the exec.
        prctl::set_pdeathsig(Signal::try_from(self.death_signal)?)?;
        // The launcher may have ended before that call: then the signal never comes.
        if getppid() != Pid::from_raw(self.parent) {
            return Err(io::Error::other("the launcher is gone"));
        }
        Err(Command::new(self.program).args(self.args).exec())
    }
}
