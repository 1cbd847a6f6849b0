//! Affinity keys from a fixed seed, the same in every run.

use proto_contracts::AffinityKey;

/// An endless sequence of keys: SplitMix64 from this seed, upper halves.
/// Source: G. Steele, D. Lea, C. Flood, "Fast splittable pseudorandom number generators", 2014.
pub(crate) fn keys(seed: u64) -> impl Iterator<Item = AffinityKey> {
    let mut state = seed;
    std::iter::repeat_with(move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        AffinityKey::from_bits((mixed >> 32) as u32)
    })
}
