//! What a copy's rows were at some versions, so that copies that are never at the same one can be compared.

use std::collections::{HashMap, VecDeque};

use super::report::Moment;
use crate::types::{PartitionId, Version};

/// Sequences between two moments. The same on every member, or they have none in common.
const EVERY: u64 = 256;
/// Moments of a partition: a copy that is further behind than all of them is asked again later.
const KEPT: usize = 4;

/// The last moments of the partitions that are here, newest first. A start forgets them.
#[derive(Debug, Default)]
pub struct Moments {
    kept: HashMap<PartitionId, VecDeque<Moment>>,
}

impl Moments {
    /// Whether what the rows were after this write is remembered.
    pub fn keeps(version: Version) -> bool {
        version.sequence.is_multiple_of(EVERY)
    }

    /// Remembers it.
    pub fn note(&mut self, partition: PartitionId, moment: Moment) {
        let kept = self.kept.entry(partition).or_default();
        kept.truncate(KEPT - 1);
        kept.push_front(moment);
    }

    /// What is remembered of a partition, newest first.
    pub fn of(&self, partition: PartitionId) -> Vec<Moment> {
        self.kept.get(&partition).into_iter().flatten().cloned().collect()
    }

    /// Its rows are others now.
    pub fn forget(&mut self, partition: PartitionId) {
        self.kept.remove(&partition);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_are_kept() {
        let mut moments = Moments::default();
        for sequence in 1..=256 * 9 {
            let at = Version { epoch: 1, sequence };
            if Moments::keeps(at) {
                moments.note(PartitionId(3), Moment { at, ..Moment::default() });
            }
        }
        let of = |moments: &Moments| -> Vec<u64> {
            moments.of(PartitionId(3)).iter().map(|moment| moment.at.sequence).collect()
        };
        assert_eq!(of(&moments), [256 * 9, 256 * 8, 256 * 7, 256 * 6]);
        moments.forget(PartitionId(3));
        assert!(of(&moments).is_empty());
    }
}
