//! The distribution of homes, measured over a sample of keys.

use proto_contracts::AffinityKey;

use crate::pool::Snapshot;
use crate::routing::sticky;

/// Number of `sample` evenly spread keys per home, in the members' order.
pub fn homes(snapshot: &Snapshot, sample: u32) -> Vec<u32> {
    let members = snapshot.members();
    let mut counts = vec![0; members.len()];
    for key in keys(sample) {
        let home = sticky::home(snapshot, key).map(|member| member.instance.name());
        if let Some(place) = members.iter().position(|member| Some(member.instance.name()) == home)
        {
            counts[place] += 1;
        }
    }
    counts
}

/// `count` evenly spread keys: multiples of 2³² divided by the golden ratio.
pub fn keys(count: u32) -> impl Iterator<Item = AffinityKey> {
    (0..count).map(|i| AffinityKey::from_bits(i.wrapping_mul(0x9e37_79b9)))
}
