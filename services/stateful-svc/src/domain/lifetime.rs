//! How long a session lives.

use std::time::Duration;

use jiff::Timestamp;

/// The two limits to a session's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetime {
    /// It ends this long after its last use; each read and write starts the time anew.
    pub idle: Duration,
    /// It ends this long after its creation, however much it is used.
    pub absolute: Duration,
}

impl Lifetime {
    /// For how long the id of a keyed create stays reserved: until the session that is created under it is gone, and
    /// then its tombstone. The rest is for the time between the reservation and the create.
    pub fn reservation(self) -> Duration {
        2 * self.absolute + Duration::from_secs(60)
    }

    /// When a session ends that is used now, and not again.
    pub fn expires_at(self, created_at: Timestamp, now: Timestamp) -> Timestamp {
        let idle = now.checked_add(self.idle).unwrap_or(Timestamp::MAX);
        let absolute = created_at.checked_add(self.absolute).unwrap_or(Timestamp::MAX);
        idle.min(absolute)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_idle_limit_slides_up_to_the_absolute_one() {
        let lifetime = Lifetime { idle: Duration::from_secs(10), absolute: Duration::from_secs(25) };
        let at = |second| Timestamp::from_second(second).expect("in range");
        let created = at(100);
        for (now, end) in [(100, 110), (109, 119), (115, 125), (116, 125), (124, 125)] {
            assert_eq!(lifetime.expires_at(created, at(now)), at(end), "used at {now}");
        }
    }
}
