//! Bodies and queries of the agent.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::pool_name::PoolName;

/// The state of the whole stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Its components are being started.
    Starting,
    /// Everything was started and was healthy.
    Ready,
    /// Its components are being stopped.
    Stopping,
}

/// The state of a component.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ComponentState {
    /// It runs and is not ready yet.
    Starting,
    /// It runs and was ready.
    Running,
    /// It is suspended (`SIGSTOP`).
    Paused,
    /// It was stopped gracefully, or never started.
    Stopped,
    /// It was killed on request.
    Killed,
    /// It exited by itself.
    Died,
}

impl ComponentState {
    /// The name for people.
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StackStatus {
    /// The state of the stack.
    pub phase: Phase,
    /// The stateful service's session store.
    pub store: String,
    /// The Redis topology of the session store: `single`, `sentinel` or `cluster`.
    pub redis: String,
    /// Added to each default port.
    pub port_offset: u16,
    /// The trace collector's URL, if traces are on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub otlp: Option<String>,
    /// Whether clients may choose the strategy per request.
    pub lab: bool,
    /// The base URLs.
    pub urls: Urls,
    /// The CA certificate file of Nginx's certificate, for `curl --cacert`.
    pub ca_file: String,
    /// The file that holds the token of the gateway's control API.
    pub control_token_file: String,
    /// In start order: databases first, the edge last.
    pub components: Vec<ComponentStatus>,
}

/// Base URLs of a stack.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Urls {
    /// Nginx; absent when the stack runs without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub https: Option<String>,
    /// The gateway's data plane.
    pub gateway: String,
    /// The gateway's control plane.
    pub control: String,
    /// The second gateway; absent in a stack with one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub second: Option<GatewayUrls>,
    /// The page for the phones of a class, without the room's code; absent unless it is open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
    /// The agent itself.
    pub agent: String,
    /// Prometheus; absent when the stack runs without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prometheus: Option<String>,
}

/// Base URLs of a gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GatewayUrls {
    /// The component's name.
    pub name: String,
    /// Its data plane.
    pub gateway: String,
    /// Its control plane.
    pub control: String,
}

/// One component.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ComponentStatus {
    /// Its name in commands such as `kill`; also the `X-Instance-Id` of a service's instance.
    pub name: String,
    /// Its pool, for a service's instance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<PoolName>,
    /// Its state.
    pub state: ComponentState,
    /// Its process id, while it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// The port that it listens on.
    pub port: u16,
    /// Seconds since its start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uptime_s: Option<u64>,
    /// How and when it exited, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit: Option<String>,
    /// The path of its log.
    pub log: String,
    /// The last lines of its log, when it exited by itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub last_lines: Vec<String>,
}

/// `POST /agent/v1/scale`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Scale {
    /// The pool.
    pub pool: PoolName,
    /// The new number of instances.
    pub instances: u16,
    /// Allow 0, with which every request of the pool fails.
    #[serde(default)]
    pub force: bool,
}

/// What `POST /agent/v1/instances/{name}/{action}` does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// `SIGKILL`.
    Kill,
    /// Stops it gracefully.
    Stop,
    /// Starts it again.
    Start,
    /// `SIGSTOP`.
    Pause,
    /// `SIGCONT`.
    Resume,
    /// Drains and restarts an instance: its keys move away, and return once it is healthy.
    Roll,
    /// Hot restart of the gateway: a new process takes over.
    Upgrade,
}

impl Action {
    /// Every action.
    pub const ALL: [Self; 7] =
        [Self::Kill, Self::Stop, Self::Start, Self::Pause, Self::Resume, Self::Roll, Self::Upgrade];

    /// The name in the path.
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

/// Query of `GET /agent/v1/logs/{name}`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LogsQuery {
    /// How many lines: 1 to 10,000; 100 by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10_000))]
    pub lines: Option<usize>,
}

/// `GET /agent/v1/logs/{name}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LogLines {
    /// The path of the whole log.
    pub path: String,
    /// Its last lines, oldest first.
    pub lines: Vec<String>,
}
