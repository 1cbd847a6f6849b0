//! Single flight: concurrent callers for one key share one load.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, WeakShared};

type Flight<T> = WeakShared<BoxFuture<'static, T>>;

/// The loads in progress, by key.
pub(super) struct Flights<T: Clone> {
    // A lock because lookup and start must be one step. It is held for a lookup, never during a
    // load.
    in_progress: Mutex<InProgress<T>>,
}

struct InProgress<T: Clone> {
    flights: HashMap<String, (u64, Flight<T>)>,
    next_number: u64,
}

impl<T: Clone + Send + Sync + 'static> Flights<T> {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            in_progress: Mutex::new(InProgress { flights: HashMap::new(), next_number: 0 }),
        })
    }

    /// Joins the load in progress for `key`, or starts one. It runs until it ends or all callers
    /// have dropped their futures, whoever started it.
    pub(super) async fn join<F>(self: &Arc<Self>, key: &str, start: impl FnOnce() -> F) -> T
    where
        F: Future<Output = T> + Send + 'static,
    {
        let flight = {
            let mut in_progress = self.lock();
            match in_progress.flights.get(key).and_then(|(_, flight)| flight.upgrade()) {
                Some(flight) => flight,
                None => {
                    let number = in_progress.next_number;
                    in_progress.next_number += 1;
                    let guard =
                        RemoveOnDrop { flights: Arc::clone(self), key: key.to_owned(), number };
                    let load = start();
                    let flight = async move {
                        let _guard = guard;
                        load.await
                    };
                    let flight = flight.boxed().shared();
                    if let Some(weak) = flight.downgrade() {
                        in_progress.flights.insert(key.to_owned(), (number, weak));
                    }
                    flight
                }
            }
        };
        flight.await
    }

    fn lock(&self) -> MutexGuard<'_, InProgress<T>> {
        self.in_progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Removes a flight when it has ended, or when all its callers have gone.
struct RemoveOnDrop<T: Clone + Send + Sync + 'static> {
    flights: Arc<Flights<T>>,
    key: String,
    number: u64,
}

impl<T: Clone + Send + Sync + 'static> Drop for RemoveOnDrop<T> {
    fn drop(&mut self) {
        let mut in_progress = self.flights.lock();
        // A later flight for the same key stays.
        if in_progress.flights.get(&self.key).is_some_and(|(number, _)| *number == self.number) {
            in_progress.flights.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::future::join_all;
    use tokio::sync::Notify;

    use super::*;

    #[tokio::test]
    async fn concurrent_callers_share_one_flight_and_later_ones_start_another() {
        let flights = Flights::new();
        let (started, go) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
        let join = || {
            let (flights, started, go) =
                (Arc::clone(&flights), Arc::clone(&started), Arc::clone(&go));
            async move {
                let start = || {
                    let number = started.fetch_add(1, Ordering::SeqCst);
                    async move {
                        go.notified().await;
                        number
                    }
                };
                flights.join("key", start).await
            }
            .boxed()
        };
        let mut together: Vec<_> = (0..100).map(|_| join()).collect();
        for caller in &mut together {
            assert!(futures_util::poll!(caller).is_pending());
        }
        assert_eq!(started.load(Ordering::SeqCst), 1);
        go.notify_one();
        assert_eq!(join_all(together).await, vec![0; 100]);
        go.notify_one();
        assert_eq!(join().await, 1);
        assert!(flights.lock().flights.is_empty());
    }

    #[tokio::test]
    async fn a_flight_outlives_the_caller_that_started_it() {
        let flights = Flights::new();
        let go = Arc::new(Notify::new());
        let wait = Arc::clone(&go);
        let mut first = Box::pin(flights.join("key", || async move {
            wait.notified().await;
            "the first flight"
        }));
        assert!(futures_util::poll!(&mut first).is_pending());
        let mut second = Box::pin(flights.join("key", || async { "a second flight" }));
        assert!(futures_util::poll!(&mut second).is_pending());
        drop(first);
        go.notify_one();
        assert_eq!(second.await, "the first flight");
    }

    #[tokio::test]
    async fn a_flight_without_callers_is_removed() {
        let flights = Flights::<()>::new();
        let mut only = Box::pin(flights.join("key", std::future::pending));
        assert!(futures_util::poll!(&mut only).is_pending());
        drop(only);
        assert!(flights.lock().flights.is_empty());
    }
}
