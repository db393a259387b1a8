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

use std::ops::RangeInclusive;

use super::{
    frame::Query,
    kernels::BATCH,
    reach::Reach,
    vectors::Operand,
    walk::{Scratch, Walker},
};

/// Breadths of the searches that must find a new point. Two, since a wider walk takes another way, and
/// far from all points ranks are too coarse to lead it: still not a proof for every breadth.
const NARROW: [usize; 2] = [8, 20];

/// A new point that fewer others are linked to is looked for.
const FEW: usize = 4;

/// A point and its rank against the point whose links are chosen.
type Ranked = (f32, u32);

/// What linking needs, kept between points.
#[derive(Default)]
pub(super) struct Bench {
    pub scratch: Scratch,
    query: Query,
    chooser: Chooser,
    chosen: Vec<u32>,
    ranks: Vec<f32>,
}

/// What choosing links needs.
#[derive(Default)]
struct Chooser {
    candidates: Vec<Ranked>,
    chosen: Vec<u32>,
    slots: Vec<u32>,
    ranks: Vec<f32>,
    own: Own,
    other: Own,
}

/// A point that others are ranked against.
#[derive(Default)]
struct Own {
    slot: u32,
    vector: Operand,
}

impl Walker<'_> {
    /// Links a point that was added, on these levels, of which the last is its own or 0. `breadth` is ef_construction.
    pub fn link(&self, slot: u32, levels: RangeInclusive<usize>, breadth: usize, bench: &mut Bench) {
        let (lowest, level) = levels.into_inner();
        let Some((entry, top)) = self.graph.entry() else {
            return self.graph.offer_entry(slot, level);
        };
        if entry == slot {
            return;
        }
        let mut query = std::mem::take(&mut bench.query);
        self.query_of(slot, &mut query);
        let from_top = (entry, self.rank(&query, entry));
        let mut start = self.descend(&query, from_top, top, level, &mut bench.scratch);
        let reach = Reach::of_new(breadth, self.rank(&query, slot));
        for level in (lowest..=level.min(top)).rev() {
            self.spread(&query, start, level, reach, None, &mut bench.scratch);
            let found = bench.scratch.beam.iter().filter(|(other, _)| *other != slot);
            bench.chooser.slots.clear();
            bench.chooser.slots.extend(found.map(|(other, _)| other));
            if let Some(nearest) = bench.chooser.slots.first() {
                start = (*nearest, self.rank(&query, *nearest));
            }
            let links_back = self.connect(slot, level, bench);
            if level == 0 && links_back < FEW {
                // What was acknowledged must be found by a search for just that, however narrow.
                let begin = self.descend(&query, from_top, top, 0, &mut bench.scratch);
                let found = NARROW.iter().all(|breadth| {
                    self.spread(&query, begin, 0, Reach::just(*breadth), None, &mut bench.scratch);
                    bench.scratch.beam.iter().any(|(other, _)| other == slot)
                });
                if !found {
                    self.anchor(slot, begin.0);
                }
            }
        }
        bench.query = query;
        self.graph.offer_entry(slot, level);
    }

    /// A point as a query.
    pub fn query_of(&self, slot: u32, query: &mut Query) {
        self.graph.vectors().take(slot, &mut query.own);
        self.frame.complete(query, self.graph.coded(slot).scale());
    }

    /// Links a point and the best of the slots in `bench.chooser` with each other. Gives how many kept the
    /// link to the point.
    fn connect(&self, slot: u32, level: usize, bench: &mut Bench) -> usize {
        let Bench { chooser, chosen, ranks, .. } = bench;
        self.rank_and_sort(slot, chooser);
        // As many as there is room for, as Qdrant does; the paper takes half, and finds 0.1 % less.
        self.choose(slot, self.graph.capacity(level), chooser);
        chosen.clone_from(&chooser.chosen);
        self.mutual::<BATCH>(&chooser.own, chosen, ranks);
        let links = || chosen.iter().copied().zip(ranks.iter().copied());
        self.add_links(slot, level, links(), chooser);
        let mut links_back = 0;
        for (other, rank) in links() {
            let kept = self.add_links(other, level, std::iter::once((slot, rank)), chooser);
            links_back += usize::from(kept.is_none_or(|kept| kept.contains(&slot)));
        }
        links_back
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

    /// Adds links to a point's list; chooses anew among all of them when the list is full, and gives those
    /// that were chosen.
    fn add_links<'a>(
        &self,
        slot: u32,
        level: usize,
        new: impl Iterator<Item = (u32, f32)>,
        chooser: &'a mut Chooser,
    ) -> Option<&'a [u32]> {
        let links = self.graph.lock(slot, level);
        let mut new = new.filter(|(to, _)| *to != slot);
        let (over, rank) = new.find(|(to, _)| !links.push(*to))?;
        chooser.slots.clear();
        chooser.slots.extend(links.iter());
        self.rank_and_sort(slot, chooser);
        let candidates = &mut chooser.candidates;
        for (to, rank) in std::iter::once((over, rank)).chain(new) {
            if candidates.iter().all(|(_, known)| *known != to) {
                let at = candidates.partition_point(|(known, _)| *known <= rank);
                candidates.insert(at, (rank, to));
            }
        }
        self.choose(slot, self.graph.capacity(level), chooser);
        links.replace(chooser.chosen.iter().copied());
        Some(&chooser.chosen)
    }

    /// Ranks `slots` against a point, and sorts them by that, into `candidates`. Every point has an order
    /// of its own for ties, so that all of many equals are linked to by some. Leaves the point itself in
    /// `own`.
    fn rank_and_sort(&self, slot: u32, chooser: &mut Chooser) {
        let Chooser { candidates, slots, ranks, own, .. } = chooser;
        self.take(slot, own);
        self.mutual::<BATCH>(own, slots, ranks);
        candidates.clear();
        candidates.extend(ranks.iter().copied().zip(slots.iter().copied()));
        let lot = |other: u32| (slot ^ other).wrapping_mul(0x9e37_79b9);
        candidates.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then_with(|| lot(a.1).cmp(&lot(b.1))));
    }

    /// The first `most` of the candidates, nearest first, but for those that are nearer to one chosen
    /// before than to the point, into `chosen`.
    ///
    /// Equal vectors need care. To a point and its equal all others are as far, so if ties were left
    /// out, pairs of equals would have no links but to each other; if ties were all taken, many equals
    /// would have no room for other links. So of the point's equals a sixteenth of the list is taken, and
    /// among the others a tie counts for the candidate.
    fn choose(&self, slot: u32, most: usize, chooser: &mut Chooser) {
        let Chooser { candidates, chosen, slots, ranks, own, other } = chooser;
        chosen.clear();
        self.mutual::<1>(own, &[slot], ranks);
        let equal = ranks.first().copied().unwrap_or(f32::NEG_INFINITY);
        let all_equals = candidates.partition_point(|(rank, _)| *rank <= equal);
        let equals = all_equals.min((most / 16).max(1));
        candidates.drain(equals..all_equals);
        // Each that is chosen rules out some of those behind it, all of them compared at once.
        let mut at = 0;
        while let Some((_, nearest)) = candidates.get(at).copied() {
            chosen.push(nearest);
            at += 1;
            if at == most {
                return;
            }
            self.take(nearest, other);
            slots.clear();
            slots.extend(candidates[at..].iter().map(|(_, slot)| *slot));
            self.mutual::<BATCH>(other, slots, ranks);
            let mut kept = at;
            for (index, between) in (at..).zip(&*ranks) {
                // No branch: who stays cannot be predicted.
                candidates[kept] = candidates[index];
                kept += usize::from(index < equals || *between >= candidates[index].0);
            }
            candidates.truncate(kept);
        }
    }

    fn take(&self, slot: u32, own: &mut Own) {
        self.graph.vectors().take(slot, &mut own.vector);
        (own.slot, own.vector.sum) = (slot, self.graph.coded(slot).sum());
    }

    /// The ranks of a point against others, `N` at a time.
    fn mutual<const N: usize>(&self, own: &Own, others: &[u32], ranks: &mut Vec<f32>) {
        let code = self.graph.coded(own.slot);
        ranks.clear();
        for others in others.chunks(N) {
            let products: [f32; N] = self.graph.vectors().products(&own.vector, others);
            let rank =
                |(other, product): (&u32, f32)| self.frame.mutual(code, self.graph.coded(*other), product);
            ranks.extend(others.iter().zip(products).map(rank));
        }
    }
}
