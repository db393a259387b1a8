//! Finding the points near a query.
//!
//! From the entry greedily down the upper levels, then along the lowest with a [`Beam`], as in HNSW
//! (Malkov and Yashunin, 2016). What is different is how little is read for most points, and that the walk
//! does not wait for it. A round on the lowest level:
//!
//! 1. The links of the two nearest candidates that were not expanded are read, and the codes of new
//!    points asked for.
//! 2. While these are on their way, what was left of the round before is ranked by its
//!    numbers, and offered to the beam. So a round chooses what to expand one round late; that costs next
//!    to nothing.
//! 3. Once the beam has a bound (`reach`), a point whose code rules it out is left alone: three quarters of all. The
//!    numbers of the others are asked for, and wait for the next round. Of short vectors, and of floats, all are ranked.
//!
//! **With a filter** the beam takes eligible points only. A link to an ineligible point is followed
//! one further at once, when a point has few eligible links (ACORN-1, Patel et al., SIGMOD 2024), so
//! that the walk does not run dry between eligible points. Where few are eligible it is quicker to look at all of
//! them (`sift`).

use super::{
    super::engine::Work,
    beam::Beam,
    columns::EIGHT,
    frame::{Frame, Query},
    graph::Graph,
    kernels::{BATCH, Kernels},
    reach::Reach,
    vectors::Operand,
    visited::Visited,
};

/// Candidates that are expanded together.
const TOGETHER: usize = 2;

/// What a walk needs besides the graph, kept between walks.
#[derive(Default)]
pub(super) struct Scratch {
    pub beam: Beam,
    visited: Visited,
    pub found: Vec<u32>,
    /// Of the round before: to be ranked.
    waiting: Vec<u32>,
    detours: Vec<u32>,
    /// Of a sift: the least ranks of gathered points and the least of eight each, what a look at codes left, and what was
    /// ranked of it.
    pub leasts: Vec<[f32; EIGHT]>,
    pub minima: Vec<f32>,
    pub promising: Vec<u64>,
    pub ranked: Vec<u64>,
    /// A point that the walk must not see.
    pub without: Option<u32>,
    pub work: Work,
}

/// A graph with what it takes to rank its points.
#[derive(Clone, Copy)]
pub(super) struct Walker<'a> {
    pub graph: &'a Graph,
    pub frame: &'a Frame,
    pub kernels: &'static Kernels,
}

/// The eligible slots: a bit each.
#[derive(Clone, Copy)]
pub(super) struct Eligible<'a>(pub &'a [u64]);

impl Eligible<'_> {
    #[inline]
    pub fn contains(self, slot: u32) -> bool {
        self.0.get(slot as usize / 64).is_some_and(|word| word >> (slot % 64) & 1 == 1)
    }
}

