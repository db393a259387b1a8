//! The last version of each partition that was acknowledged through this member: what an app wrote here it must find
//! here, whoever answers.
//!
//! One number per partition, so that looking and raising take no lock: the epoch above, the sequence below. Where one of
//! the two would not fit, the floor is lower than it could be.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::types::{MAX_PARTITIONS, PartitionId, Version};

/// Bits of the sequence: a million writes a second for twelve days, and then again with the next epoch.
const SEQUENCE_BITS: u32 = 40;
const LAST_SEQUENCE: u64 = (1 << SEQUENCE_BITS) - 1;
const LAST_EPOCH: u64 = (1 << (u64::BITS - SEQUENCE_BITS)) - 1;

/// See the module.
pub struct Floors(Box<[AtomicU64]>);

impl Floors {
    /// Nothing was acknowledged yet.
    pub fn new() -> Self {
        Self((0..MAX_PARTITIONS).map(|_| AtomicU64::new(0)).collect())
    }

    /// A write was acknowledged.
    pub fn raise(&self, partition: PartitionId, version: Version) {
        let packed = if version.epoch > LAST_EPOCH {
            LAST_EPOCH << SEQUENCE_BITS
        } else {
            version.epoch << SEQUENCE_BITS | version.sequence.min(LAST_SEQUENCE)
        };
        if let Some(floor) = self.0.get(usize::from(partition.0)) {
            floor.fetch_max(packed, Relaxed);
        }
    }

    /// What an answer must show.
    pub fn get(&self, partition: PartitionId) -> Version {
        let packed = self.0.get(usize::from(partition.0)).map_or(0, |floor| floor.load(Relaxed));
        Version { epoch: packed >> SEQUENCE_BITS, sequence: packed & LAST_SEQUENCE }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_floor_only_rises() {
        let (floors, p) = (Floors::new(), PartitionId(7));
        let version = |epoch, sequence| Version { epoch, sequence };
        assert_eq!(floors.get(p), Version::default());
        for (raised, floor) in [((1, 9), (1, 9)), ((1, 4), (1, 9)), ((2, 3), (2, 3)), ((1, 99), (2, 3))] {
            floors.raise(p, version(raised.0, raised.1));
            assert_eq!(floors.get(p), version(floor.0, floor.1));
        }
        assert_eq!(floors.get(PartitionId(8)), Version::default());
        floors.raise(PartitionId(u16::MAX), version(1, 1));
    }

    #[test]
    fn a_floor_is_never_above_what_was_acknowledged() {
        let (floors, p) = (Floors::new(), PartitionId(0));
        let huge = Version { epoch: u64::MAX, sequence: u64::MAX };
        floors.raise(p, huge);
        assert!(floors.get(p) <= huge && floors.get(p).epoch == LAST_EPOCH);
        let long = Version { epoch: 1, sequence: LAST_SEQUENCE + 5 };
        floors.raise(PartitionId(1), long);
        assert!(floors.get(PartitionId(1)) <= long && floors.get(PartitionId(1)).epoch == 1);
    }
}
