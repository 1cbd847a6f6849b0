//! Rendezvous hashing (highest random weight) over instance names.
//!
//! Each member scores each key by a hash of both; the highest score is the key's home. It needs no
//! table, every gateway with the same members computes the same home, and a change of membership
//! moves the minimum of keys: only those of the removed instance, or only those that the new one
//! wins. Source: D. Thaler, C. Ravishankar, "Using name-based mappings to increase hit rates",
//! 1998.

mod weighted;

pub use weighted::WeightedScore;

use proto_contracts::{AffinityKey, InstanceName, Weight};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// Seed of the hashes, the same in all gateways of an installation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seed(u64);

impl Seed {
    /// The seed derived from this text.
    pub fn from_text(text: &str) -> Self {
        Self(xxh3_64(text.as_bytes()))
    }

    /// The hash of a name, computed once per membership.
    pub fn name_hash(self, name: &InstanceName) -> NameHash {
        NameHash(xxh3_64_with_seed(name.as_str().as_bytes(), self.0))
    }

    /// A fingerprint of a list of names, with their weights where these differ.
    pub fn fingerprint<'a>(
        self,
        members: impl Iterator<Item = (&'a InstanceName, Option<Weight>)>,
    ) -> u32 {
        let written = |(name, weight): (&InstanceName, Option<Weight>)| {
            // No name has a space.
            weight.map_or_else(|| name.to_string(), |weight| format!("{name} {weight}"))
        };
        let joined = members.map(written).collect::<Vec<_>>().join("\n");
        (xxh3_64_with_seed(joined.as_bytes(), self.0) >> 32) as u32
    }
}

/// The hash of an instance's name under the installation's seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NameHash(u64);

impl NameHash {
    /// The 16 hex digits, for clients that rank by themselves.
    pub fn to_hex(self) -> String {
        format!("{:016x}", self.0)
    }

    /// The score of the key; the highest is its home.
    #[inline]
    pub fn score(self, key: AffinityKey) -> u64 {
        // The key is spread over all 64 bits first, since it fills only 32; then SplitMix64's
        // finalizer mixes.
        let mut x = self.0 ^ u64::from(key.bits()).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn home(seed: Seed, names: &[&str], key: u32) -> usize {
        let key = AffinityKey::from_bits(key);
        let score = |name: &str| seed.name_hash(&name.parse().expect("a name")).score(key);
        (0..names.len()).max_by_key(|&i| score(names[i])).expect("not empty")
    }

    #[test]
    fn homes_are_even_for_consecutive_and_for_random_keys() {
        let names = ["stateful-1", "stateful-2", "stateful-3", "stateful-4", "stateful-5"];
        let seed = Seed::from_text("tandem");
        for spread in [1_u32, 0x9e37_79b9] {
            let mut counts = [0_u32; 5];
            for i in 0..100_000_u32 {
                counts[home(seed, &names, i.wrapping_mul(spread))] += 1;
            }
            // Five standard deviations of a fair draw: sqrt(100000 × 0.2 × 0.8) × 5 = 632.
            assert!(counts.iter().all(|count| count.abs_diff(20_000) < 632), "{counts:?}");
        }
    }

    #[test]
    fn the_seed_decides() {
        let names = ["a", "b", "c"];
        let (one, two) = (Seed::from_text("one"), Seed::from_text("two"));
        let same =
            (0..3_000).filter(|&key| home(one, &names, key) == home(two, &names, key)).count();
        assert!((850..1_150).contains(&same), "a third agrees by chance, not {same} of 3000");
    }
}
