//! Finding the points near a query.
//!
//! From the entry greedily down the upper levels, then along the lowest with a [`Beam`], as in HNSW
//! (Malkov and Yashunin, 2016). What is different is how little is read for most points:
//!
//! 1. The links of the two nearest candidates that were not expanded are read together, so that one
//!    waits for memory while the other is read; new points have their code fetched.
//! 2. Once the beam is full, a point whose code rules it out is left alone: three quarters of all.
//! 3. The others' numbers are fetched, ranked, and offered to the beam.
//!
//! **With a filter** the beam takes eligible points only. A link to an ineligible point is followed
//! one further at once, when a point has few eligible links (ACORN-1, Patel et al., SIGMOD 2024), so
//! that the walk does not run dry between eligible points.

use super::{
    super::engine::Work,
    beam::Beam,
    frame::{Code, Frame, Query},
    graph::Graph,
    kernels::Kernels,
    visited::Visited,
};

/// Candidates that are expanded together.
const TOGETHER: usize = 2;
/// Points that one call of a kernel takes.
const BATCH: usize = 32;

/// What a walk needs besides the graph, kept between walks.
#[derive(Default)]
pub(super) struct Scratch {
    pub beam: Beam,
    visited: Visited,
    found: Vec<u32>,
    detours: Vec<u32>,
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
    fn contains(self, slot: u32) -> bool {
        self.0.get(slot as usize / 64).is_some_and(|word| word >> (slot % 64) & 1 == 1)
    }
}

impl Walker<'_> {
    /// The rank of one point.
    pub fn rank(&self, query: &Query<'_>, slot: u32) -> f32 {
        let mut dot = [0];
        (self.kernels.dots)(query.numbers, &[self.graph.numbers(slot)], &mut dot);
        query.rank(self.graph.coded(slot), dot[0])
    }

    /// Goes to the nearest point that greedy steps find, on each level from `from` down to, but not
    /// on, `to`.
    pub fn descend(
        &self,
        query: &Query<'_>,
        start: (u32, f32),
        from: usize,
        to: usize,
        scratch: &mut Scratch,
    ) -> (u32, f32) {
        let (mut nearest, mut rank) = start;
        for level in (to + 1..=from).rev() {
            loop {
                scratch.found.clear();
                let without = scratch.without;
                let seen = self.graph.neighbours(nearest, level).filter(|slot| Some(*slot) != without);
                scratch.found.extend(seen);
                scratch.found.iter().for_each(|slot| self.graph.prefetch_numbers(*slot));
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

    /// Fills the beam of `scratch` with about the nearest `breadth` points of a level.
    pub fn spread(
        &self,
        query: &Query<'_>,
        start: (u32, f32),
        level: usize,
        breadth: usize,
        eligible: Option<Eligible<'_>>,
        scratch: &mut Scratch,
    ) {
        scratch.visited.start(self.graph.end());
        scratch.beam.start(breadth);
        scratch.visited.insert(start.0);
        if let Some(without) = scratch.without {
            scratch.visited.insert(without);
        }
        scratch.beam.offer(start.1, start.0);
        let coded = self.frame.is_coded();
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
            if scratch.found.is_empty() && scratch.beam.ahead(1).next().is_none() {
                return;
            }
            if level == 0 {
                scratch.beam.ahead(TOGETHER).for_each(|slot| self.graph.prefetch_links(slot));
            }
            let bound = scratch.beam.bound();
            if coded && bound < f32::INFINITY {
                self.rule_out(query, bound, scratch);
            }
            scratch.found.iter().for_each(|slot| self.graph.prefetch_numbers(*slot));
            scratch.work.ranked += scratch.found.len() as u32;
            let beam = &mut scratch.beam;
            self.each_rank(query, &scratch.found, |slot, rank| beam.offer(rank, slot));
        }
    }

    /// New points that a point is linked to.
    #[inline]
    fn gather(&self, slot: u32, level: usize, coded: bool, scratch: &mut Scratch) {
        let room = self.graph.capacity(level);
        let mut kept = scratch.found.len();
        scratch.found.resize(kept + room + 1, 0);
        scratch.visited.make_room(room);
        for slot in self.graph.neighbours(slot, level) {
            // No branch: whether a point is new cannot be predicted.
            scratch.found[kept] = slot;
            kept += usize::from(scratch.visited.insert(slot));
            if coded {
                self.graph.prefetch_code(slot);
            }
        }
        scratch.found.truncate(kept);
    }

    /// New eligible points that a point is linked to, or that are one further when those are few.
    fn gather_eligible(&self, slot: u32, level: usize, eligible: Eligible<'_>, scratch: &mut Scratch) {
        scratch.detours.clear();
        scratch.visited.make_room(self.graph.capacity(level));
        let before = scratch.found.len();
        for slot in self.graph.neighbours(slot, level) {
            if eligible.contains(slot) {
                if scratch.visited.insert(slot) {
                    scratch.found.push(slot);
                    self.graph.prefetch_code(slot);
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
            scratch.visited.make_room(self.graph.capacity(level));
            for slot in self.graph.neighbours(*detour, level) {
                if eligible.contains(slot) && scratch.visited.insert(slot) {
                    scratch.found.push(slot);
                    self.graph.prefetch_code(slot);
                }
            }
        }
    }

    /// Drops the found points whose code says that they are beyond the bound.
    #[inline]
    fn rule_out(&self, query: &Query<'_>, bound: f32, scratch: &mut Scratch) {
        let found = &mut scratch.found;
        scratch.work.estimated += found.len() as u32;
        let (mut kept, mut from) = (0, 0);
        while from < found.len() {
            let end = found.len().min(from + BATCH);
            let mut codes: [&[u64]; BATCH] = [&[]; BATCH];
            for (code, slot) in codes.iter_mut().zip(&found[from..end]) {
                *code = self.graph.code(*slot);
            }
            let codes = &codes[..end - from];
            let mut agreements = [0; BATCH];
            (self.kernels.agreements)(query.planes, codes, &mut agreements);
            for (at, (code, agreement)) in codes.iter().zip(agreements).enumerate() {
                // No branch: whether a point stays cannot be predicted.
                found[kept] = found[from + at];
                kept += usize::from(query.least_rank(Code(code), agreement) < bound);
            }
            from = end;
        }
        found.truncate(kept);
    }

    #[inline]
    fn each_rank(&self, query: &Query<'_>, slots: &[u32], mut each: impl FnMut(u32, f32)) {
        for slots in slots.chunks(BATCH) {
            let mut rows: [&[i8]; BATCH] = [&[]; BATCH];
            for (row, slot) in rows.iter_mut().zip(slots) {
                *row = self.graph.numbers(*slot);
            }
            let mut dots = [0; BATCH];
            (self.kernels.dots)(query.numbers, &rows[..slots.len()], &mut dots);
            for (slot, dot) in slots.iter().zip(dots) {
                each(*slot, query.rank(self.graph.coded(*slot), dot));
            }
        }
    }
}
