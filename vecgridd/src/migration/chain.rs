//! The shape of a log: where each epoch ends.
//!
//! An epoch has one primary, and a primary only appends. So two logs that have the same epoch at a
//! sequence are equal up to there, and a few pairs per partition say where any two logs part. (Kafka
//! calls it the leader epoch cache, KIP-101 and KIP-279.) Never are logs compared by their commit
//! points: those are behind, and cutting there loses writes.
//!
//! Every epoch would add a pair for ever, so the oldest are forgotten ([`Chain::forget`]). What is left of them is
//! the *floor*, the last record of the last epoch that was forgotten. Below it nothing is claimed: a question about
//! that has no answer, never a wrong one. Two logs that part below what both know have no common record that anybody
//! could name, and whoever is behind gets a snapshot.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

use crate::types::Version;

/// Last version of each epoch, oldest first. Empty: an empty log.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Told", into = "Told")]
pub struct Chain {
    /// The last record of which no more is known than its version; sequence 0 when nothing was forgotten.
    floor: Version,
    ends: Vec<(u64, u64)>,
}

/// As it is told to others. A log of which nothing was forgotten is a list, as it was before anything was.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(untagged)]
enum Told {
    Whole(Vec<(u64, u64)>),
    Rest { floor: (u64, u64), ends: Vec<(u64, u64)> },
}

impl From<Told> for Chain {
    fn from(told: Told) -> Self {
        let ((epoch, sequence), ends) = match told {
            Told::Whole(ends) => ((0, 0), ends),
            Told::Rest { floor, ends } => (floor, ends),
        };
        Self { floor: Version { epoch, sequence }, ends }
    }
}

impl From<Chain> for Told {
    fn from(Chain { floor, ends }: Chain) -> Self {
        match floor.sequence {
            0 => Self::Whole(ends),
            sequence => Self::Rest { floor: (floor.epoch, sequence), ends },
        }
    }
}

impl Chain {
    /// A log of which no more is known than its last record.
    pub fn standing_at(last: Version) -> Self {
        Self { floor: last, ends: Vec::new() }
    }

    /// The last record; sequence 0 when there is none.
    pub fn last(&self) -> Version {
        self.ends.last().map_or(self.floor, |&(epoch, sequence)| Version { epoch, sequence })
    }

    /// The epoch of a record; `None` beyond the end, and below the floor.
    pub fn epoch_at(&self, sequence: u64) -> Option<u64> {
        if sequence == 0 {
            return Some(0);
        }
        if sequence <= self.floor.sequence {
            return (sequence == self.floor.sequence).then_some(self.floor.epoch);
        }
        let run = self.ends.partition_point(|(_, last)| *last < sequence);
        self.ends.get(run).map(|(epoch, _)| *epoch)
    }

    /// Is this record certainly in the log?
    pub fn holds(&self, version: Version) -> bool {
        version == Version::default() || self.epoch_at(version.sequence) == Some(version.epoch)
    }

    /// Can a log that ends behind this record, which it shares with this one, be compared with it however far it has come?
    pub fn compares_after(&self, shared: Version) -> bool {
        shared.sequence >= self.floor.sequence || shared.epoch == self.floor.epoch
    }

    /// Below this record nothing is known of the log; sequence 0 when all of it is known.
    pub fn floor(&self) -> Version {
        self.floor
    }

    /// Last sequence of each epoch behind the floor, oldest first.
    pub fn epochs(&self) -> &[(u64, u64)] {
        &self.ends
    }

    /// The log of which this was known, and which now ends with `last`; `None` when that cannot be one log.
    pub fn ending(floor: Version, epochs: Vec<(u64, u64)>, last: Version) -> Option<Self> {
        if last.sequence < floor.sequence {
            return None;
        }
        let mut chain = Self { floor, ends: epochs };
        chain.cut_after(last);
        match chain.ends.last_mut() {
            Some((epoch, end)) if *epoch == last.epoch => *end = last.sequence,
            // The end of an epoch is noted when it begins.
            None if last.sequence > floor.sequence && (floor.sequence == 0 || last.epoch == floor.epoch) => {
                chain.ends.push((last.epoch, last.sequence));
            }
            None if last.sequence == 0 || last == floor => {}
            None | Some(_) => return None,
        }
        let grows = |pair: &[(u64, u64)]| pair[0].0 < pair[1].0 && pair[0].1 < pair[1].1;
        let follows =
            |(epoch, end): &(u64, u64)| floor.sequence == 0 || *epoch >= floor.epoch && *end > floor.sequence;
        (chain.ends.windows(2).all(grows) && chain.ends.iter().all(follows)).then_some(chain)
    }

    /// Adds a record; false, and nothing happens, when it is not the next one.
    #[must_use]
    pub fn push(&mut self, version: Version) -> bool {
        let last = self.last();
        if version.sequence != last.sequence + 1 || version.epoch < last.epoch {
            return false;
        }
        match self.ends.last_mut().filter(|(epoch, _)| *epoch == version.epoch) {
            Some((_, last)) => *last = version.sequence,
            None => self.ends.push((version.epoch, version.sequence)),
        }
        true
    }

