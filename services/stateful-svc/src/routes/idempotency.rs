//! `Idempotency-Replayed`.

use actix_web::HttpResponse;

use crate::store::WriteOutcome;

/// Marks the response to a repetition.
pub(super) fn set_replayed(response: &mut HttpResponse, outcome: WriteOutcome) {
    match outcome {
        WriteOutcome::Applied => {}
        WriteOutcome::Replayed => service_kit::idempotency::set_replayed(response),
    }
}
