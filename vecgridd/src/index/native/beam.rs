//! The candidates of a walk: the nearest rows so far, in order, and which were expanded.
//!
//! One sorted list instead of the two heaps of the HNSW paper, as in NSG and DiskANN: with a breadth
//! of a hundred, inserting is a search in few cache lines and a short move, and the bound is the last.

/// A mark on slots that were expanded; slots are below.
const EXPANDED: u32 = 1 << 31;
/// Slots are below.
pub(super) const MAX_SLOTS: u32 = EXPANDED;

/// Ranks that are compared at once.
const WINDOW: usize = 16;

#[derive(Default)]
pub(super) struct Beam {
    /// Nearest first …
    ranks: Vec<f32>,
    /// … and whose they are.
    slots: Vec<u32>,
    breadth: usize,
    /// All before are expanded.
    next: usize,
}

impl Beam {
    /// Empties it, for a walk of this breadth.
    pub fn start(&mut self, breadth: usize) {
        self.ranks.clear();
        self.slots.clear();
        self.breadth = breadth.max(1);
        self.ranks.reserve(self.breadth);
        self.slots.reserve(self.breadth);
        self.next = 0;
    }

    /// Ranks from here on are of no interest.
    #[inline]
    pub fn bound(&self) -> f32 {
        if self.ranks.len() < self.breadth { f32::INFINITY } else { self.ranks[self.breadth - 1] }
    }

    /// Adds a candidate if it is near enough. Each slot is to be offered once.
    #[inline]
    pub fn offer(&mut self, rank: f32, slot: u32) {
        if self.ranks.len() == self.breadth {
            // Less, so that a rank that is no number is of no interest either.
            let nearer = rank < self.ranks[self.breadth - 1];
            if !nearer {
                return;
            }
            self.ranks.pop();
            self.slots.pop();
        }
        let at = self.place(rank);
        self.ranks.insert(at, rank);
        self.slots.insert(at, slot);
        self.next = self.next.min(at);
    }

    /// How many ranks are not above this one. Each step of a search by halves waits for the one before, so the
    /// last steps are one comparison of many.
    #[inline]
    fn place(&self, rank: f32) -> usize {
        let (mut from, mut count) = (0, self.ranks.len());
        while count > WINDOW {
            let half = count / 2;
            from = if self.ranks[from + half - 1] <= rank { from + half } else { from };
            count -= half;
        }
        let from = from.min(self.ranks.len().saturating_sub(WINDOW));
        let below = match self.ranks[from..].first_chunk::<WINDOW>() {
            Some(window) => count_up_to(window, rank),
            None => count_up_to(&self.ranks[from..], rank),
        };
        from + below
    }

    /// The nearest candidate that was not expanded; it counts as expanded from now on.
    #[inline]
    pub fn expand(&mut self) -> Option<u32> {
        while let Some(slot) = self.slots.get_mut(self.next) {
            self.next += 1;
            if *slot & EXPANDED == 0 {
                *slot |= EXPANDED;
                return Some(*slot & !EXPANDED);
            }
        }
        None
    }

    /// Candidates that are likely to be expanded next.
    #[inline]
    pub fn ahead(&self, count: usize) -> impl Iterator<Item = u32> {
        self.slots[self.next..].iter().copied().filter(|slot| slot & EXPANDED == 0).take(count)
    }

    /// All candidates with their ranks, nearest first.
    pub fn iter(&self) -> impl Iterator<Item = (u32, f32)> {
        self.slots.iter().zip(&self.ranks).map(|(slot, rank)| (slot & !EXPANDED, *rank))
    }
}

#[inline]
fn count_up_to(ranks: &[f32], rank: f32) -> usize {
    ranks.iter().map(|known| u32::from(*known <= rank)).fold(0, u32::wrapping_add) as usize
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_keeps_the_nearest_and_expands_each_once(
            ranks in prop::collection::vec(0_u8..50, 1..200), breadth in 1_usize..40, every in 1_usize..5,
        ) {
            let mut beam = Beam::default();
            beam.start(breadth);
            let mut expanded = Vec::new();
            for (slot, rank) in (0..).zip(&ranks) {
                beam.offer(f32::from(*rank), slot);
                if (slot as usize).is_multiple_of(every) {
                    let ahead = beam.ahead(1).next();
                    let nearest = beam.expand();
                    prop_assert_eq!(ahead, nearest);
                    expanded.extend(nearest);
                }
            }
            expanded.extend(std::iter::from_fn(|| beam.expand()));
            let found: Vec<_> = beam.iter().collect();
            let mut sorted: Vec<_> = ranks.iter().map(|rank| f32::from(*rank)).collect();
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

    #[test]
    fn what_is_no_number_is_not_kept_beside_numbers() {
        let mut beam = Beam::default();
        beam.start(1);
        assert_eq!(beam.bound(), f32::INFINITY);
        beam.offer(1.0, 1);
        beam.offer(f32::NAN, 2);
        assert_eq!(beam.iter().collect::<Vec<_>>(), [(1, 1.0)]);
        assert_eq!(beam.bound(), 1.0);
    }
}
