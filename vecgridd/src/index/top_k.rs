//! The nearest so far.

use std::{cmp::Ordering, collections::BinaryHeap};

/// A row and how far it is. Ordered by distance, then by id.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ranked<'a> {
    pub distance: f32,
    pub id: &'a str,
    pub slot: u32,
}

impl Ord for Ranked<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.distance.total_cmp(&other.distance).then_with(|| self.id.cmp(other.id))
    }
}

impl PartialOrd for Ranked<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Ranked<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Ranked<'_> {}

/// Room that is made in advance, at most: `k` may be much more than there are rows.
const ROOM: usize = 128;

/// Keeps the `k` first of all rows offered: the result does not depend on the order of offers.
pub(super) struct TopK<'a> {
    k: usize,
    /// The last of the kept ones on top.
    kept: BinaryHeap<Ranked<'a>>,
}

impl<'a> TopK<'a> {
    pub fn new(k: usize) -> Self {
        Self { k, kept: BinaryHeap::with_capacity(k.min(ROOM)) }
    }

    /// Rows that are kept, at most.
    pub fn most(&self) -> usize {
        self.k
    }

    pub fn len(&self) -> usize {
        self.kept.len()
    }

    /// Keeps a row if it is among the first. Each row is offered once.
    pub fn offer(&mut self, distance: f32, slot: u32, id: impl FnOnce() -> &'a str) {
        if self.kept.len() < self.k {
            self.kept.push(Ranked { distance, id: id(), slot });
        } else if let Some(mut last) = self.kept.peek_mut()
            // The cheap comparison first: nearly all rows of a scan end here, and their ids are not read.
            && distance <= last.distance
        {
            let offered = Ranked { distance, id: id(), slot };
            if offered < *last {
                *last = offered;
            }
        }
    }

    /// The kept ones, nearest first.
    pub fn into_sorted(self) -> Vec<Ranked<'a>> {
        self.kept.into_sorted_vec()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_first_k_are_kept_ties_by_id(distances in prop::collection::vec(0_u8..5, 0..60), k in 0_usize..20) {
            let ids: Vec<String> = (0..distances.len()).map(|i| format!("{:02}", (i * 37) % 60)).collect();
            let mut top = TopK::new(k);
            for (slot, distance) in distances.iter().enumerate() {
                top.offer(f32::from(*distance), slot as u32, || &ids[slot]);
            }
            let mut expected: Vec<_> = distances.iter().copied().zip(ids.iter().map(String::as_str)).collect();
            expected.sort();
            expected.truncate(k);
            prop_assert_eq!(top.len(), expected.len());
            let found: Vec<_> = top.into_sorted().iter().map(|r| (r.distance as u8, r.id)).collect();
            prop_assert_eq!(found, expected);
        }
    }
}
