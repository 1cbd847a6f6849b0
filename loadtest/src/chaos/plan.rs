//! What to run, checked.

use std::fmt;
use std::num::NonZeroU16;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::ValueEnum;
use local_stack::Store;
use serde::Serialize;

use crate::cli::ChaosArgs;

/// What is done to the system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultKind {
    /// An instance of the stateful service is killed (SIGKILL) and started again.
    KillStateful,
    /// One is stopped where it stands (SIGSTOP) and let go on.
    PauseStateful,
    /// The sessions' Redis is killed and started again.
    KillRedis,
    /// It is ended in order and started again at once.
    RestartRedis,
    /// The stateful pool gets an instance more or less, and is brought back.
    Scale,
    /// The stateful pool is routed round robin for a while.
    ToggleStrategy,
    /// The gateway is killed and started again.
    KillGateway,
    /// PostgreSQL is killed and started again; sessions do not need it.
    KillPostgres,
}

impl FaultKind {
    /// Every kind.
    pub const ALL: [Self; 8] = [
        Self::KillStateful,
        Self::PauseStateful,
        Self::KillRedis,
        Self::RestartRedis,
        Self::Scale,
        Self::ToggleStrategy,
        Self::KillGateway,
        Self::KillPostgres,
    ];

    /// The name as `--faults` takes it and as it stands in the report.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::KillStateful => "kill-stateful",
            Self::PauseStateful => "pause-stateful",
            Self::KillRedis => "kill-redis",
            Self::RestartRedis => "restart-redis",
            Self::Scale => "scale",
            Self::ToggleStrategy => "toggle-strategy",
            Self::KillGateway => "kill-gateway",
            Self::KillPostgres => "kill-postgres",
        }
    }

    /// Whether the sessions' Redis is away in it, so that reads may be answered as unverified.
    pub(crate) const fn takes_redis(self) -> bool {
        matches!(self, Self::KillRedis | Self::RestartRedis)
    }
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Faults that are planned and that this program cannot cause yet.
const NOT_YET: [&str; 2] = ["spill", "two-gateways"];

/// Which faults are caused: `all`, `none`, or some by their names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Faults(pub Vec<FaultKind>);

/// The text names no such faults.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidFaults {
    /// Nobody knows it.
    #[error("there is no fault '{0}'; there are {known}, or 'all', or 'none'", known = FaultKind::ALL.map(FaultKind::as_str).join(", "))]
    Unknown(String),
    /// It is one of the plan.
    #[error("'{0}' is not supported yet")]
    NotYet(String),
    /// It would make no difference.
    #[error("'{0}' is named twice")]
    Twice(FaultKind),
}

impl FromStr for Faults {
    type Err = InvalidFaults;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "all" => return Ok(Self(FaultKind::ALL.to_vec())),
            "none" => return Ok(Self(Vec::new())),
            _ => {}
        }
        let mut faults = Vec::new();
        for name in text.split(',') {
            let kind = FaultKind::ALL.into_iter().find(|kind| kind.as_str() == name);
            match kind {
                Some(kind) if faults.contains(&kind) => return Err(InvalidFaults::Twice(kind)),
                Some(kind) => faults.push(kind),
                None if NOT_YET.contains(&name) => return Err(InvalidFaults::NotYet(name.to_owned())),
                None => return Err(InvalidFaults::Unknown(name.to_owned())),
            }
        }
        Ok(Self(faults))
    }
}

/// Whether a write of unknown outcome is repeated under its idempotency key until it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Idempotency {
    /// If the system answers a repeated write as the first.
    Auto,
    /// In any case. A system that does not know the key does such writes twice, and the report says so.
    On,
    /// Never: the final reading decides.
    Off,
}

/// The system that is broken.
#[derive(Clone, Debug)]
pub enum Subject {
    /// One that is started for the run and ends with it.
    Own {
        /// Where the stateful service keeps its sessions.
        store: Store,
        /// How many instances of it there are.
        instances: u16,
        /// Where data and logs stay; without it they go with the run.
        keep: Option<PathBuf>,
    },
    /// One that runs, as `make up` starts it.
    Running {
        /// Where it takes requests.
        target: String,
        /// Its state folder, which tells its agent.
        state: PathBuf,
    },
}

/// A checked plan.
#[derive(Clone, Debug)]
pub struct ChaosPlan {
    /// What is broken.
    pub subject: Subject,
    /// Which faults are caused.
    pub faults: Vec<FaultKind>,
    /// How many clients there are.
    pub clients: u16,
    /// How long the clients are at work, at least: each fault happens once.
    pub duration: Duration,
    /// How long a request may take before its outcome is unknown.
    pub timeout: Duration,
    /// Whether writes are repeated.
    pub idempotency: Idempotency,
    /// Fixes the faults, their order and their lengths, and what each client chooses to do.
    pub seed: u64,
}

/// The command line makes no sense.
#[derive(Debug, thiserror::Error)]
pub enum InvalidChaos {
    /// The last instance cannot be scaled away, and a lone one has nobody to fail over to.
    #[error("--instances {0}: there must be two at least")]
    TooFewInstances(u16),
}

impl ChaosPlan {
    /// Checks the options.
    ///
    /// # Errors
    /// See [`InvalidChaos`]: each names the option at fault.
    pub fn from_args(args: &ChaosArgs) -> Result<Self, InvalidChaos> {
        let instances = args.instances.get();
        if instances < 2 {
            return Err(InvalidChaos::TooFewInstances(instances));
        }
        let subject = match &args.target {
            None => Subject::Own { store: args.store, instances, keep: args.keep.clone() },
            Some(target) => Subject::Running { target: target.clone(), state: args.state.clone() },
        };
        Ok(Self {
            subject,
            faults: args.faults.0.clone(),
            clients: NonZeroU16::get(args.clients),
            duration: args.duration,
            timeout: args.timeout,
            idempotency: args.idempotency,
            seed: args.seed,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_all_none_or_named() {
        assert_eq!("all".parse(), Ok(Faults(FaultKind::ALL.to_vec())));
        assert_eq!("none".parse(), Ok(Faults(Vec::new())));
        assert_eq!("scale,kill-redis".parse(), Ok(Faults(vec![FaultKind::Scale, FaultKind::KillRedis])));
        for (wrong, said) in [
            ("spill", "'spill' is not supported yet"),
            ("scale,two-gateways", "'two-gateways' is not supported yet"),
            ("scale,scale", "'scale' is named twice"),
            ("", "there is no fault ''"),
            ("all,scale", "there is no fault 'all'"),
        ] {
            let error = wrong.parse::<Faults>().expect_err("refused").to_string();
            assert!(error.starts_with(said), "{wrong}: {error}");
        }
    }
}
