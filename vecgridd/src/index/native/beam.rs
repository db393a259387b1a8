//! The candidates of a walk: the nearest rows so far, in order, and which were expanded.
//!
//! One sorted list instead of the two heaps of the HNSW paper, as in NSG and DiskANN: with a breadth
//! of a hundred, inserting is a search in few cache lines and a short move. What is beyond the bound is dropped
//! (`reach`), so all that is left is to be expanded.
//! What a round of a walk ranked comes together: then the places of all are looked up at the same time, and no part of the
//! list moves twice.

use super::{kernels::BATCH, reach::Reach};

/// A mark on slots that were expanded; slots are below.
const EXPANDED: u32 = 1 << 31;
/// Slots are below.
pub(super) const MAX_SLOTS: u32 = EXPANDED;

/// A point with a rank, in the order of these.
#[inline]
pub(super) fn ranked(rank: f32, slot: u32) -> u64 {
    // Floats are ordered as their bits are, but for the sign, which turns the order of negative ones.
    let bits = rank.to_bits();
    let ordered = if bits >> 31 == 1 { !bits } else { bits | 1 << 31 };
    u64::from(ordered) << 32 | u64::from(slot)
}

#[inline]
pub(super) fn rank_of(ranked: u64) -> f32 {
    let ordered = (ranked >> 32) as u32;
    f32::from_bits(if ordered >> 31 == 1 { ordered & !(1 << 31) } else { !ordered })
}

pub(super) struct Beam {
    /// Nearest first.
    ranked: Vec<u64>,
    reach: Reach,
    /// What `reach` says of `ranked`.
    bound: f32,
    /// All before are expanded.
    next: usize,
}

impl Default for Beam {
    fn default() -> Self {
        Self { ranked: Vec::new(), reach: Reach::just(1), bound: f32::INFINITY, next: 0 }
    }
}

impl Beam {
    /// Empties it, for a walk that reaches so far.
    pub fn start(&mut self, reach: Reach) {
        self.ranked.clear();
        self.reach = reach;
        self.ranked.reserve(reach.most() + BATCH);
        self.bound = f32::INFINITY;
        self.next = 0;
    }

    /// Ranks from here on are of no interest.
    #[inline]
    pub fn bound(&self) -> f32 {
        self.bound
    }

    /// Adds those candidates that are near enough, at most [`BATCH`] at once. Each slot is to be offered once.
    // One after the other they were a seventh of a build, most of it waiting for comparisons that nobody could predict.
    #[inline]
    pub fn offer(&mut self, slots: &[u32], ranks: &[f32]) {
        let (has_room, bound) = (self.ranked.len() < self.reach.least(), self.bound);
        let (mut near, mut count) = ([0; BATCH], 0);
        for (slot, rank) in slots.iter().zip(ranks) {
            near[count] = ranked(*rank, *slot);
            // Less, so that a rank that is no number is of no interest either.
            count += usize::from(has_room | (*rank < bound));
        }
        let near = &near[..count];
        let (mut sorted, mut places) = ([0; BATCH], [0; BATCH]);
        for new in near {
            let at = near.iter().map(|other| usize::from(other < new)).sum::<usize>();
            sorted[at] = *new;
            places[at] = self.ranked.partition_point(|known| known >> 32 <= new >> 32);
        }
        let mut end = self.ranked.len();
        self.ranked.resize(end + count, 0);
        for (before, (new, place)) in sorted[..count].iter().zip(places).enumerate().rev() {
            self.ranked.copy_within(place..end, place + before + 1);
            self.ranked[place + before] = *new;
            end = place;
        }
        self.ranked.truncate(self.reach.most());
        self.next = self.next.min(end);
        if count > 0 {
            self.bound = self.reach.bound(self.ranked.len(), |at| rank_of(self.ranked[at]));
            while self.ranked.last().is_some_and(|last| rank_of(*last) > self.bound) {
                self.ranked.pop();
            }
        }
    }

    /// Takes what was found in another way: nearest first, and as many as there may be.
    pub fn fill(&mut self, nearest: &[u64]) {
        self.ranked.extend_from_slice(&nearest[..nearest.len().min(self.reach.most())]);
    }

    /// The nearest candidate that was not expanded; it counts as expanded from now on.
    #[inline]
    pub fn expand(&mut self) -> Option<u32> {
        while let Some(ranked) = self.ranked.get_mut(self.next) {
            self.next += 1;
            let slot = *ranked as u32;
            if slot & EXPANDED == 0 {
                *ranked |= u64::from(EXPANDED);
                return Some(slot);
            }
        }
        None
    }

    /// Candidates that are likely to be expanded next.
    #[inline]
    pub fn ahead(&self, count: usize) -> impl Iterator<Item = u32> {
        let slots = self.ranked.get(self.next..).unwrap_or_default().iter().map(|ranked| *ranked as u32);
        slots.filter(|slot| slot & EXPANDED == 0).take(count)
    }

