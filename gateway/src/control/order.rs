//! The order of changes of the same thing, at this gateway.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use proto_contracts::control::ChangeOrder;

/// Changes of different things have no order, so there is one entry for each thing.
const MAX_THINGS: usize = 10_000;

/// The last change of each thing.
#[derive(Default)]
pub(super) struct Changes(Mutex<HashMap<String, Arc<Last>>>);

/// Locked while a change is made, so that an older one cannot be made between the look at the order
/// and the change.
pub(super) type Last = tokio::sync::Mutex<Option<ChangeOrder>>;

impl Changes {
    /// The last change of this thing.
    pub(super) fn of(&self, thing: String) -> Arc<Last> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= MAX_THINGS {
            // Changes that cross are seconds apart. Those in progress keep their entries.
            all.retain(|_, last| Arc::strong_count(last) > 1);
        }
        Arc::clone(all.entry(thing).or_default())
    }
}

/// Now, but later than the last change.
pub(super) fn after(last: Option<ChangeOrder>) -> ChangeOrder {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let now = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
    let next = last.map_or(0, |last| last.decided_ms.saturating_add(1));
    ChangeOrder { decided_ms: now.max(next), nonce: rand::random() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_later_than_those_that_are_known() {
        let first = after(None);
        let ahead = ChangeOrder { decided_ms: first.decided_ms + 3_600_000, nonce: u32::MAX };
        let next = after(Some(ahead));
        assert!(next > ahead, "even if another gateway's clock is ahead");
        assert!(after(Some(first)) > first, "and within a millisecond");
    }
}
