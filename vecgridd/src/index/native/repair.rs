//! Points that no walk reaches, linked again.
//!
//! Choosing a full list anew can cut the last link to a point: its own links stay, but none leads to
//! it. After a build a search over all links finds such points, and links each from the nearest point
//! that is reached.

use super::{frame::Query, link::Bench, reach::Reach, walk::Walker};

/// Points looked at in a row: a tenth of a millisecond.
const AT_ONCE: usize = 256;

impl Walker<'_> {
    /// Makes every point reachable from the entry; says how many were not. Calls `pause` again and again.
    pub fn repair(&self, breadth: usize, pause: &mut impl FnMut()) -> usize {
        let Some((entry, _)) = self.graph.entry() else { return 0 };
        let mut reached = Reached(vec![0; self.graph.end() as usize / 64 + 1]);
        self.reach(entry, &mut reached, pause);
        let mut bench = Bench::default();
        let mut repaired = 0;
        for slot in 0..self.graph.end() {
            // Without links: not a point of the graph, or not linked yet.
            if reached.contains(slot) || self.graph.neighbours(slot, 0).next().is_none() {
                continue;
            }
            if self.rescue(slot, breadth, &mut bench) {
                repaired += 1;
                self.reach(slot, &mut reached, pause);
            }
        }
        repaired
    }

    /// Links a point from the nearest point that has room for a link; `false` when none of those that a
    /// walk finds has.
    fn rescue(&self, slot: u32, breadth: usize, bench: &mut Bench) -> bool {
        let Some((entry, top)) = self.graph.entry() else { return false };
        let mut query = Query::default();
        self.query_of(slot, &mut query);
        let start = self.descend(&query, (entry, self.rank(&query, entry)), top, 0, &mut bench.scratch);
        self.spread(&query, start, 0, Reach::just(breadth), None, &mut bench.scratch);
        let mut others = bench.scratch.beam.iter().filter(|(other, _)| *other != slot);
        others.any(|(other, _)| self.graph.lock(other, 0).push(slot))
    }

    /// Marks all that can be reached from a slot on the lowest level.
    fn reach(&self, from: u32, reached: &mut Reached, pause: &mut impl FnMut()) {
        let mut open = Vec::new();
        let mut looked = 0;
        if reached.insert(from) {
            open.push(from);
        }
        while let Some(slot) = open.pop() {
            open.extend(self.graph.neighbours(slot, 0).filter(|next| reached.insert(*next)));
            looked += 1;
            if looked % AT_ONCE == 0 {
                pause();
            }
        }
    }
}

/// A bit per slot.
struct Reached(Vec<u64>);

impl Reached {
    fn contains(&self, slot: u32) -> bool {
        self.0.get(slot as usize / 64).is_some_and(|word| word >> (slot % 64) & 1 == 1)
    }

    /// Says whether the slot is new.
    fn insert(&mut self, slot: u32) -> bool {
        let is_new = !self.contains(slot);
        if let Some(word) = self.0.get_mut(slot as usize / 64) {
            *word |= 1 << (slot % 64);
        }
        is_new
    }
}
