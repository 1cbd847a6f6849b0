//! One component of a running stack.

use std::sync::Arc;

use proto_contracts::agent::ComponentState;

use crate::process::Process;

/// One row of the stack's table of components.
pub(super) struct Part {
    pub(super) port: u16,
    pub(super) process: Option<Arc<Process>>,
    pub(super) requested: Requested,
}

/// The state that was requested last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Requested {
    Starting,
    Running,
    Paused,
    Stopped,
    Killed,
}

impl Part {
    pub(super) fn state(&self) -> ComponentState {
        let ended = self.process.as_ref().is_none_or(|process| process.exit().is_some());
        match self.requested {
            Requested::Stopped => ComponentState::Stopped,
            Requested::Killed => ComponentState::Killed,
            _ if ended => ComponentState::Died,
            Requested::Starting => ComponentState::Starting,
            Requested::Running => ComponentState::Running,
            Requested::Paused => ComponentState::Paused,
        }
    }
}
