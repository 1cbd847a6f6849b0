//! Limits of concurrent event streams.

use std::sync::Arc;

use proto_contracts::ErrorCode;
use service_kit::problem::ApiError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Maximum event streams. Each has a connection and up to a thousand events.
const MAX_LISTENERS: usize = 64;
/// How many of them are reserved for requests with the control token.
const RESERVED: usize = 16;
/// The places of event streams. Clones share them.
#[derive(Clone)]
pub(super) struct Listeners {
    all: Arc<Semaphore>,
    without_token: Arc<Semaphore>,
}

/// The place of an event stream, until it is dropped.
pub(super) type Place = (OwnedSemaphorePermit, Option<OwnedSemaphorePermit>);

impl Default for Listeners {
    fn default() -> Self {
        let without_token = Arc::new(Semaphore::new(MAX_LISTENERS - RESERVED));
        Self { all: Arc::new(Semaphore::new(MAX_LISTENERS)), without_token }
    }
}

impl Listeners {
    pub(super) fn place(&self, holds_token: bool) -> Result<Place, ApiError> {
        let take = |places: &Arc<Semaphore>| Arc::clone(places).try_acquire_owned().ok();
        let full = |detail: String| ApiError::new(ErrorCode::TooManyStreams, detail);
        let unreserved = if holds_token {
            None
        } else {
            Some(take(&self.without_token).ok_or_else(|| {
                let most = MAX_LISTENERS - RESERVED;
                full(format!(
                    "The limit of {most} event streams without a token is reached. {RESERVED} \
                     more are reserved for requests with 'Authorization: Bearer <CONTROL_TOKEN>'."
                ))
            })?)
        };
        let place = take(&self.all).ok_or_else(|| {
            full(format!("The limit of {MAX_LISTENERS} event streams is reached; close one first."))
        })?;
        Ok((place, unreserved))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_without_the_token_cannot_use_reserved_slots() {
        let listeners = Listeners::default();
        let mut without_token: Vec<Place> = Vec::new();
        let refused = loop {
            match listeners.place(false) {
                Ok(place) => without_token.push(place),
                Err(error) => break error,
            }
        };
        assert_eq!(without_token.len(), MAX_LISTENERS - RESERVED);
        assert!(refused.detail().contains("CONTROL_TOKEN"), "{refused}");
        let mut holders: Vec<_> =
            (0..RESERVED).map(|_| listeners.place(true).expect("a reserved place")).collect();
        assert!(listeners.place(true).is_err(), "there are no more");
        without_token.pop();
        holders.push(listeners.place(true).expect("unreserved places are for all"));
        assert!(listeners.place(false).is_err(), "all are taken");
        holders.pop();
        assert!(listeners.place(false).is_ok());
    }
}
