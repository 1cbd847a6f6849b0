//! `Idempotency-Key`: a request with one is executed once.

use actix_web::{HttpRequest, HttpResponse};
use proto_contracts::ErrorCode;
use serde::Serialize;
use service_kit::idempotency::{idempotency_key, set_replayed};
use service_kit::problem::ApiError;

use super::replies::store_failed;
use crate::domain::audit::Initiator;
use crate::domain::keyed::{KeyDigests, Keyed};
use crate::domain::outcome::Outcome;
use crate::store::idempotency::{IdempotencyKeys, Kept};

/// Recognizes repeated requests.
pub struct Repetitions {
    /// The keys of requests that were executed.
    pub keys: IdempotencyKeys,
    /// Computes the identities of requests.
    pub digests: KeyDigests,
}

impl Repetitions {
    /// Executes a request, unless it is the repetition of one that was executed: then `replay` makes
    /// the response to that.
    pub(super) async fn once(
        &self,
        request: &HttpRequest,
        initiator: Initiator,
        operation: &str,
        input: &impl Serialize,
        replay: impl Fn(Option<Outcome>) -> Result<HttpResponse, ApiError>,
        execute: impl AsyncFnOnce(&Initiator) -> Result<HttpResponse, ApiError>,
    ) -> Result<HttpResponse, ApiError> {
        let Some(key) = idempotency_key(request.headers())? else {
            return execute(&initiator).await;
        };
        let input = serde_json::to_vec(input).map_err(ApiError::internal)?;
        let caller = (initiator.actor.kind(), initiator.actor.username());
        let keyed = self.digests.keyed(key, caller, operation, &input);
        if let Some(replayed) = self.replay(&keyed, &replay).await? {
            return Ok(replayed);
        }
        let error = match execute(&Initiator { keyed: Some(keyed), ..initiator }).await {
            Ok(executed) => return Ok(executed),
            Err(error) => error,
        };
        // Another request with the key may have been executed meanwhile, such as an earlier
        // attempt of this one, and be what this one failed for. Or the result of our own commit
        // was lost.
        match self.replay(&keyed, &replay).await {
            Ok(Some(replayed)) => Ok(replayed),
            Ok(None) => Err(error),
            // What this one failed for may be what that one did: it is not told as the outcome.
            Err(unknown) => Err(unknown),
        }
    }

    /// The first response to a request with this key, if there was one.
    async fn replay(
        &self,
        keyed: &Keyed,
        replay: impl Fn(Option<Outcome>) -> Result<HttpResponse, ApiError>,
    ) -> Result<Option<HttpResponse>, ApiError> {
        let outcome = match self.keys.find(keyed).await.map_err(store_failed)? {
            None => return Ok(None),
            Some(Kept::Executed(outcome)) => outcome,
            Some(Kept::OfAnother) => {
                let detail = "This Idempotency-Key was used for another request; use a new one.";
                return Err(ApiError::new(ErrorCode::IdempotencyKeyReused, detail));
            }
        };
        let mut response = replay(outcome)?;
        set_replayed(&mut response);
        Ok(Some(response))
    }
}