impl Walker<'_> {
    /// The rank of one point.
    pub fn rank(&self, query: &Query, slot: u32) -> f32 {
        let [rank] = self.ranks(query, &[slot]);
        rank
    }

    /// Goes to the nearest point that greedy steps find, on each level from `from` down to, but not
    /// on, `to`.
    pub fn descend(
        &self,
        query: &Query,
        start: (u32, f32),
        from: usize,
        to: usize,
        scratch: &mut Scratch,
    ) -> (u32, f32) {
        let coded = self.frame.walks_by_codes();
        let (mut nearest, mut rank) = start;
        for level in (to + 1..=from).rev() {
            loop {
                scratch.found.clear();
                let without = scratch.without;
                let seen = self.graph.neighbours(nearest, level).filter(|slot| Some(*slot) != without);
                scratch.found.extend(seen);
                if coded {
                    scratch.found.iter().for_each(|slot| self.graph.codes().prefetch(*slot));
                    self.rule_out(query, rank, scratch);
                }
                self.prefetch(&scratch.found);
                let before = nearest;
                self.each_rank(query, &scratch.found, |slot, other| {
                    if other < rank {
                        (nearest, rank) = (slot, other);
                    }
                });
                scratch.work.ranked += scratch.found.len() as u32;
                if nearest == before {
                    break;
                }
            }
        }
        (nearest, rank)
    }

    /// Fills the beam of `scratch` with about the nearest points of a level.
    pub fn spread(
        &self,
        query: &Query,
        start: (u32, f32),
        level: usize,
        reach: Reach,
        eligible: Option<Eligible<'_>>,
        scratch: &mut Scratch,
    ) {
        scratch.visited.start(self.graph.end());
        scratch.beam.start(reach);
        scratch.visited.insert(start.0);
        if let Some(without) = scratch.without {
            scratch.visited.insert(without);
        }
        scratch.beam.offer(&[start.0], &[start.1]);
        scratch.waiting.clear();
        let coded = self.frame.walks_by_codes();
        loop {
            scratch.found.clear();
            for _ in 0..TOGETHER {
                let Some(slot) = scratch.beam.expand() else { break };
                scratch.work.expanded += 1;
                match eligible {
                    None => self.gather(slot, level, coded, scratch),
                    Some(eligible) => self.gather_eligible(slot, level, eligible, scratch),
                }
            }
            scratch.work.ranked += scratch.waiting.len() as u32;
            for slots in scratch.waiting.chunks(BATCH) {
                scratch.beam.offer(slots, &self.ranks::<BATCH>(query, slots));
            }
            if level == 0 {
                scratch.beam.ahead(TOGETHER).for_each(|slot| self.graph.prefetch_links(slot));
            }
            let bound = scratch.beam.bound();
            if coded && bound < f32::INFINITY {
                self.rule_out(query, bound, scratch);
            }
            if scratch.found.is_empty() && scratch.beam.ahead(1).next().is_none() {
                return;
            }
            self.prefetch(&scratch.found);
            std::mem::swap(&mut scratch.found, &mut scratch.waiting);
        }
    }

    /// New points that a point is linked to.
    #[inline]
    fn gather(&self, slot: u32, level: usize, coded: bool, scratch: &mut Scratch) {
        let Scratch { found, visited, .. } = scratch;
        let before = found.len();
        found.resize(before + self.graph.capacity(level), 0);
        let (room, mut marks, mut new) = (&mut found[before..], visited.marks(), 0);
        for slot in self.graph.neighbours(slot, level) {
            // No branch: whether a point is new cannot be predicted.
            room[new] = slot;
            new += usize::from(marks.insert(slot));
        }
        found.truncate(before + new);
        if coded {
            found[before..].iter().for_each(|slot| self.graph.codes().prefetch(*slot));
        }
    }

    /// New eligible points that a point is linked to, or that are one further when those are few.
    fn gather_eligible(&self, slot: u32, level: usize, eligible: Eligible<'_>, scratch: &mut Scratch) {
        scratch.detours.clear();
        let before = scratch.found.len();
        for slot in self.graph.neighbours(slot, level) {
            if eligible.contains(slot) {
                if scratch.visited.insert(slot) {
                    scratch.found.push(slot);
                    self.graph.codes().prefetch(slot);
                }
            } else if scratch.visited.insert(slot) {
                scratch.detours.push(slot);
                if level == 0 {
                    self.graph.prefetch_links(slot);
                }
            }
        }
        let enough = before + self.graph.capacity(level) / 2;
        for detour in &scratch.detours {
            if scratch.found.len() >= enough {
                break;
            }
            for slot in self.graph.neighbours(*detour, level) {
                if eligible.contains(slot) && scratch.visited.insert(slot) {
                    scratch.found.push(slot);
                    self.graph.codes().prefetch(slot);
                }
            }
        }
    }

    /// Drops the found points whose code says that they are beyond the bound.
    #[inline]
    fn rule_out(&self, query: &Query, bound: f32, scratch: &mut Scratch) {
        let found = &mut scratch.found;
        scratch.work.estimated += found.len() as u32;
        let (mut kept, mut from) = (0, 0);
        while from < found.len() {
            let end = found.len().min(from + BATCH);
            let mut leasts = [0.0; BATCH];
            (self.kernels.leasts)(query, self.graph.codes(), &found[from..end], &mut leasts);
            for (at, least) in (from..end).zip(leasts) {
                // No branch: whether a point stays cannot be predicted.
                found[kept] = found[at];
                kept += usize::from(least < bound);
            }
            from = end;
        }
        found.truncate(kept);
    }

    #[inline]
    pub fn each_rank(&self, query: &Query, slots: &[u32], mut each: impl FnMut(u32, f32)) {
        for slots in slots.chunks(BATCH) {
            slots.iter().zip(self.ranks::<BATCH>(query, slots)).for_each(|(slot, rank)| each(*slot, rank));
        }
    }

    /// The ranks of at most `N` points, in order; what is behind them is nothing.
    #[inline]
    fn ranks<const N: usize>(&self, query: &Query, slots: &[u32]) -> [f32; N] {
        let mut ranks: [f32; N] = self.graph.vectors().products(&query.own, slots);
        for (slot, rank) in slots.iter().zip(&mut ranks) {
            *rank = query.rank(self.graph.coded(*slot), *rank);
        }
        ranks
    }

    /// Asks for what slots are ranked by.
    // As a call it was 4 % of a build, beside the walks' own 20.
    #[inline(always)]
    pub fn prefetch(&self, slots: &[u32]) {
        self.graph.vectors().prefetch(slots);
        if !self.frame.walks_by_codes() {
            // A walk has not looked at these yet.
            slots.iter().for_each(|slot| self.graph.codes().prefetch(*slot));
        }
    }

    /// See [`Frame::slack`].
    pub fn slack(&self, query: &Query, near: &[(u32, f32)]) -> f32 {
        let Some((first, _)) = near.first() else { return 0.0 };
        let mut own = Operand::default();
        if self.frame.keeps_floats() {
            self.graph.vectors().take(*first, &mut own);
        }
        self.frame.slack(query, near, (self.graph.coded(*first), &own))
    }
}
