//! Positions in PostgreSQL's write-ahead log, and how old the state of a replica may be.

use std::collections::VecDeque;
use std::fmt;
use std::str::FromStr;
use std::time::{Duration, Instant};

/// A position in the log. A later one has all changes of an earlier one, if its server's history
/// has the timeline.
///
/// As text, positions are in the same order: `00000001-0000000001A2B3C4`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WalPosition {
    /// Which promotion the log is of. After a promotion, equal LSNs may mean other changes.
    pub timeline: u32,
    /// The LSN: a number of bytes.
    pub lsn: u64,
}

/// The text is no position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a position in the write-ahead log")]
pub struct InvalidPosition;

impl fmt::Display for WalPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08X}-{:016X}", self.timeline, self.lsn)
    }
}

impl FromStr for WalPosition {
    type Err = InvalidPosition;

    fn from_str(text: &str) -> Result<Self, InvalidPosition> {
        let (timeline, lsn) = text.split_once('-').ok_or(InvalidPosition)?;
        let position = Self {
            timeline: u32::from_str_radix(timeline, 16).map_err(|_| InvalidPosition)?,
            lsn: u64::from_str_radix(lsn, 16).map_err(|_| InvalidPosition)?,
        };
        // The canonical spelling alone: Redis compares texts.
        if position.to_string() == text { Ok(position) } else { Err(InvalidPosition) }
    }
}

impl WalPosition {
    /// Whether a server that has replayed this has the changes up to `other`.
    pub fn includes(&self, other: &Self) -> bool {
        self.timeline == other.timeline && self.lsn >= other.lsn
    }
}

/// How many positions are kept: more than the longest lag that is allowed, at two a second.
const KEPT: usize = 240;

/// Where the primary was, and when: it tells how old a replica's state may be. The times are those
/// of this machine, so no clocks are compared.
#[derive(Debug, Default)]
pub struct PrimaryPositions(VecDeque<(Instant, WalPosition)>);

impl PrimaryPositions {
    /// Adds a position. The primary was asked at `asked`: all changes that were committed before
    /// are at or before the position.
    pub fn add(&mut self, asked: Instant, position: WalPosition) {
        if self.0.len() == KEPT {
            self.0.pop_front();
        }
        self.0.push_back((asked, position));
    }

    /// The latest time before which nothing was committed that a replica lacks which has replayed
    /// this. `None` if it is longer ago than anything known.
    pub fn complete_until(&self, replayed: &WalPosition) -> Option<Instant> {
        let mut known = self.0.iter().rev();
        known.find(|(_, position)| replayed.includes(position)).map(|(asked, _)| *asked)
    }

    /// Whether a replica that has replayed this lacks nothing that was committed longer ago than
    /// `most`.
    pub fn is_within(&self, most: Duration, replayed: &WalPosition, now: Instant) -> bool {
        let complete_until = self.complete_until(replayed);
        complete_until.is_some_and(|until| now.saturating_duration_since(until) <= most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(timeline: u32, lsn: u64) -> WalPosition {
        WalPosition { timeline, lsn }
    }

    #[test]
    fn texts_read_back_and_are_in_the_order_of_positions() {
        let rising = [at(1, 0), at(1, 9), at(1, 10), at(1, u64::MAX), at(2, 0), at(16, 1)];
        for pair in rising.windows(2) {
            assert!(pair[0] < pair[1] && pair[0].to_string() < pair[1].to_string(), "{pair:?}");
        }
        for position in rising {
            assert_eq!(position.to_string().parse(), Ok(position));
        }
        for bad in
            ["", "1-1", "?019ac8f5", "00000001-000000000000000a", "00000001-+00000000000000A"]
        {
            assert_eq!(bad.parse::<WalPosition>(), Err(InvalidPosition), "{bad}");
        }
    }

    #[test]
    fn a_position_includes_earlier_ones_of_its_timeline_alone() {
        assert!(at(1, 5).includes(&at(1, 5)) && at(1, 6).includes(&at(1, 5)));
        assert!(!at(1, 4).includes(&at(1, 5)));
        // A diverged server, and one of which it is unknown whether it follows.
        assert!(!at(1, 9).includes(&at(2, 5)) && !at(2, 9).includes(&at(1, 5)));
    }

    #[test]
    fn a_replica_is_as_old_as_the_last_position_that_it_has() {
        let begin = Instant::now();
        let second = |seconds| begin + Duration::from_secs(seconds);
        let mut positions = PrimaryPositions::default();
        assert_eq!(positions.complete_until(&at(1, 100)), None, "nothing is known");
        for number in 0..10 {
            positions.add(second(number), at(1, number * 10));
        }
        assert_eq!(positions.complete_until(&at(1, 45)), Some(second(4)));
        assert_eq!(positions.complete_until(&at(1, 1_000)), Some(second(9)));
        assert_eq!(positions.complete_until(&at(2, 1_000)), None);
        let most = Duration::from_secs(5);
        assert!(positions.is_within(most, &at(1, 45), second(9)));
        assert!(!positions.is_within(most, &at(1, 45), second(10)));
        // An idle primary stays where it is, and its replica stays fresh while it is asked.
        positions.add(second(10), at(1, 90));
        assert!(positions.is_within(most, &at(1, 90), second(15)));
        assert!(!positions.is_within(most, &at(1, 90), second(16)));
        // After a promotion, the old timeline counts no more than it did.
        positions.add(second(11), at(2, 20));
        assert_eq!(positions.complete_until(&at(2, 20)), Some(second(11)));
        assert_eq!(positions.complete_until(&at(1, 90)), Some(second(10)));
        for number in 0..1_000 {
            positions.add(second(20 + number), at(2, 30));
        }
        assert_eq!(positions.0.len(), KEPT);
    }
}
