//! Two other ways to map keys to instances, for the comparison in the lesson of scaling out.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher as _};

/// Points of each instance on the ring, as in ketama.
pub(crate) const POINTS: u32 = 160;

/// The instance by `hash mod N`.
pub(crate) fn modulo(key: u32, instances: usize) -> usize {
    (hash(key) % instances.max(1) as u64) as usize
}

/// A ketama ring: the instance of the first point at or after the key's hash.
pub(crate) struct Ring(BTreeMap<u64, usize>);

impl Ring {
    /// The ring of this many instances.
    pub(crate) fn of(instances: usize) -> Self {
        let points = |instance| (0..POINTS).map(move |point| (hash((instance, point)), instance));
        Self((0..instances).flat_map(points).collect())
    }

    /// The key's instance.
    pub(crate) fn instance(&self, key: u32) -> Option<usize> {
        let after = self.0.range(hash(key)..).next();
        after.or_else(|| self.0.iter().next()).map(|(_, &instance)| instance)
    }
}

/// The same in every run: `DefaultHasher::new` has fixed keys.
fn hash(value: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_moves_keys_to_the_newcomer_only() {
        let (before, after) = (Ring::of(3), Ring::of(4));
        let moved = (0..10_000)
            .filter_map(|key| {
                let (from, to) = (before.instance(key), after.instance(key));
                (from != to).then_some(to)
            })
            .collect::<Vec<_>>();
        assert!((1_500..3_500).contains(&moved.len()), "{}", moved.len());
        assert!(moved.iter().all(|&to| to == Some(3)));
        assert_eq!(Ring::of(0).instance(1), None);
    }

    #[test]
    fn modulo_moves_most_keys() {
        let moved = (0..10_000).filter(|&key| modulo(key, 3) != modulo(key, 4)).count();
        assert!((7_300..7_700).contains(&moved), "{moved}");
    }
}
