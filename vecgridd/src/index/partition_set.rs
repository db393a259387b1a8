//! A set of partitions.

use crate::types::PartitionId;

/// A bitmap over partitions; cheap to ask and to compare.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
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
        self.trim();
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
        self.words.iter().enumerate().flat_map(|(word, bits)| {
            let mut left = *bits;
            std::iter::from_fn(move || {
                let bit = (left != 0).then(|| left.trailing_zeros())?;
                left &= left - 1;
                Some(PartitionId((word * 64) as u16 + bit as u16))
            })
        })
    }

    /// The partitions of this set that are not in `other`.
    #[must_use]
    pub fn without(&self, other: &Self) -> Self {
        let theirs = other.words.iter().copied().chain(std::iter::repeat(0));
        let words = self.words.iter().zip(theirs).map(|(mine, theirs)| mine & !theirs).collect();
        let mut set = Self { words };
        set.trim();
        set
    }

    /// Those of both.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        let (longer, shorter) =
            if self.words.len() >= other.words.len() { (self, other) } else { (other, self) };
        let more = shorter.words.iter().copied().chain(std::iter::repeat(0));
        Self { words: longer.words.iter().zip(more).map(|(one, other)| one | other).collect() }
    }

    fn trim(&mut self) {
        while self.words.last() == Some(&0) {
            self.words.pop();
        }
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
    fn sets_are_cut_and_joined() {
        let set = |numbers: &[u16]| numbers.iter().copied().map(PartitionId).collect::<PartitionSet>();
        let (one, other) = (set(&[0, 63, 64, 200]), set(&[63, 65]));
        assert_eq!(one.without(&other), set(&[0, 64, 200]));
        assert_eq!(one.union(&other), set(&[0, 63, 64, 65, 200]));
        assert_eq!(other.union(&one), one.union(&other));
        assert_eq!(one.without(&set(&[200])), set(&[0, 63, 64]));
        assert_eq!(one.without(&one), PartitionSet::new());
        assert_eq!(one.iter().map(|partition| partition.0).collect::<Vec<_>>(), [0, 63, 64, 200]);
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
