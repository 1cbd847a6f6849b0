//! What the control plane passes on to the local stack's agent: a closed list of operations on
//! instances, for classrooms and trials on one machine.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::agent::{Action, ComponentState};
use crate::pool_name::PoolName;

/// The most instances of a pool that the control plane asks the agent for.
pub const MOST_INSTANCES: u16 = 8;

/// `GET /control/v1/lab`, and the response to each change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Lab {
    /// Whether the gateway has an agent to pass changes on to. Not in production: there, the
    /// gateway starts and stops nothing, and knows of no process.
    pub agent: bool,
    /// Whether a class is open, so that `GET /control/v1/class` shows it.
    pub class: bool,
    /// The instances of both pools, whether they run or not, in start order.
    pub instances: Vec<LabInstance>,
    /// The most that a pool may be scaled to.
    pub most_instances: u16,
}

/// One process of a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LabInstance {
    /// Its name, as in the pool.
    pub name: String,
    /// Its pool.
    pub pool: PoolName,
    /// What the agent knows of its process.
    pub state: ComponentState,
}

/// What `POST /control/v1/lab/instances/{name}/{action}` does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LabAction {
    /// `SIGKILL`: what a crash does.
    Kill,
    /// Stops it gracefully.
    Stop,
    /// Starts it again.
    Start,
}

impl LabAction {
    /// Every action.
    pub const ALL: [Self; 3] = [Self::Kill, Self::Stop, Self::Start];

    /// The name in the path.
    pub const fn as_str(self) -> &'static str {
        self.of_agent().as_str()
    }

    /// The same in the agent's API.
    pub const fn of_agent(self) -> Action {
        match self {
            Self::Kill => Action::Kill,
            Self::Stop => Action::Stop,
            Self::Start => Action::Start,
        }
    }
}

/// The text names no [`LabAction`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownLabAction;

impl fmt::Display for UnknownLabAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the actions are kill, stop and start")
    }
}

impl std::error::Error for UnknownLabAction {}

impl FromStr for LabAction {
    type Err = UnknownLabAction;

    fn from_str(text: &str) -> Result<Self, UnknownLabAction> {
        Self::ALL.into_iter().find(|action| action.as_str() == text).ok_or(UnknownLabAction)
    }
}

/// `PUT /control/v1/lab/pools/{pool}/scale`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LabScale {
    /// The new number of the pool's instances: 1 to 8.
    #[schemars(range(min = 1, max = 8))]
    pub instances: u16,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn actions_are_a_closed_list() {
        for action in LabAction::ALL {
            assert_eq!(action.as_str().parse(), Ok(action));
        }
        for other in ["", "KILL", "pause", "upgrade", "kill/../stop"] {
            assert_eq!(other.parse::<LabAction>(), Err(UnknownLabAction), "{other}");
        }
    }
}
