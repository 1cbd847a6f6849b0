//! The stack and its lifecycle phase, shared by the agent and the supervisor.

use std::sync::OnceLock;

use proto_contracts::ErrorCode;
use proto_contracts::agent::{Phase, StackStatus};
use secrecy::SecretString;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::problem::ApiError;
use crate::stack::Stack;

/// The stack, its phase and the agent's settings.
pub(crate) struct Supervised {
    /// Set when everything has started.
    pub(crate) stack: OnceLock<Stack>,
    /// The status before that.
    pub(crate) outline: StackStatus,
    pub(crate) phase: watch::Sender<Phase>,
    pub(crate) token: SecretString,
    /// Makes the supervisor stop everything.
    pub(crate) shutdown: CancellationToken,
}

impl Supervised {
    pub(super) fn status(&self) -> StackStatus {
        let components = self.stack.get().map(Stack::status).unwrap_or_default();
        StackStatus { phase: *self.phase.borrow(), components, ..self.outline.clone() }
    }

    /// The stack, while it can be changed.
    pub(super) fn stack(&self) -> Result<&Stack, ApiError> {
        match (self.stack.get(), *self.phase.borrow()) {
            (Some(stack), Phase::Ready) => Ok(stack),
            (_, Phase::Stopping) => {
                Err(ApiError::new(ErrorCode::WrongState, "the stack is stopping"))
            }
            _ => Err(ApiError::new(ErrorCode::WrongState, "the stack is still starting")),
        }
    }
}
