//! The shape of a log: where each epoch ends.
//!
//! An epoch has one primary, and a primary only appends. So two logs that have the same epoch at a
//! sequence are equal up to there, and a few pairs per partition say where any two logs part. (Kafka
//! calls it the leader epoch cache, KIP-101 and KIP-279.) Never are logs compared by their commit
//! points: those are behind, and cutting there loses writes.

use serde::{Deserialize, Serialize};

use crate::types::Version;

/// Last version of each epoch, oldest first. Empty: an empty log.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chain(Vec<(u64, u64)>);

impl Chain {
    /// The last record; sequence 0 when there is none.
    pub fn last(&self) -> Version {
        self.0.last().map_or(Version::default(), |&(epoch, sequence)| Version { epoch, sequence })
    }

    /// The epoch of a record; `None` beyond the end.
    pub fn epoch_at(&self, sequence: u64) -> Option<u64> {
        if sequence == 0 {
            return Some(0);
        }
        let run = self.0.partition_point(|(_, last)| *last < sequence);
        self.0.get(run).map(|(epoch, _)| *epoch)
    }

    /// Is this record in the log?
    pub fn holds(&self, version: Version) -> bool {
        version == Version::default() || self.epoch_at(version.sequence) == Some(version.epoch)
    }

    /// Last sequence of each epoch, oldest first.
    pub fn epochs(&self) -> &[(u64, u64)] {
        &self.0
    }

    /// The log whose epochs ended like this, and which now ends with `last`; `None` when that cannot be one log.
    pub fn ending(epochs: Vec<(u64, u64)>, last: Version) -> Option<Self> {
        let mut chain = Self(epochs);
        chain.cut_after(last.sequence);
        match chain.0.last_mut() {
            Some((epoch, end)) if *epoch == last.epoch => *end = last.sequence,
            None if last.sequence > 0 => chain.0.push((last.epoch, last.sequence)),
            None => {}
            Some(_) => return None,
        }
        let grows = |pair: &[(u64, u64)]| pair[0].0 < pair[1].0 && pair[0].1 < pair[1].1;
        chain.0.windows(2).all(grows).then_some(chain)
    }

    /// Adds a record; false, and nothing happens, when it is not the next one.
    #[must_use]
    pub fn push(&mut self, version: Version) -> bool {
        let last = self.last();
        if version.sequence != last.sequence + 1 || version.epoch < last.epoch {
            return false;
        }
        match self.0.last_mut().filter(|(epoch, _)| *epoch == version.epoch) {
            Some((_, last)) => *last = version.sequence,
            None => self.0.push((version.epoch, version.sequence)),
        }
        true
    }

    /// Forgets what comes after a sequence.
    pub fn cut_after(&mut self, sequence: u64) {
        let mut before = 0;
        self.0.retain_mut(|(_, last)| {
            let stays = before < sequence;
            before = *last;
            *last = (*last).min(sequence);
            stays
        });
    }

    /// The same log up to a sequence.
    pub fn up_to(&self, sequence: u64) -> Self {
        let mut part = self.clone();
        part.cut_after(sequence);
        part
    }

    /// The last record that both logs have.
    pub fn common(&self, other: &Self) -> Version {
        let mut at = self.last().sequence.min(other.last().sequence);
        loop {
            match (self.epoch_at(at), other.epoch_at(at)) {
                (Some(ours), Some(theirs)) if ours == theirs => return Version { epoch: ours, sequence: at },
                // The one with the later epoch parted before that epoch began.
                (Some(ours), Some(theirs)) => {
                    let (chain, epoch) = if ours > theirs { (self, theirs) } else { (other, ours) };
                    let end = chain.0.iter().rev().find(|(e, _)| *e <= epoch).map_or(0, |(_, last)| *last);
                    at = end.min(at.saturating_sub(1));
                }
                _ => return Version::default(),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn chain(epochs: &[u64]) -> Chain {
        let mut chain = Chain::default();
        for (epoch, sequence) in epochs.iter().zip(1..) {
            assert!(chain.push(Version { epoch: *epoch, sequence }));
        }
        chain
    }

    fn epochs() -> impl Strategy<Value = Vec<u64>> {
        prop::collection::vec(1..6_u64, 0..12).prop_map(|mut epochs| {
            epochs.sort_unstable();
            epochs
        })
    }

    #[test]
    fn only_the_next_record_is_added() {
        let mut log = chain(&[1, 1, 3]);
        assert!(!log.push(Version { epoch: 3, sequence: 5 }), "a gap");
        assert!(!log.push(Version { epoch: 2, sequence: 4 }), "an older epoch");
        assert_eq!(log, chain(&[1, 1, 3]));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1_000) })]
        #[test]
        fn it_answers_like_a_list_of_records(ours in epochs(), theirs in epochs(), at in 0..14_u64) {
            let (a, b) = (chain(&ours), chain(&theirs));
            let last_equal = (0..ours.len().min(theirs.len())).rev().find(|&i| ours[i] == theirs[i]);
            prop_assert_eq!(a.common(&b).sequence, last_equal.map_or(0, |i| i as u64 + 1));
            prop_assert_eq!(a.common(&b), b.common(&a));
            let kept = ours.len().min(at as usize);
            prop_assert_eq!(a.up_to(at), chain(&ours[..kept]));
            prop_assert_eq!(a.last().sequence, ours.len() as u64);
        }
    }
}