    /// All candidates with their ranks, nearest first.
    pub fn iter(&self) -> impl Iterator<Item = (u32, f32)> {
        self.ranked.iter().map(|ranked| (*ranked as u32 & !EXPANDED, rank_of(*ranked)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{super::super::engine::Aim, *};

    proptest! {
        #[test]
        fn it_keeps_the_nearest_and_expands_each_once(
            ranks in prop::collection::vec(0_u8..50, 1..200), breadth in 1_usize..40, together in 1..=BATCH,
        ) {
            let mut beam = Beam::default();
            beam.start(Reach::just(breadth));
            let mut expanded = Vec::new();
            let slots: Vec<u32> = (0..ranks.len() as u32).collect();
            let numbers: Vec<f32> = ranks.iter().map(|rank| f32::from(*rank)).collect();
            for (slots, ranks) in slots.chunks(together).zip(numbers.chunks(together)) {
                beam.offer(slots, ranks);
                let ahead = beam.ahead(1).next();
                let nearest = beam.expand();
                prop_assert_eq!(ahead, nearest);
                expanded.extend(nearest);
            }
            expanded.extend(std::iter::from_fn(|| beam.expand()));
            let found: Vec<_> = beam.iter().collect();
            let mut sorted = numbers;
            sorted.sort_by(f32::total_cmp);
            sorted.truncate(breadth);
            prop_assert_eq!(found.iter().map(|(_, rank)| *rank).collect::<Vec<_>>(), sorted);
            prop_assert!(found.iter().all(|(slot, _)| expanded.contains(slot)));
            let count = expanded.len();
            expanded.sort_unstable();
            expanded.dedup();
            prop_assert_eq!(expanded.len(), count);
        }
    }

    proptest! {
        /// Whatever came in between: those that a look at all of them would keep, each expanded.
        #[test]
        fn it_ends_with_all_within_reach(
            ranks in prop::collection::vec(0_u8..50, 1..200), (breadth, k) in (1_usize..40, 1_usize..20),
            doubling in 0_u8..8, together in 1..=BATCH,
        ) {
            let reach = Reach::about(Aim { k, ef: breadth }, f32::from(doubling));
            let mut beam = Beam::default();
            beam.start(reach);
            let slots: Vec<u32> = (0..ranks.len() as u32).collect();
            let mut numbers: Vec<f32> = ranks.iter().map(|rank| f32::from(*rank)).collect();
            let mut expanded = Vec::new();
            for (slots, ranks) in slots.chunks(together).zip(numbers.chunks(together)) {
                beam.offer(slots, ranks);
                expanded.extend(beam.expand());
            }
            expanded.extend(std::iter::from_fn(|| beam.expand()));
            prop_assert!(beam.ahead(1).next().is_none());
            prop_assert!(beam.iter().all(|(slot, _)| expanded.contains(&slot)));
            numbers.sort_by(f32::total_cmp);
            let bound = reach.bound(numbers.len(), |at| numbers[at]);
            let found: Vec<f32> = beam.iter().map(|(_, rank)| rank).collect();
            // Those at the bound itself may be there or not.
            let below = |ranks: &[f32]| ranks.iter().copied().filter(|rank| *rank < bound).collect::<Vec<_>>();
            prop_assert_eq!(below(&found), below(&numbers));
            prop_assert!(found.len() >= numbers.len().min(breadth / 2).min(reach.most()) && found.len() <= reach.most());
            prop_assert!(found.iter().all(|rank| *rank <= bound));
        }
    }

    #[test]
    fn points_are_in_the_order_of_ranks() {
        let ranks = [f32::NEG_INFINITY, -2.5, -1e-30, -0.0, 0.0, 1e-30, 3.0, f32::INFINITY];
        let points = ranks.map(|rank| ranked(rank, 7));
        assert!(points.is_sorted());
        assert_eq!(points.map(|one| rank_of(one).to_bits()), ranks.map(f32::to_bits));
        assert!(ranked(1.0, 3) < ranked(1.0, 4));
        assert_eq!(ranked(-1.0, u32::MAX) as u32, u32::MAX);
    }

    #[test]
    fn what_is_no_number_is_not_kept_beside_numbers() {
        let mut beam = Beam::default();
        beam.start(Reach::just(1));
        assert_eq!(beam.bound(), f32::INFINITY);
        beam.offer(&[1], &[1.0]);
        beam.offer(&[2, 3], &[f32::NAN, -f32::NAN]);
        assert_eq!(beam.iter().collect::<Vec<_>>(), [(1, 1.0)]);
        assert_eq!(beam.bound(), 1.0);
    }
}
