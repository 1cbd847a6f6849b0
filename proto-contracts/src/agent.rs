//! Bodies of the local stack's agent, under `/agent/v1`.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::routes::PoolName;

/// Where the whole stack stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Its components are being started.
    Starting,
    /// Everything was started and was healthy.
    Ready,
    /// It is being ended.
    Stopping,
}

/// What a component does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ComponentState {
    /// It runs and is not ready yet.
    Starting,
    /// It runs and was ready.
    Running,
    /// It is stopped where it stands (`SIGSTOP`).
    Paused,
    /// It was ended in order, on request, or never started.
    Stopped,
    /// It was killed on request.
    Killed,
    /// It ended by itself.
    Died,
}

impl ComponentState {
    /// The state as people read it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopped => "stopped",
            Self::Killed => "killed",
            Self::Died => "died",
        }
    }
}

impl fmt::Display for ComponentState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// `GET /agent/v1/status`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StackStatus {
    /// Where the whole stands.
    pub phase: Phase,
    /// Where the stateful service keeps its sessions.
    pub store: String,
    /// How many Redis servers hold the sessions: `single`, `sentinel` or `cluster`.
    pub redis: String,
    /// What is added to each port of the design.
    pub port_offset: u16,
    /// Where traces are sent, if anywhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub otlp: Option<String>,
    /// Whether clients may pick the strategy of a request.
    pub lab: bool,
    /// Where everything can be called.
    pub urls: Urls,
    /// The authority that signed Nginx's certificate, for `curl --cacert`.
    pub ca_file: String,
    /// The file that holds the token of the gateway's control API.
    pub control_token_file: String,
    /// Data first, the edge last.
    pub components: Vec<ComponentStatus>,
}

/// Where a stack can be called.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Urls {
    /// Nginx; absent when the stack runs without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub https: Option<String>,
    /// The gateway's data plane.
    pub gateway: String,
    /// The gateway's control plane.
    pub control: String,
    /// The second gateway, where the stack has two.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub second: Option<GatewayUrls>,
    /// The agent itself.
    pub agent: String,
    /// Prometheus; absent when the stack runs without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prometheus: Option<String>,
}

/// Where a gateway can be called.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GatewayUrls {
    /// The component's name.
    pub name: String,
    /// Its data plane.
    pub gateway: String,
    /// Its control plane.
    pub control: String,
}

/// One component.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ComponentStatus {
    /// Its name, as `kill` and the others take it. A service's instance bears it as `X-Instance-Id`.
    pub name: String,
    /// Its pool, for a service's instance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<PoolName>,
    /// What it does.
    pub state: ComponentState,
    /// Its process id, while it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// The port that it listens on.
    pub port: u16,
    /// For how long it has been running, seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uptime_s: Option<u64>,
    /// How and when it ended, when it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit: Option<String>,
    /// Its log.
    pub log: String,
    /// The last lines of its log, when it ended by itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub last_lines: Vec<String>,
}

/// `POST /agent/v1/scale`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scale {
    /// Which pool.
    pub pool: PoolName,
    /// How many instances from now on.
    pub instances: u16,
    /// Also when none is left, and every request of the pool fails.
    #[serde(default)]
    pub force: bool,
}

/// What `POST /agent/v1/instances/{name}/{action}` does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// `SIGKILL`: it has no time for anything.
    Kill,
    /// Ends it in order.
    Stop,
    /// Starts it again.
    Start,
    /// `SIGSTOP`: it stands still and knows nothing of it.
    Pause,
    /// `SIGCONT`: it goes on.
    Resume,
    /// Restarts an instance by a drain: its keys move away, and come home when it is well again.
    Roll,
    /// Has a new process of the gateway take the place of the one that runs, without a gap.
    Upgrade,
}

impl Action {
    /// Every action.
    pub const ALL: [Self; 7] =
        [Self::Kill, Self::Stop, Self::Start, Self::Pause, Self::Resume, Self::Roll, Self::Upgrade];

    /// The action as it stands in the path.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Stop => "stop",
            Self::Start => "start",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Roll => "roll",
            Self::Upgrade => "upgrade",
        }
    }
}

/// `GET /agent/v1/logs/{name}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLines {
    /// The whole log.
    pub path: String,
    /// Its last lines, oldest first.
    pub lines: Vec<String>,
}