    /// Forgets where the oldest epochs end, so that at most `keep` are known: of those that end at or before
    /// `committed`, which is never cut. Later ones are as many as records that wait for others, and no more.
    pub fn forget(&mut self, keep: usize, committed: u64) {
        let surplus = self.ends.len().saturating_sub(keep);
        let forgotten = self.ends.iter().take(surplus).take_while(|(_, last)| *last <= committed).count();
        if let Some((epoch, sequence)) = self.ends.drain(..forgotten).next_back() {
            self.floor = Version { epoch, sequence };
        }
    }

    /// Forgets what comes after a record of this log.
    pub fn cut_after(&mut self, last: Version) {
        if last.sequence < self.floor.sequence {
            *self = Self::standing_at(last);
            return;
        }
        let mut before = self.floor.sequence;
        self.ends.retain_mut(|(_, end)| {
            let stays = before < last.sequence;
            before = *end;
            *end = (*end).min(last.sequence);
            stays
        });
    }

    /// The same log up to one of its records.
    pub fn up_to(&self, last: Version) -> Self {
        let mut part = self.clone();
        part.cut_after(last);
        part
    }

    /// The last record that both logs have; `None` when they part below what both know.
    pub fn common(&self, other: &Self) -> Option<Version> {
        let mut at = self.last().sequence.min(other.last().sequence);
        loop {
            // Below its floor, all that a log has is of the floor's epoch or older. Of the same epoch as what the other
            // has there, it is the same record: both have what that epoch's primary had.
            let (ours, theirs) = match (self.epoch_at(at), other.epoch_at(at)) {
                (Some(ours), Some(theirs)) => (ours, theirs),
                (Some(ours), None) if ours >= other.floor.epoch => (ours, other.floor.epoch),
                (None, Some(theirs)) if theirs >= self.floor.epoch => (self.floor.epoch, theirs),
                _ => return None,
            };
            // The one with the later epoch parted before that epoch began.
            let end = match ours.cmp(&theirs) {
                Ordering::Equal => return Some(Version { epoch: ours, sequence: at }),
                Ordering::Greater => self.last_until(theirs)?,
                Ordering::Less => other.last_until(ours)?,
            };
            at = end.min(at.saturating_sub(1));
        }
    }

