//! `least_conn`: the instance with the fewest requests in flight. It is for lessons.
//!
//! It helps where requests differ much in length. For short, uniform ones it spreads as round robin
//! does, and each gateway knows only the requests that it forwarded itself. Nginx counts
//! connections; here a kept connection without a request does not count.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::pool::{Instance, Member, Snapshot};
use crate::routing::client_key::is_tried;

/// The member with the fewest requests in flight for its weight that was not tried and has fewer
/// than `max_in_flight`. Equal ones take turns. A draining member is used only when no other is
/// left.
pub fn choose<'a>(
    snapshot: &'a Snapshot,
    cursor: &AtomicUsize,
    tried: &[Arc<Instance>],
    max_in_flight: u64,
) -> Option<&'a Member> {
    let least = |places: &[usize]| least_of(snapshot, places, cursor, tried, max_in_flight);
    least(snapshot.in_rotation()).or_else(|| least(snapshot.usable()))
}

fn least_of<'a>(
    snapshot: &'a Snapshot,
    places: &[usize],
    cursor: &AtomicUsize,
    tried: &[Arc<Instance>],
    max_in_flight: u64,
) -> Option<&'a Member> {
    let start = cursor.fetch_add(1, Ordering::Relaxed);
    (0..places.len())
        .map(|step| snapshot.member(places[start.wrapping_add(step) % places.len()]))
        .filter(|member| !is_tried(member, tried))
        .map(|member| (member.instance.in_flight(), member))
        .filter(|&(in_flight, _)| in_flight < max_in_flight)
        .reduce(|least, next| {
            let [of_least, of_next] = [least, next].map(|(_, member)| weight(member));
            // The first of equal ones, so that they take turns.
            if next.0 * of_least < least.0 * of_next { next } else { least }
        })
        .map(|(_, member)| member)
}

fn weight(member: &Member) -> u64 {
    u64::from(member.weight.get())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::snapshot::tests::{snapshot, weighted};
    use crate::pool::{InFlight, Load};

    fn chosen(snapshot: &Snapshot, cursor: &AtomicUsize) -> String {
        choose(snapshot, cursor, &[], u64::MAX).expect("one").instance.name().to_string()
    }

    fn requests(snapshot: &Snapshot, place: usize, count: usize) -> Vec<InFlight> {
        let instance = || Arc::clone(&snapshot.members()[place].instance);
        (0..count).map(|_| InFlight::begin(instance(), Load::Counts)).collect()
    }

    #[test]
    fn the_least_busy_gets_the_request() {
        let members = snapshot(&["a", "b", "c"]);
        let cursor = AtomicUsize::new(0);
        let _busy = [requests(&members, 0, 2), requests(&members, 2, 1)];
        for _ in 0..4 {
            assert_eq!(chosen(&members, &cursor), "b");
        }
        let _more = requests(&members, 1, 2);
        assert_eq!(chosen(&members, &cursor), "c");
    }

    #[test]
    fn equal_ones_take_turns() {
        let members = snapshot(&["a", "b", "c"]);
        let cursor = AtomicUsize::new(usize::MAX - 1);
        let mut names: Vec<_> = (0..3).map(|_| chosen(&members, &cursor)).collect();
        names.sort_unstable();
        names.dedup();
        assert!(names.len() >= 2, "the cursor may wrap: {names:?}");
        let cursor = AtomicUsize::new(0);
        let names: Vec<_> = (0..6).map(|_| chosen(&members, &cursor)).collect();
        assert_eq!(names, ["a", "b", "c", "a", "b", "c"]);
    }

    #[test]
    fn requests_in_flight_count_by_weight() {
        let members = weighted(&[("a", 1), ("b", 4)]);
        let cursor = AtomicUsize::new(0);
        let _busy = [requests(&members, 0, 1), requests(&members, 1, 3)];
        assert_eq!(chosen(&members, &cursor), "b");
        let _more = requests(&members, 1, 2);
        assert_eq!(chosen(&members, &cursor), "a");
    }

    #[test]
    fn limits_and_drains_hold() {
        let members = snapshot(&["a>", "b", "c!"]);
        let cursor = AtomicUsize::new(0);
        let _busy = requests(&members, 1, 5);
        assert_eq!(chosen(&members, &cursor), "b", "busy, but the other one is draining");
        let tried = [Arc::clone(&members.members()[1].instance)];
        let left = choose(&members, &cursor, &tried, u64::MAX).expect("one");
        assert_eq!(left.instance.name().as_str(), "a");
        assert!(choose(&members, &cursor, &tried, 0).is_none());
    }
}
