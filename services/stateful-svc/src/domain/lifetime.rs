//! The lifetime of sessions.

use std::time::Duration;

use jiff::Timestamp;

/// The two limits of a session's lifetime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetime {
    /// The session expires this long after its last read or write.
    pub idle: Duration,
    /// The session expires this long after its creation, even in use.
    pub absolute: Duration,
}

impl Lifetime {
    /// How long the id of a keyed create stays reserved: longer than the session and its tombstone.
    /// The extra minute covers the time between the reservation and the create.
    pub fn reservation(self) -> Duration {
        2 * self.absolute + Duration::from_secs(60)
    }

    /// The expiry of a session whose last use is now.
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
    fn the_idle_limit_slides_until_the_absolute_one() {
        let lifetime =
            Lifetime { idle: Duration::from_secs(10), absolute: Duration::from_secs(25) };
        let at = |second| Timestamp::from_second(second).expect("in range");
        let created = at(100);
        for (now, end) in [(100, 110), (109, 119), (115, 125), (116, 125), (124, 125)] {
            assert_eq!(lifetime.expires_at(created, at(now)), at(end), "used at {now}");
        }
    }
}