    /// The last record of this epoch or an older one; `None` when that is below the floor.
    fn last_until(&self, epoch: u64) -> Option<u64> {
        let known = self.ends.iter().rev().find(|(of, _)| *of <= epoch).map(|(_, last)| *last);
        known.or_else(|| (self.floor.epoch <= epoch).then_some(self.floor.sequence))
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

    /// The log of each epoch's primary: it had a part of an earlier one's, and appended to it.
    fn logs() -> impl Strategy<Value = Vec<Vec<u64>>> {
        prop::collection::vec((0..100_usize, 0..12_usize, 0..4_usize), 1..9).prop_map(|terms| {
            let mut logs: Vec<Vec<u64>> = vec![Vec::new()];
            for ((from, kept, appended), epoch) in terms.into_iter().zip(1..) {
                let mut log = logs[from % logs.len()].clone();
                log.truncate(kept);
                log.extend(std::iter::repeat_n(epoch, appended));
                logs.push(log);
            }
            logs
        })
    }

    /// A part of one of them.
    fn pick(logs: &[Vec<u64>], (which, length): (usize, usize)) -> &[u64] {
        let log = &logs[which % logs.len()];
        &log[..length.min(log.len())]
    }

    fn which() -> impl Strategy<Value = (usize, usize)> {
        (0..100_usize, 0..14_usize)
    }

    fn last_equal(ours: &[u64], theirs: &[u64]) -> u64 {
        let last = (0..ours.len().min(theirs.len())).rev().find(|&i| ours[i] == theirs[i]);
        last.map_or(0, |i| i as u64 + 1)
    }

    fn version_at(log: &[u64], at: u64) -> Version {
        let record = at.checked_sub(1).and_then(|i| log.get(i as usize));
        record.map_or(Version::default(), |&epoch| Version { epoch, sequence: at })
    }

    #[test]
    fn only_the_next_record_is_added() {
        let mut log = chain(&[1, 1, 3]);
        assert!(!log.push(Version { epoch: 3, sequence: 5 }), "a gap");
        assert!(!log.push(Version { epoch: 2, sequence: 4 }), "an older epoch");
        assert_eq!(log, chain(&[1, 1, 3]));
    }

    #[test]
    fn logs_that_part_below_what_is_known_have_no_common_record_that_is_told() {
        let mut ours = chain(&[1, 1, 3, 4, 5]);
        assert_eq!(ours.common(&chain(&[1, 2])), Some(Version { epoch: 1, sequence: 1 }));
        ours.forget(2, 5);
        assert_eq!((ours.floor(), ours.epochs()), (Version { epoch: 3, sequence: 3 }, &[(4, 4), (5, 5)][..]));
        assert_eq!(ours.common(&chain(&[1, 2])), None);
        assert_eq!(ours.common(&chain(&[1, 1, 3, 3])), Some(Version { epoch: 3, sequence: 3 }));
        assert_eq!(ours.common(&Chain::default()), Some(Version::default()));
        ours.forget(0, 4);
        assert_eq!(ours.epochs(), [(5, 5)], "what is not committed may have to be cut");
    }

    #[test]
    fn it_is_told_as_before_until_something_is_forgotten() {
        let mut log = chain(&[1, 1, 3, 4]);
        let text = serde_json::to_string(&log).unwrap();
        assert_eq!(text, "[[1,2],[3,3],[4,4]]");
        assert_eq!(serde_json::from_str::<Chain>(&text).unwrap(), log);
        log.forget(1, 4);
        let text = serde_json::to_string(&log).unwrap();
        assert_eq!(serde_json::from_str::<Chain>(&text).unwrap(), log);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2_000) })]
        #[test]
        fn it_answers_like_a_list_of_records(logs in logs(), a in which(), b in which(), at in 0..14_u64) {
            let (ours, theirs) = (pick(&logs, a), pick(&logs, b));
            let (a, b) = (chain(ours), chain(theirs));
            prop_assert_eq!(a.common(&b), Some(version_at(ours, last_equal(ours, theirs))));
            prop_assert_eq!(a.common(&b), b.common(&a));
            let kept = ours.len().min(at as usize);
            prop_assert_eq!(a.up_to(version_at(ours, kept as u64)), chain(&ours[..kept]));
            prop_assert_eq!(a.last().sequence, ours.len() as u64);
        }

        /// With some of it forgotten, it knows less, and nothing else.
        #[test]
        fn what_is_forgotten_is_not_claimed(
            logs in logs(),
            a in which(),
            b in which(),
            forgets in (0..4_usize, 0..14_u64, 0..4_usize, 0..14_u64),
            at in 0..14_u64,
        ) {
            let (ours, theirs) = (pick(&logs, a), pick(&logs, b));
            let (mut a, mut b) = (chain(ours), chain(theirs));
            a.forget(forgets.0, forgets.1);
            b.forget(forgets.2, forgets.3);
            let last = Version::default().max(version_at(ours, ours.len() as u64));
            prop_assert_eq!(a.last(), last);
            prop_assert!(a.floor().sequence <= forgets.1 && a.holds(a.floor()));
            // One record.
            let known = a.epoch_at(at);
            prop_assert_eq!(known.is_some(), at == 0 || at >= a.floor().sequence && at <= last.sequence);
            prop_assert!(known.is_none_or(|epoch| epoch == version_at(ours, at).epoch));
            // Two logs.
            let common = version_at(ours, last_equal(ours, theirs));
            let told = a.common(&b);
            prop_assert_eq!(told, b.common(&a));
            prop_assert!(told.is_none_or(|told| told == common), "{:?} {:?}", told, common);
            // Whoever shares a record with it and gets what follows stays comparable.
            if let Some(shared) = told && a.compares_after(shared) {
                for at in shared.sequence..=last.sequence {
                    prop_assert_eq!(a.common(&chain(&ours[..at as usize])), Some(version_at(ours, at)));
                }
            }
            let both_know = common.sequence >= a.floor().sequence.max(b.floor().sequence);
            prop_assert!(told.is_some() || !both_know, "{:?} {:?} {:?}", a, b, common);
            // A part of it, and more behind that.
            let kept = version_at(ours, at.min(ours.len() as u64));
            let mut part = a.up_to(kept);
            prop_assert_eq!(part.last(), kept);
            let next = Version { epoch: kept.epoch + 1, sequence: kept.sequence + 1 };
            prop_assert!(part.push(next) && part.last() == next && part.holds(kept));
        }

        /// As it was noted when its last epoch began, and as it is found: the same log, perhaps longer, perhaps shorter.
        #[test]
        fn it_is_found_as_it_was(logs in logs(), a in which(), forgets in (0..4_usize, 0..14_u64), more in 0..3_u64) {
            let ours = pick(&logs, a);
            let mut noted = chain(ours);
            noted.forget(forgets.0, forgets.1);
            let mut log = noted.clone();
            for sequence in (ours.len() as u64 + 1..).take(more as usize) {
                let pushed = log.push(Version { epoch: ours.last().copied().unwrap_or(1), sequence });
                prop_assert!(pushed);
            }
            let ending = |last| Chain::ending(noted.floor(), noted.epochs().to_vec(), last);
            prop_assert_eq!(ending(log.last()), Some(log.clone()));
            let shorter = version_at(ours, noted.floor().sequence.max(ours.len() as u64 / 2));
            prop_assert_eq!(ending(shorter), Some(noted.up_to(shorter)));
            let other = Version { epoch: log.last().epoch + 1, sequence: log.last().sequence + 1 };
            prop_assert!(noted.last().sequence == 0 || ending(other).is_none());
        }
    }
}
