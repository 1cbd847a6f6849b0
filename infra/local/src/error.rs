//! What can go wrong with a stack, in words that say what to do.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::ports::Owner;

/// Why a stack, or a part of it, could not be started or changed.
#[derive(Debug, thiserror::Error)]
pub enum StackError {
    /// A binary of the workspace is missing.
    #[error("{name} is not built in {}; build it with `{command}`", dir.display())]
    NotBuilt {
        /// Which one.
        name: &'static str,
        /// Where it should be.
        dir: PathBuf,
        /// What builds it.
        command: String,
    },
    /// A program of the distribution is missing.
    #[error("{program} is not installed; `infra/local/install-packages.sh` installs it (Debian package {package})")]
    NotInstalled {
        /// Which one.
        program: &'static str,
        /// The package that holds it.
        package: &'static str,
    },
    /// Somebody else listens on a port that the plan gives to a component.
    #[error(
        "port {port}, meant for {component}, is in use by {owner}: end that, or shift all ports with PORT_OFFSET=10000 (--port-offset)"
    )]
    PortInUse {
        /// Which port.
        port: u16,
        /// For whom it is meant.
        component: String,
        /// Who has it.
        owner: Owner,
    },
    /// The plan has no port for that many instances.
    #[error("there are ports for {most} {pool} instances at most")]
    TooManyInstances {
        /// Of which pool.
        pool: &'static str,
        /// How many fit.
        most: u16,
    },
    /// No block of ports is free for a test.
    #[error("no free block of ports is left between {first} and {last}")]
    NoFreePorts {
        /// The lowest port that was tried.
        first: u16,
        /// The highest.
        last: u16,
    },
    /// A component ended while it was starting.
    #[error("{component} ended while starting ({exit}){tail}")]
    Died {
        /// Which one.
        component: String,
        /// How it ended.
        exit: String,
        /// Its last words.
        tail: Box<LogTail>,
    },
    /// A component runs but did not become ready.
    #[error("{component} is not ready after {} s: waited for {awaited}, but {last}{tail}", waited.as_secs())]
    NotReady {
        /// Which one.
        component: String,
        /// What was waited for.
        awaited: String,
        /// What was seen instead.
        last: String,
        /// How long was waited.
        waited: Duration,
        /// Its last words.
        tail: Box<LogTail>,
    },
    /// There is no component of that name.
    #[error("there is no component '{name}'; there are {}", known.join(", "))]
    NoSuchComponent {
        /// The name that was asked for.
        name: String,
        /// The names that there are.
        known: Vec<String>,
    },
    /// The component is not in a state that allows this.
    #[error("{component} is {state}")]
    WrongState {
        /// Which one.
        component: String,
        /// Its state.
        state: proto_contracts::agent::ComponentState,
    },
    /// What was asked for needs a part that the plan leaves out.
    #[error("this stack runs without {0}")]
    NotPlanned(&'static str),
    /// Nothing of this kind can be done to the component.
    #[error("{component} cannot be {done}: {cure}")]
    NotForThis {
        /// Which one.
        component: String,
        /// What was to be done, as a participle.
        done: &'static str,
        /// What to do instead.
        cure: String,
    },
    /// The name under which a variable was to be set fits no component.
    #[error(
        "no component takes variables under the name '{0}': name a binary (stateless-svc, stateful-svc, gateway) or an instance"
    )]
    UnknownEnvScope(String),
    /// The gateway's control API refused or failed.
    #[error("the gateway's control API: {0}")]
    Control(String),
    /// A tool that prepares a component failed.
    #[error("{what} failed: {detail}")]
    Tool {
        /// What was run.
        what: &'static str,
        /// What it said.
        detail: String,
    },
    /// A certificate could not be made.
    #[error("cannot make the certificate")]
    Certificate(#[from] rcgen::Error),
    /// The operating system refused something.
    #[error("cannot {what}")]
    Io {
        /// What was tried.
        what: String,
        /// Why it failed.
        source: io::Error,
    },
}

/// Says what was tried when the operating system refuses it.
pub(crate) trait Attempt<T> {
    /// `what` completes "cannot …".
    fn attempt(self, what: impl FnOnce() -> String) -> Result<T, StackError>;
}

impl<T, E: Into<io::Error>> Attempt<T> for Result<T, E> {
    fn attempt(self, what: impl FnOnce() -> String) -> Result<T, StackError> {
        self.map_err(|source| StackError::Io { what: what(), source: source.into() })
    }
}

/// The end of a log and where the rest is.
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
