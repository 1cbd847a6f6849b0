//! How many connections to instances may be open in all threads: as many as client connections, for
//! which [`crate::descriptors`] leaves room.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Counts the connections to instances.
#[derive(Debug)]
pub(super) struct Room {
    most: usize,
    open: AtomicUsize,
}

/// An open connection's place, until this is dropped.
#[derive(Debug)]
pub(super) struct Place(Arc<Room>);

impl Room {
    /// Room for `most` connections.
    pub(super) const fn new(most: usize) -> Self {
        Self { most, open: AtomicUsize::new(0) }
    }

    /// A place for a connection that a request needs, even beyond the limit: idle ones make room.
    pub(super) fn take(self: &Arc<Self>) -> Place {
        self.open.fetch_add(1, Ordering::Relaxed);
        Place(Arc::clone(self))
    }
}

impl Place {
    /// Whether more connections are open than may be.
    pub(super) fn is_beyond(&self) -> bool {
        self.0.open.load(Ordering::Relaxed) > self.0.most
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}
