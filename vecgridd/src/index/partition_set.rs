//! A set of partitions.

use crate::types::PartitionId;

/// A bitmap over partitions; cheap to ask and to compare.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PartitionSet {
    /// Without zeros at the end, so that equal sets are equal values.
    words: Vec<u64>,
}

impl PartitionSet {
    /// The empty set.
    pub fn new() -> Self {
        Self::default()
    }

    /// The first `partitions` partitions.
    pub fn all(partitions: u16) -> Self {
        (0..partitions).map(PartitionId).collect()
    }

    /// Adds a partition.
    pub fn insert(&mut self, partition: PartitionId) {
        let (word, bit) = place(partition);
        if self.words.len() <= word {
            self.words.resize(word + 1, 0);
        }
        self.words[word] |= bit;
    }

    /// Takes a partition out.
    pub fn remove(&mut self, partition: PartitionId) {
        let (word, bit) = place(partition);
        if let Some(word) = self.words.get_mut(word) {
            *word &= !bit;
        }
        while self.words.last() == Some(&0) {
            self.words.pop();
        }
    }

    /// Whether a partition is in the set.
    pub fn contains(&self, partition: PartitionId) -> bool {
        let (word, bit) = place(partition);
        self.words.get(word).is_some_and(|word| word & bit != 0)
    }

    /// How many partitions are in the set.
    pub fn len(&self) -> usize {
        self.words.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// Whether no partition is in the set.
    pub fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    /// Whether every partition of `other` is in this set.
    pub fn covers(&self, other: &Self) -> bool {
        let mine = self.words.iter().copied().chain(std::iter::repeat(0));
        other.words.iter().zip(mine).all(|(other, mine)| other & !mine == 0)
    }

    /// The partitions, in order.
    pub fn iter(&self) -> impl Iterator<Item = PartitionId> {
        (0..self.words.len() * 64).map(|id| PartitionId(id as u16)).filter(|id| self.contains(*id))
    }
}

impl FromIterator<PartitionId> for PartitionSet {
    fn from_iter<I: IntoIterator<Item = PartitionId>>(partitions: I) -> Self {
        let mut set = Self::new();
        partitions.into_iter().for_each(|partition| set.insert(partition));
        set
    }
}

fn place(partition: PartitionId) -> (usize, u64) {
    (usize::from(partition.0) / 64, 1 << (partition.0 % 64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_holds_what_was_put_in() {
        let mut set = PartitionSet::all(271);
        assert_eq!(set.len(), 271);
        assert!(set.contains(PartitionId(270)) && !set.contains(PartitionId(271)));
        set.remove(PartitionId(0));
        assert!(!set.contains(PartitionId(0)));
        assert!(PartitionSet::all(271).covers(&set) && !set.covers(&PartitionSet::all(271)));
        assert_eq!(set.iter().next(), Some(PartitionId(1)));
    }

    #[test]
    fn equal_sets_are_equal_however_they_came_about() {
        let mut set = PartitionSet::all(3);
        set.insert(PartitionId(1000));
        set.remove(PartitionId(1000));
        assert_eq!(set, PartitionSet::all(3));
        assert!(set.covers(&PartitionSet::new()) && PartitionSet::new().is_empty());
        assert!(PartitionSet::all(u16::MAX).contains(PartitionId(65_534)));
    }
}
