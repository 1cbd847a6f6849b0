//! Round robin: the next usable instance.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::pool::{Instance, Member, Snapshot};
use crate::routing::client_key::is_tried;

/// The next member in turn that was not tried and has fewer than `max_in_flight` requests in
/// flight. Turns follow weights. A draining member is used only when no other is left.
pub fn choose<'a>(
    snapshot: &'a Snapshot,
    cursor: &AtomicUsize,
    tried: &[Arc<Instance>],
    max_in_flight: u64,
) -> Option<&'a Member> {
    let places = snapshot.turns();
    // One step of the shared cursor per request keeps the turns exact; a retry continues from its
    // own place.
    let start = cursor.fetch_add(1, Ordering::Relaxed);
    (0..places.len())
        .map(|step| snapshot.member(places[start.wrapping_add(step) % places.len()]))
        .chain(snapshot.usable().iter().map(|&place| snapshot.member(place)))
        .find(|member| !is_tried(member, tried) && member.instance.in_flight() < max_in_flight)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::snapshot::tests::{snapshot, weighted};

    #[test]
    fn takes_turns() {
        let snapshot = snapshot(&["a", "b", "c"]);
        let cursor = AtomicUsize::new(0);
        let names: Vec<_> = (0..6)
            .filter_map(|_| choose(&snapshot, &cursor, &[], u64::MAX))
            .map(|member| member.instance.name().as_str())
            .collect();
        assert_eq!(names, ["a", "b", "c", "a", "b", "c"]);
    }

    #[test]
    fn skips_members_that_were_tried_or_are_down() {
        let snapshot = snapshot(&["a", "b!", "c"]);
        let cursor = AtomicUsize::new(0);
        let mut tried = Vec::new();
        while let Some(member) = choose(&snapshot, &cursor, &tried, u64::MAX) {
            tried.push(Arc::clone(&member.instance));
        }
        let mut names: Vec<_> = tried.iter().map(|instance| instance.name().as_str()).collect();
        names.sort_unstable();
        assert_eq!(names, ["a", "c"]);
    }

    #[test]
    fn draining_members_are_used_last() {
        let snapshot = snapshot(&["a>", "b"]);
        let cursor = AtomicUsize::new(0);
        for _ in 0..4 {
            let member = choose(&snapshot, &cursor, &[], u64::MAX).expect("one");
            assert_eq!(member.instance.name().as_str(), "b");
        }
        let tried = [Arc::clone(&snapshot.members()[1].instance)];
        assert_eq!(
            choose(&snapshot, &cursor, &tried, u64::MAX).expect("one").instance.name().as_str(),
            "a"
        );
    }

    #[test]
    fn an_instance_gets_turns_in_proportion_to_its_weight() {
        let members = weighted(&[("a", 1), ("b", 2), ("c", 1)]);
        let cursor = AtomicUsize::new(0);
        let chosen =
            || choose(&members, &cursor, &[], u64::MAX).expect("one").instance.name().to_string();
        let names: Vec<_> = (0..8).map(|_| chosen()).collect();
        assert_eq!(names, ["b", "a", "c", "b", "b", "a", "c", "b"], "spread, not in a row");
        let tried: Vec<_> = ["a", "b"]
            .iter()
            .zip(members.members())
            .map(|(_, m)| Arc::clone(&m.instance))
            .collect();
        assert_eq!(
            choose(&members, &cursor, &tried, u64::MAX).expect("one").instance.name().as_str(),
            "c"
        );
    }

    #[test]
    fn the_cursor_may_wrap() {
        let snapshot = snapshot(&["a", "b"]);
        let cursor = AtomicUsize::new(usize::MAX);
        assert!(choose(&snapshot, &cursor, &[], u64::MAX).is_some());
        assert!(choose(&snapshot, &cursor, &[], u64::MAX).is_some());
    }
}
