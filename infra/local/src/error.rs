//! Errors of a stack. Each message names cause and cure.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::port_owner::PortOwner;

/// Why a stack, or a part of it, could not be started or changed.
#[derive(Debug, thiserror::Error)]
pub enum StackError {
    /// A binary of the workspace is missing.
    #[error("{name} is not built in {}; build it with `{command}`", dir.display())]
    NotBuilt {
        /// The binary.
        name: &'static str,
        /// Where it should be.
        dir: PathBuf,
        /// What builds it.
        command: String,
    },
    /// A program of the distribution is missing.
    #[error(
        "{program} is not installed; `infra/local/install-packages.sh` installs it (Debian \
         package {package})"
    )]
    NotInstalled {
        /// The program.
        program: &'static str,
        /// The package that holds it.
        package: &'static str,
    },
    /// Another process listens on a component's port.
    #[error(
        "port {port} of {component} is in use by {owner}: end that process, or shift all ports \
         with PORT_OFFSET=10000 (--port-offset)"
    )]
    PortInUse {
        /// Which port.
        port: u16,
        /// The component that needs it.
        component: String,
        /// The process that listens on it.
        owner: PortOwner,
    },
    /// The port plan has too few ports for that many instances.
    #[error("the port plan allows at most {most} {pool} instances")]
    TooManyInstances {
        /// The pool.
        pool: &'static str,
        /// The maximum.
        most: u16,
    },
    /// No block of ports is free for a test.
    #[error("no free block of ports between {first} and {last}")]
    NoFreePorts {
        /// The lowest port that was tried.
        first: u16,
        /// The highest.
        last: u16,
    },
    /// A component ended while it was starting.
    #[error("{component} ended while starting ({exit}){tail}")]
    Died {
        /// The component.
        component: String,
        /// How it ended.
        exit: String,
        /// The end of its log.
        tail: Box<LogTail>,
    },
    /// A component runs but did not become ready.
    #[error(
        "{component} is not ready after {} s: expected {awaited}, but {last}{tail}",
        waited.as_secs()
    )]
    NotReady {
        /// The component.
        component: String,
        /// The expected sign of readiness.
        awaited: String,
        /// The last observation.
        last: String,
        /// Elapsed time.
        waited: Duration,
        /// The end of its log.
        tail: Box<LogTail>,
    },
    /// There is no component of that name.
    #[error("no component is named '{name}'; known: {}", known.join(", "))]
    NoSuchComponent {
        /// The requested name.
        name: String,
        /// The existing names.
        known: Vec<String>,
    },
    /// The component is not in a state that allows this.
    #[error("{component} is {state}")]
    WrongState {
        /// The component.
        component: String,
        /// Its state.
        state: proto_contracts::agent::ComponentState,
    },
    /// The operation needs a part that this stack was started without.
    #[error("this stack runs without {0}")]
    NotPlanned(&'static str),
    /// The component does not support this operation.
    #[error("{component} cannot be {done}: {cure}")]
    Unsupported {
        /// The component.
        component: String,
        /// The operation, as a participle.
        done: &'static str,
        /// What to do instead.
        cure: String,
    },
    /// A variable was set for an unknown component.
    #[error(
        "no component named '{0}' to set variables for: name a binary (stateless-svc, \
         stateful-svc, gateway) or an instance"
    )]
    UnknownEnvScope(String),
    /// The gateway's control API returned an error or was unreachable.
    #[error("the gateway's control API: {0}")]
    Control(String),
    /// A tool that prepares a component failed.
    #[error("{what} failed: {detail}")]
    Tool {
        /// What was run.
        what: &'static str,
        /// Its error output.
        detail: String,
    },
    /// A certificate could not be made.
    #[error("cannot make the certificate")]
    Certificate(#[from] rcgen::Error),
    /// An operating system call failed.
    #[error("cannot {what}")]
    Io {
        /// What was tried.
        what: String,
        /// Why it failed.
        source: io::Error,
    },
}

/// Adds to an I/O error what was attempted.
pub(crate) trait Attempt<T> {
    /// `what` completes "cannot …".
    fn attempt(self, what: impl FnOnce() -> String) -> Result<T, StackError>;
}

impl<T, E: Into<io::Error>> Attempt<T> for Result<T, E> {
    fn attempt(self, what: impl FnOnce() -> String) -> Result<T, StackError> {
        self.map_err(|source| StackError::Io { what: what(), source: source.into() })
    }
}

/// The end of a log, and the path of the whole.
#[derive(Clone, Debug)]
pub struct LogTail {
    /// The whole log.
    pub path: PathBuf,
    /// Its last lines, oldest first.
    pub lines: Vec<String>,
}

impl LogTail {
    /// How many lines of a log an error shows.
    const LINES: usize = 8;

    pub(crate) fn of(path: PathBuf) -> Box<Self> {
        let lines = crate::process::last_lines(&path, Self::LINES);
        Box::new(Self { path, lines })
    }
}

impl fmt::Display for LogTail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.lines {
            write!(f, "\n    | {line}")?;
        }
        write!(f, "\n    log: {}", self.path.display())
    }
}
