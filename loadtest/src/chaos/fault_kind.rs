//! The faults that `loadtest chaos` injects.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultKind {
    /// An instance of the stateful service is killed (SIGKILL) and started again.
    KillStateful,
    /// An instance of the stateful service is paused (SIGSTOP) and resumed.
    PauseStateful,
    /// The sessions' Redis is killed and started again.
    KillRedis,
    /// The sessions' Redis is shut down cleanly and started again at once.
    RestartRedis,
    /// The stateful pool is scaled up or down by one instance, and back.
    Scale,
    /// An instance of the stateless service is restarted by a drain.
    RollStateless,
    /// An instance of the stateful service is restarted by a drain.
    RollStateful,
    /// The gateway reloads its configuration.
    Reload,
    /// Hot restart: a new process of the gateway takes over from the old one.
    UpgradeGateway,
    /// The stateful pool is routed round robin for a while.
    ToggleStrategy,
    /// The gateway is killed and started again.
    KillGateway,
    /// PostgreSQL is killed and started again; sessions do not need it.
    KillPostgres,
    /// Many clients use one session, so that its home exceeds its load bound and the gateway
    /// spills.
    Spill,
    /// A second gateway, whose configuration lacks one instance, gets half of the requests. At
    /// the end that instance hangs for longer than its lease lasts.
    TwoGateways,
    /// An instance of the stateful service hangs for so long that its health checks fail.
    HangStateful,
    /// The sessions' Redis hangs.
    HangRedis,
    /// The disk of the sessions' Redis is full. Redis exits, and is started again when there is
    /// space.
    FullDisk,
    /// Connections to Redis close after it executed a script and before the instance gets the
    /// reply.
    CutReply,
    /// An instance of the stateless service is added to the stateful pool, which must reject it.
    WrongInstance,
    /// An instance is drained, and drained again, which must not end the drain.
    DrainAgain,
    /// An instance of the stateless service is killed (SIGKILL) and started again.
    KillStateless,
    /// An instance of the stateless service hangs for so long that its health checks fail.
    HangStateless,
    /// PostgreSQL is shut down cleanly and started again at once.
    RestartPostgres,
    /// PostgreSQL hangs.
    HangPostgres,
    /// The cache's Redis is killed and started again, and has lost everything.
    KillCache,
    /// The cache's Redis hangs.
    HangCache,
}

impl FaultKind {
    /// Every kind.
    pub const ALL: [Self; 26] = [
        Self::KillStateful,
        Self::PauseStateful,
        Self::KillRedis,
        Self::RestartRedis,
        Self::Scale,
        Self::RollStateless,
        Self::RollStateful,
        Self::Reload,
        Self::UpgradeGateway,
        Self::ToggleStrategy,
        Self::KillGateway,
        Self::KillPostgres,
        Self::Spill,
        Self::TwoGateways,
        Self::HangStateful,
        Self::HangRedis,
        Self::FullDisk,
        Self::CutReply,
        Self::WrongInstance,
        Self::DrainAgain,
        Self::KillStateless,
        Self::HangStateless,
        Self::RestartPostgres,
        Self::HangPostgres,
        Self::KillCache,
        Self::HangCache,
    ];

    /// The name in `--faults` and in the report.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::KillStateful => "kill-stateful",
            Self::PauseStateful => "pause-stateful",
            Self::KillRedis => "kill-redis",
            Self::RestartRedis => "restart-redis",
            Self::Scale => "scale",
            Self::RollStateless => "roll-stateless",
            Self::RollStateful => "roll-stateful",
            Self::Reload => "reload",
            Self::UpgradeGateway => "upgrade-gateway",
            Self::ToggleStrategy => "toggle-strategy",
            Self::KillGateway => "kill-gateway",
            Self::KillPostgres => "kill-postgres",
            Self::Spill => "spill",
            Self::TwoGateways => "two-gateways",
            Self::HangStateful => "hang-stateful",
            Self::HangRedis => "hang-redis",
            Self::FullDisk => "full-disk",
            Self::CutReply => "cut-reply",
            Self::WrongInstance => "wrong-instance",
            Self::DrainAgain => "drain-again",
            Self::KillStateless => "kill-stateless",
            Self::HangStateless => "hang-stateless",
            Self::RestartPostgres => "restart-postgres",
            Self::HangPostgres => "hang-postgres",
            Self::KillCache => "kill-cache",
            Self::HangCache => "hang-cache",
        }
    }

    /// Whether it is an operator's action, during which no request may fail.
    pub(crate) const fn is_operation(self) -> bool {
        matches!(
            self,
            Self::Scale
                | Self::RollStateless
                | Self::RollStateful
                | Self::Reload
                | Self::UpgradeGateway
                | Self::WrongInstance
                | Self::DrainAgain
        )
    }

    /// Whether the sessions' Redis is unavailable during it, so that reads may be unverified.
    pub(crate) const fn affects_redis(self) -> bool {
        matches!(self, Self::KillRedis | Self::RestartRedis | Self::HangRedis | Self::FullDisk)
    }
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Which faults are injected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Faults {
    /// `all`: every kind that can be injected into the system.
    All,
    /// `none`, or some by their names.
    These(Vec<FaultKind>),
}

/// The text is not a list of faults.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidFaults {
    /// No kind has this name.
    #[error("unknown fault '{0}'; known: {known}, 'all' and 'none'", known = names())]
    Unknown(String),
    /// The kind appears more than once.
    #[error("'{0}' appears twice")]
    Twice(FaultKind),
}

fn names() -> String {
    FaultKind::ALL.map(FaultKind::as_str).join(", ")
}

impl FromStr for Faults {
    type Err = InvalidFaults;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "all" => return Ok(Self::All),
            "none" => return Ok(Self::These(Vec::new())),
            _ => {}
        }
        let mut faults = Vec::new();
        for name in text.split(',') {
            let kind = FaultKind::ALL.into_iter().find(|kind| kind.as_str() == name);
            match kind {
                Some(kind) if faults.contains(&kind) => return Err(InvalidFaults::Twice(kind)),
                Some(kind) => faults.push(kind),
                None => return Err(InvalidFaults::Unknown(name.to_owned())),
            }
        }
        Ok(Self::These(faults))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_all_none_or_named() {
        assert_eq!("all".parse(), Ok(Faults::All));
        assert_eq!("none".parse(), Ok(Faults::These(Vec::new())));
        assert_eq!(
            "spill,kill-redis".parse(),
            Ok(Faults::These(vec![FaultKind::Spill, FaultKind::KillRedis]))
        );
        for (wrong, message) in [
            ("scale,scale", "'scale' appears twice"),
            ("", "unknown fault ''"),
            ("all,scale", "unknown fault 'all'"),
        ] {
            let error = wrong.parse::<Faults>().expect_err("refused").to_string();
            assert!(error.starts_with(message), "{wrong}: {error}");
        }
    }
}
