//! The faults that `loadtest chaos` injects.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

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
    /// An instance of the stateless service is restarted by a drain.
    RollStateless,
    /// One of the stateful service is.
    RollStateful,
    /// The gateway reads its configuration again.
    Reload,
    /// A new process of the gateway takes the place of the one that runs.
    UpgradeGateway,
    /// The stateful pool is routed round robin for a while.
    ToggleStrategy,
    /// The gateway is killed and started again.
    KillGateway,
    /// PostgreSQL is killed and started again; sessions do not need it.
    KillPostgres,
    /// A crowd comes to one session, so that its home is over its load bound and the gateway spills.
    Spill,
    /// A second gateway takes half of the requests, and does not know one of the instances, which in the end stands still
    /// for longer than its lease lasts.
    TwoGateways,
    /// An instance of the stateful service stands still for so long that its checks fail.
    HangStateful,
    /// The sessions' Redis stands still.
    HangRedis,
    /// The disk of the sessions' Redis is full; it ends itself, and is started again when there is room.
    FullDisk,
    /// Connections of the stateful instances to Redis end after an act was executed and before its reply came.
    CutReply,
    /// An instance of the stateless service is added to the stateful pool, which must refuse it.
    WrongInstance,
    /// An instance is drained, and once more when it is drained, which must not revive it.
    DrainAgain,
}

impl FaultKind {
    /// Every kind.
    pub const ALL: [Self; 20] = [
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
    ];

    /// The name as `--faults` takes it and as it stands in the report.
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
        }
    }

    /// Whether operators do it on purpose, so that no request may fail in it.
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

    /// Whether the sessions' Redis is away in it, so that reads may be answered as unverified.
    pub(crate) const fn takes_redis(self) -> bool {
        matches!(self, Self::KillRedis | Self::RestartRedis | Self::HangRedis | Self::FullDisk)
    }
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Which faults are caused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Faults {
    /// `all`: every one that the system can have.
    All,
    /// `none`, or some by their names.
    These(Vec<FaultKind>),
}

/// The text names no such faults.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidFaults {
    /// Nobody knows it.
    #[error("no fault is named '{0}'; known: {known}, 'all' and 'none'", known = FaultKind::ALL.map(FaultKind::as_str).join(", "))]
    Unknown(String),
    /// It would make no difference.
    #[error("'{0}' is named twice")]
    Twice(FaultKind),
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
        assert_eq!("spill,kill-redis".parse(), Ok(Faults::These(vec![FaultKind::Spill, FaultKind::KillRedis])));
        for (wrong, said) in [
            ("scale,scale", "'scale' is named twice"),
            ("", "no fault is named ''"),
            ("all,scale", "no fault is named 'all'"),
        ] {
            let error = wrong.parse::<Faults>().expect_err("refused").to_string();
            assert!(error.starts_with(said), "{wrong}: {error}");
        }
    }
}
