//! The state that handlers share.

use std::sync::Arc;

use service_kit::problem::ApiError;
use service_kit::tokens::TokenVerifier;

use super::live::shared::Live;
use crate::domain::caller::Credentials;
use crate::domain::roster::Roster;
use crate::domain::session_ids::SessionIds;
use crate::metrics::{Operation, SessionMetrics};
use crate::store::{SessionStore, Written};

/// Shared by the handlers of all workers. Cheap to clone.
#[derive(Clone)]
pub struct Sessions {
    /// The session store.
    pub store: Arc<dyn SessionStore>,
    /// Proposes the ids of new sessions.
    pub ids: SessionIds,
    /// Verifies bearer tokens; `None`: tokens are rejected.
    pub tokens: Option<Arc<TokenVerifier<Credentials>>>,
    /// What live connections share.
    pub live: Live,
    /// The people of a class; `None`: the classroom is closed.
    pub roster: Option<Roster>,
    /// The service's metrics.
    pub metrics: SessionMetrics,
}

impl Sessions {
    /// Counts a write by its outcome and returns the outcome.
    pub(super) fn count_write<T, E: Into<ApiError>>(
        &self,
        operation: Operation,
        outcome: Result<Written<T>, E>,
    ) -> Result<Written<T>, ApiError> {
        let outcome = outcome.map_err(Into::into);
        self.metrics.write(
            operation,
            outcome.as_ref().map(|written| written.outcome).map_err(ApiError::code),
        );
        outcome
    }
}
