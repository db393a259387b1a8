//! Putting points into the graph.
//!
//! A new point is linked to the nearest of what a walk finds, but for those that are nearer to one
//! already chosen than to the new point (the heuristic of the HNSW paper): links then lead in all
//! directions, and out of tight clusters. Those linked to get a link back; a full list is chosen anew
//! the same way.
//!
//! Any number of threads link at once. The new point's links are added to its list, never written over
//! it, since others may have found the point, and linked back to it, meanwhile: writing over them once
//! cost one percent of recall for good.

use super::{
    frame::Query,
    walk::{Scratch, Walker},
};

/// Breadths of the searches that must find a new point. Two, since a wider walk takes another way, and
/// far from all points ranks are too coarse to lead it: still not a proof for every breadth.
const NARROW: [usize; 2] = [8, 20];

/// A point and its rank against the point whose links are chosen.
type Ranked = (f32, u32);

/// What linking needs, kept between points.
#[derive(Default)]
pub(super) struct Bench {
    pub scratch: Scratch,
    planes: Vec<u64>,
    candidates: Vec<Ranked>,
    chosen: Vec<u32>,
    kept: Vec<u32>,
}

impl Walker<'_> {
    /// Links a point that was added with this level. `breadth` is ef_construction.
    pub fn link(&self, slot: u32, level: usize, breadth: usize, bench: &mut Bench) {
        let Some((entry, top)) = self.graph.entry() else {
            return self.graph.offer_entry(slot, level);
        };
        if entry == slot {
            return;
        }
        let mut planes = std::mem::take(&mut bench.planes);
        let query = self.query_of(slot, &mut planes);
        let from_top = (entry, self.rank(&query, entry));
        let mut start = self.descend(&query, from_top, top, level, &mut bench.scratch);
        for level in (0..=level.min(top)).rev() {
            self.spread(&query, start, level, breadth, None, &mut bench.scratch);
            let found = bench.scratch.beam.iter().filter(|(other, _)| *other != slot);
            bench.candidates.clear();
            bench.candidates.extend(found.map(|(other, _)| (0.0, other)));
            if let Some((_, nearest)) = bench.candidates.first() {
                start = (*nearest, self.rank(&query, *nearest));
            }
            self.connect(slot, level, bench);
            if level == 0 {
                // What was acknowledged must be found by a search for just that, however narrow.
                let begin = self.descend(&query, from_top, top, 0, &mut bench.scratch);
                let found = NARROW.iter().all(|breadth| {
                    self.spread(&query, begin, 0, *breadth, None, &mut bench.scratch);
                    bench.scratch.beam.iter().any(|(other, _)| other == slot)
                });
                if !found {
                    self.anchor(slot, begin.0);
                }
            }
        }
        bench.planes = planes;
        self.graph.offer_entry(slot, level);
    }

    /// A point as a query.
    pub fn query_of<'a>(&'a self, slot: u32, planes: &'a mut Vec<u64>) -> Query<'a> {
        self.frame.query(self.graph.numbers(slot), self.graph.coded(slot).scale(), planes)
    }

    /// Links a point and the best of `bench.candidates` with each other.
    fn connect(&self, slot: u32, level: usize, bench: &mut Bench) {
        let Bench { candidates, chosen, kept, .. } = bench;
        self.rank_and_sort(slot, candidates);
        // As many as there is room for, as Qdrant does; the paper takes half, and finds 0.1 % less.
        self.choose(slot, candidates, self.graph.capacity(level), chosen);
        let ranks: Vec<f32> = chosen.iter().map(|other| self.mutual(slot, *other)).collect();
        self.add_links(slot, level, chosen.iter().copied().zip(ranks.iter().copied()), candidates, kept);
        for (other, rank) in chosen.iter().zip(&ranks) {
            self.add_links(*other, level, std::iter::once((slot, *rank)), candidates, kept);
        }
    }

    /// Links to a new point from where every walk for it begins. One far from all others is the last
    /// choice of each of them, so none may have kept a link to it; here the last link gives way.
    fn anchor(&self, slot: u32, from: u32) {
        let links = self.graph.lock(from, 0);
        if from != slot && !links.push(slot) {
            let mut all: Vec<u32> = links.iter().collect();
            all.pop();
            all.push(slot);
            links.replace(all.into_iter());
        }
    }

    /// Adds links to a point's list; chooses anew among all of them when the list is full.
    fn add_links(
        &self,
        slot: u32,
        level: usize,
        new: impl Iterator<Item = (u32, f32)>,
        candidates: &mut Vec<Ranked>,
        kept: &mut Vec<u32>,
    ) {
        let links = self.graph.lock(slot, level);
        let mut new = new.filter(|(to, _)| *to != slot);
        let Some((over, rank)) = new.find(|(to, _)| !links.push(*to)) else { return };
        candidates.clear();
        candidates.extend(links.iter().map(|to| (0.0, to)));
        self.rank_and_sort(slot, candidates);
        for (to, rank) in std::iter::once((over, rank)).chain(new) {
            if candidates.iter().all(|(_, known)| *known != to) {
                let at = candidates.partition_point(|(known, _)| *known <= rank);
                candidates.insert(at, (rank, to));
            }
        }
        self.choose(slot, candidates, self.graph.capacity(level), kept);
        links.replace(kept.iter().copied());
    }

    /// Computes the ranks of candidates against a point, and sorts them by that. Every point has an order
    /// of its own for ties, so that all of many equals are linked to by some.
    fn rank_and_sort(&self, slot: u32, candidates: &mut [Ranked]) {
        for candidate in candidates.iter_mut() {
            candidate.0 = self.mutual(slot, candidate.1);
        }
        let lot = |other: u32| (slot ^ other).wrapping_mul(0x9e37_79b9);
        candidates.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then_with(|| lot(a.1).cmp(&lot(b.1))));
    }

    /// The first `most` of the candidates, nearest first, but for those that are nearer to one chosen
    /// before than to the point.
    ///
    /// Equal vectors need care. To a point and its equal all others are as far, so if ties were left
    /// out, pairs of equals would have no links but to each other; if ties were all taken, many equals
    /// would have no room for other links. So of the point's equals a sixteenth of the list is taken, and
    /// among the others a tie counts for the candidate.
    fn choose(&self, slot: u32, candidates: &[Ranked], most: usize, chosen: &mut Vec<u32>) {
        chosen.clear();
        let own = self.mutual(slot, slot);
        let most_equals = (most / 16).max(1);
        for (rank, candidate) in candidates {
            if chosen.len() == most {
                return;
            }
            let stays = if *rank <= own {
                chosen.len() < most_equals
            } else {
                chosen.iter().all(|other| self.mutual(*candidate, *other) >= *rank)
            };
            if stays {
                chosen.push(*candidate);
            }
        }
    }

    fn mutual(&self, a: u32, b: u32) -> f32 {
        let mut dot = [0];
        (self.kernels.dots)(self.graph.numbers(a), &[self.graph.numbers(b)], &mut dot);
        self.frame.mutual(self.graph.coded(a), self.graph.coded(b), dot[0])
    }
}
