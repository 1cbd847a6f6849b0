//! How many may listen to events.

use std::sync::Arc;

use proto_contracts::ErrorCode;
use service_kit::problem::ApiError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How many may listen at once. Each holds a connection and up to a thousand events.
const MAX_LISTENERS: usize = 64;
/// How many of these places are for holders of the control token alone, so that strangers cannot lock them out.
const KEPT_FOR_HOLDERS: usize = 16;
/// The places of listeners. Cheap to clone; the clones share all places.
#[derive(Clone)]
pub(super) struct Listeners {
    all: Arc<Semaphore>,
    strangers: Arc<Semaphore>,
}

/// A listener's place, for as long as it listens.
pub(super) type Place = (OwnedSemaphorePermit, Option<OwnedSemaphorePermit>);

impl Default for Listeners {
    fn default() -> Self {
        let strangers = Arc::new(Semaphore::new(MAX_LISTENERS - KEPT_FOR_HOLDERS));
        Self { all: Arc::new(Semaphore::new(MAX_LISTENERS)), strangers }
    }
}

impl Listeners {
    pub(super) fn place(&self, holds_token: bool) -> Result<Place, ApiError> {
        let take = |places: &Arc<Semaphore>| Arc::clone(places).try_acquire_owned().ok();
        let full = |detail: String| ApiError::new(ErrorCode::TooManyStreams, detail);
        let of_strangers = if holds_token {
            None
        } else {
            Some(take(&self.strangers).ok_or_else(|| {
                let most = MAX_LISTENERS - KEPT_FOR_HOLDERS;
                full(format!(
                    "The limit of {most} event streams without a token is reached. {KEPT_FOR_HOLDERS} more are reserved for requests \
                     with 'Authorization: Bearer <CONTROL_TOKEN>'."
                ))
            })?)
        };
        let place = take(&self.all)
            .ok_or_else(|| full(format!("The limit of {MAX_LISTENERS} event streams is reached; close one first.")))?;
        Ok((place, of_strangers))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_cannot_take_the_places_that_are_kept_for_holders_of_the_token() {
        let listeners = Listeners::default();
        let mut strangers: Vec<Place> = Vec::new();
        let refused = loop {
            match listeners.place(false) {
                Ok(place) => strangers.push(place),
                Err(error) => break error,
            }
        };
        assert_eq!(strangers.len(), MAX_LISTENERS - KEPT_FOR_HOLDERS);
        assert!(refused.detail().contains("CONTROL_TOKEN"), "{refused}");
        let mut holders: Vec<_> = (0..KEPT_FOR_HOLDERS).map(|_| listeners.place(true).expect("a kept place")).collect();
        assert!(listeners.place(true).is_err(), "there are no more");
        strangers.pop();
        holders.push(listeners.place(true).expect("a holder may have a stranger's place"));
        assert!(listeners.place(false).is_err(), "all are taken");
        holders.pop();
        assert!(listeners.place(false).is_ok());
    }
}
