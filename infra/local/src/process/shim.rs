//! `local-stack exec-child`: sets its parent-death signal, then executes the program.
//!
//! Setting it between `fork` and `exec` needs unsafe code. So the launcher starts its own binary,
//! and the new process sets the signal before it replaces itself.

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
    /// The program to execute.
    program: PathBuf,
    /// Its arguments.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<OsString>,
}

impl ExecChild {
    /// Replaces this process; returns only on failure.
    pub(crate) fn run(self) -> io::Result<Infallible> {
        if let (Some(uid), Some(gid)) = (self.uid, self.gid) {
            let gid = Gid::from_raw(gid);
            setgroups(&[gid])?;
            setgid(gid)?;
            setuid(Uid::from_raw(uid))?;
        }
        // After the change of user, which clears it; exec keeps it.
        prctl::set_pdeathsig(Signal::try_from(self.death_signal)?)?;
        // If the launcher ended before that call, the signal never arrives.
        if getppid() != Pid::from_raw(self.parent) {
            return Err(io::Error::other("the launcher is gone"));
        }
        Err(Command::new(self.program).args(self.args).exec())
    }
}
