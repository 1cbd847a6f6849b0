//! Turns of writes. Those of one product wait for each other in any case, by a lock in PostgreSQL
//! (ADR 28). If all waited there, each would hold a connection meanwhile, and the writes of one
//! product could take the whole pool: then nothing else could reach the database. So all but a few
//! wait here, without a connection.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

use crate::domain::product::ProductId;

/// Writes of a product in the database at a time, of one instance: one that has the lock, and one
/// that is about to get it.
const IN_DATABASE: usize = 2;
/// Products share a queue if their hashes are equal, which is rare among so many.
const QUEUES: u64 = 1_024;

/// The queues of an instance, first come, first served. Cheap to clone.
#[derive(Clone)]
pub(in crate::store) struct Turns(Arc<[Semaphore]>);

impl Turns {
    pub(in crate::store) fn new() -> Self {
        Self((0..QUEUES).map(|_| Semaphore::new(IN_DATABASE)).collect())
    }

    /// Waits so long for the turn of a write of this product. It lasts until the permit is dropped.
    pub(in crate::store) async fn of(
        &self,
        id: &ProductId,
        longest: Duration,
    ) -> Option<SemaphorePermit<'_>> {
        let mut hasher = DefaultHasher::new();
        id.hash(&mut hasher);
        let queue = usize::try_from(hasher.finish() % QUEUES).ok()?;
        // They are never closed.
        timeout(longest, self.0.get(queue)?.acquire()).await.ok()?.ok()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn writes_of_one_product_wait_for_each_other_alone() {
        let turns = Turns::new();
        let [hot, other] = ["hot", "other"].map(|id| id.parse::<ProductId>().expect("an id"));
        let longest = Duration::MAX;
        let first = turns.of(&hot, longest).await.expect("a turn");
        let _second = turns.of(&hot, longest).await.expect("a turn");
        let mut third = Box::pin(turns.of(&hot, longest));
        assert!(third.as_mut().now_or_never().is_none());
        assert!(turns.of(&other, longest).await.is_some());
        assert!(turns.of(&hot, Duration::ZERO).await.is_none(), "no longer than that");
        drop(first);
        assert!(third.await.is_some());
    }
}
