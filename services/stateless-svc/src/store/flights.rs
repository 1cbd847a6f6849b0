//! Single flight: of any number of callers that want the same at the same time, one fetches it for all.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, WeakShared};

type Flight<T> = WeakShared<BoxFuture<'static, T>>;

/// What is being fetched, by key.
pub(super) struct Flights<T: Clone> {
    // A lock because looking and starting must be one step; it is held for a look-up, never while fetching.
    under_way: Mutex<Board<T>>,
}

struct Board<T: Clone> {
    flights: HashMap<String, (u64, Flight<T>)>,
    next_number: u64,
}

impl<T: Clone + Send + Sync + 'static> Flights<T> {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { under_way: Mutex::new(Board { flights: HashMap::new(), next_number: 0 }) })
    }

    /// The result of the flight under way for `key`, or of a new one. A flight goes on as long as anyone waits for it,
    /// whoever started it.
    pub(super) async fn join<F>(self: &Arc<Self>, key: &str, start: impl FnOnce() -> F) -> T
    where
        F: Future<Output = T> + Send + 'static,
    {
        let flight = {
            let mut board = self.board();
            match board.flights.get(key).and_then(|(_, flight)| flight.upgrade()) {
                Some(flight) => flight,
                None => {
                    let number = board.next_number;
                    board.next_number += 1;
                    let landing = Landing { flights: Arc::clone(self), key: key.to_owned(), number };
                    let fetch = start();
                    let flight = async move {
                        let _landing = landing;
                        fetch.await
                    };
                    let flight = flight.boxed().shared();
                    if let Some(weak) = flight.downgrade() {
                        board.flights.insert(key.to_owned(), (number, weak));
                    }
                    flight
                }
            }
        };
        flight.await
    }

    fn board(&self) -> MutexGuard<'_, Board<T>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes a flight off the board when it has landed, or was given up by all who waited.
struct Landing<T: Clone + Send + Sync + 'static> {
    flights: Arc<Flights<T>>,
    key: String,
    number: u64,
}

impl<T: Clone + Send + Sync + 'static> Drop for Landing<T> {
    fn drop(&mut self) {
        let mut board = self.flights.board();
        // A later flight of the same key stays.
        if board.flights.get(&self.key).is_some_and(|(number, _)| *number == self.number) {
            board.flights.remove(&self.key);
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
    async fn callers_at_the_same_time_share_one_flight_and_later_ones_start_another() {
        let flights = Flights::new();
        let (started, go) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
        let join = || {
            let (flights, started, go) = (Arc::clone(&flights), Arc::clone(&started), Arc::clone(&go));
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
        assert!(flights.board().flights.is_empty());
    }

    #[tokio::test]
    async fn a_flight_survives_the_one_who_started_it() {
        let flights = Flights::new();
        let go = Arc::new(Notify::new());
        let wait = Arc::clone(&go);
        let mut first = Box::pin(flights.join("key", || async move {
            wait.notified().await;
            "landed"
        }));
        assert!(futures_util::poll!(&mut first).is_pending());
        let mut second = Box::pin(flights.join("key", || async { "a second flight" }));
        assert!(futures_util::poll!(&mut second).is_pending());
        drop(first);
        go.notify_one();
        assert_eq!(second.await, "landed");
    }

    #[tokio::test]
    async fn a_flight_that_all_gave_up_leaves_the_board() {
        let flights = Flights::<()>::new();
        let mut only = Box::pin(flights.join("key", std::future::pending));
        assert!(futures_util::poll!(&mut only).is_pending());
        drop(only);
        assert!(flights.board().flights.is_empty());
    }
}
