//! One version for each partition, read and changed without a lock: what was acknowledged, or what is applied.
//!
//! Both fit into one number: the epoch above, the sequence below. Where one of the two would not fit, the version told
//! is lower than it could be.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::types::{MAX_PARTITIONS, PartitionId, Version};

/// Bits of the sequence: a million writes a second for twelve days, and then again with the next epoch.
const SEQUENCE_BITS: u32 = 40;
const LAST_SEQUENCE: u64 = (1 << SEQUENCE_BITS) - 1;
const LAST_EPOCH: u64 = (1 << (u64::BITS - SEQUENCE_BITS)) - 1;

/// See the module.
pub struct Versions(Box<[AtomicU64]>);

impl Versions {
    /// None yet.
    pub fn new() -> Self {
        Self((0..MAX_PARTITIONS).map(|_| AtomicU64::new(0)).collect())
    }

    /// It is at least this one.
    pub fn raise(&self, partition: PartitionId, version: Version) {
        if let Some(known) = self.0.get(usize::from(partition.0)) {
            known.fetch_max(packed(version), Relaxed);
        }
    }

    /// It is this one.
    pub fn set(&self, partition: PartitionId, version: Version) {
        if let Some(known) = self.0.get(usize::from(partition.0)) {
            known.store(packed(version), Relaxed);
        }
    }

    /// The version of a partition.
    pub fn get(&self, partition: PartitionId) -> Version {
        let packed = self.0.get(usize::from(partition.0)).map_or(0, |known| known.load(Relaxed));
        Version { epoch: packed >> SEQUENCE_BITS, sequence: packed & LAST_SEQUENCE }
    }
}

impl Default for Versions {
    fn default() -> Self {
        Self::new()
    }
}

fn packed(version: Version) -> u64 {
    if version.epoch > LAST_EPOCH {
        return LAST_EPOCH << SEQUENCE_BITS;
    }
    version.epoch << SEQUENCE_BITS | version.sequence.min(LAST_SEQUENCE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_floor_only_rises() {
        let (floors, p) = (Versions::new(), PartitionId(7));
        let version = |epoch, sequence| Version { epoch, sequence };
        assert_eq!(floors.get(p), Version::default());
        for (raised, floor) in [((1, 9), (1, 9)), ((1, 4), (1, 9)), ((2, 3), (2, 3)), ((1, 99), (2, 3))] {
            floors.raise(p, version(raised.0, raised.1));
            assert_eq!(floors.get(p), version(floor.0, floor.1));
        }
        floors.set(p, version(1, 2));
        assert_eq!(floors.get(p), version(1, 2));
        assert_eq!(floors.get(PartitionId(8)), Version::default());
        floors.raise(PartitionId(u16::MAX), version(1, 1));
    }

    #[test]
    fn what_does_not_fit_is_told_lower_and_never_higher() {
        let (floors, p) = (Versions::new(), PartitionId(0));
        let huge = Version { epoch: u64::MAX, sequence: u64::MAX };
        floors.raise(p, huge);
        assert!(floors.get(p) <= huge && floors.get(p).epoch == LAST_EPOCH);
        let long = Version { epoch: 1, sequence: LAST_SEQUENCE + 5 };
        floors.raise(PartitionId(1), long);
        assert!(floors.get(PartitionId(1)) <= long && floors.get(PartitionId(1)).epoch == 1);
    }
}
