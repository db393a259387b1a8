//! Finding the points near a query.
//!
//! From the entry greedily down the upper levels, then along the lowest with a [`Beam`], as in HNSW
//! (Malkov and Yashunin, 2016). What is different is how little is read for most points, and that the walk
//! does not wait for it. A round on the lowest level:
//!
//! 1. The links of the two nearest candidates that were not expanded are read, and the codes of new
//!    points asked for.
//! 2. While these are on their way, what was left of the round before is ranked by the upper halves of its
//!    numbers, and offered to the beam. So a round chooses what to expand one round late; that costs next
//!    to nothing.
//! 3. Once the beam is full, a point whose code rules it out is left alone: three quarters of all. The
//!    numbers of the others are asked for, and wait for the next round.
//!
//! **With a filter** the beam takes eligible points only. A link to an ineligible point is followed
//! one further at once, when a point has few eligible links (ACORN-1, Patel et al., SIGMOD 2024), so
//! that the walk does not run dry between eligible points. Where few are eligible it is quicker to look at all of
//! them: a sift.

use super::{
    super::engine::Work,
    beam::Beam,
    frame::{Frame, Query},
    graph::Graph,
    kernels::{BATCH, Kernels},
    vectors::Operand,
    visited::Visited,
};

/// Candidates that are expanded together.
const TOGETHER: usize = 2;
/// Points that a sift works on at a time, …
const TURN: usize = 16;
/// … those whose memory was asked for before, …
const AHEAD: usize = 32;
/// … and those whose slots are found at a time.
const LOOKED: usize = 512;
/// A sift keeps so many times its breadth of points after the look at codes. Behind a filter codes differ by little more
/// than what they are off, so more of them may belong among the nearest than in a walk.
const PROMISING: usize = 8;

/// A point with a rank, in the order of these.
#[inline]
fn ranked(rank: f32, slot: u32) -> u64 {
    // Floats are ordered as their bits are, but for the sign, which turns the order of negative ones.
    let bits = rank.to_bits();
    let ordered = if bits >> 31 == 1 { !bits } else { bits | 1 << 31 };
    u64::from(ordered) << 32 | u64::from(slot)
}

#[inline]
fn rank_of(ranked: u64) -> f32 {
    let ordered = (ranked >> 32) as u32;
    f32::from_bits(if ordered >> 31 == 1 { ordered & !(1 << 31) } else { !ordered })
}

/// The `count` lowest, in no order, and the others.
fn split_at_nth(ranked: &mut [u64], count: usize) -> (&mut [u64], &mut [u64]) {
    if count < ranked.len() {
        ranked.select_nth_unstable(count);
    }
    let count = count.min(ranked.len());
    ranked.split_at_mut(count)
}

/// Does `work` on a few slots at a time, in order, having asked for those that come [`AHEAD`] later: as many are on their
/// way as the processor can wait for, all the time, and never more at once.
#[inline]
fn each_ahead(slots: &[u32], ask: impl Fn(&[u32]), mut work: impl FnMut(&[u32])) {
    let part = |from: usize, count: usize| &slots[from.min(slots.len())..(from + count).min(slots.len())];
    ask(part(0, AHEAD));
    for (turn, now) in slots.chunks(TURN).enumerate() {
        ask(part(turn * TURN + AHEAD, TURN));
        work(now);
    }
}

/// Slots of eligible points, in order.
pub(super) struct Points<'a> {
    words: &'a [u64],
    /// Of the next word.
    next: usize,
    /// What is left of the word before it.
    bits: u64,
    until: u32,
}

impl<'a> Points<'a> {
    /// A bit per slot; those from `until` on are left out.
    pub fn new(words: &'a [u64], until: u32) -> Self {
        let words = &words[..words.len().min((until as usize).div_ceil(64))];
        Self { words, next: 0, bits: 0, until }
    }

    /// The next ones, as many as there is room for; gives how many.
    #[inline]
    fn fill(&mut self, slots: &mut [u32]) -> usize {
        let mut count = 0;
        while count < slots.len() {
            while self.bits == 0 {
                let Some(word) = self.words.get(self.next) else { return count };
                self.next += 1;
                self.bits = *word;
                let first = 64 * (self.next as u32 - 1);
                if self.until - first < 64 {
                    self.bits &= (1 << (self.until - first)) - 1;
                }
            }
            slots[count] = 64 * (self.next as u32 - 1) + self.bits.trailing_zeros();
            self.bits &= self.bits - 1;
            count += 1;
        }
        count
    }
}

/// What a walk needs besides the graph, kept between walks.
#[derive(Default)]
pub(super) struct Scratch {
    pub beam: Beam,
    visited: Visited,
    found: Vec<u32>,
    /// Of the round before: to be ranked.
    waiting: Vec<u32>,
    detours: Vec<u32>,
    /// What a look at codes left, and what was ranked of it: see [`ranked`].
    promising: Vec<u64>,
    ranked: Vec<u64>,
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
    pub fn rank(&self, query: &Query, slot: u32) -> f32 {
        let mut ranked = f32::INFINITY;
        self.each_rank(query, &[slot], |_, rank| ranked = rank);
        ranked
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
        let coded = self.frame.is_coded();
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

    /// Fills the beam of `scratch` with about the nearest `breadth` points of a level.
    pub fn spread(
        &self,
        query: &Query,
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
        scratch.waiting.clear();
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
            scratch.work.ranked += scratch.waiting.len() as u32;
            let beam = &mut scratch.beam;
            self.each_rank(query, &scratch.waiting, |slot, rank| beam.offer(rank, slot));
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

    /// Fills the beam of `scratch` with about the nearest `breadth` of these points, which must be in the graph, without
    /// a walk. First the codes of all are looked at, in order, and the points of the lowest least ranks kept. Then the
    /// numbers of these are: of the most promising ones first, so that their ranks rule out nearly all of the others.
    pub fn sift(&self, query: &mut Query, breadth: usize, points: Points<'_>, scratch: &mut Scratch) {
        query.doubt_more();
        let breadth = breadth.max(1);
        let (mut promising, mut ranked) =
            (std::mem::take(&mut scratch.promising), std::mem::take(&mut scratch.ranked));
        self.look_at_codes(query, PROMISING * breadth, points, &mut promising, scratch);
        ranked.clear();
        let (first, rest) = split_at_nth(&mut promising, breadth);
        self.rank_promising(query, first, f32::INFINITY, &mut ranked, scratch);
        let bound = ranked
            .iter()
            .max()
            .filter(|_| ranked.len() == breadth)
            .map_or(f32::INFINITY, |last| rank_of(*last));
        self.rank_promising(query, rest, bound, &mut ranked, scratch);
        let (nearest, _) = split_at_nth(&mut ranked, breadth);
        nearest.sort_unstable();
        scratch.beam.start(breadth);
        nearest.iter().for_each(|one| scratch.beam.offer(rank_of(*one), *one as u32));
        (scratch.promising, scratch.ranked) = (promising, ranked);
    }

    /// Finds the points of the lowest least ranks: `most` of them, and up to as many more.
    fn look_at_codes(
        &self,
        query: &Query,
        most: usize,
        mut points: Points<'_>,
        promising: &mut Vec<u64>,
        scratch: &mut Scratch,
    ) {
        promising.clear();
        let mut slots = [0; LOOKED];
        let mut bound = f32::INFINITY;
        loop {
            let count = points.fill(&mut slots);
            let slots = &slots[..count];
            scratch.work.estimated += count as u32;
            each_ahead(
                slots,
                |slots| slots.iter().for_each(|slot| self.graph.codes().prefetch(*slot)),
                |slots| {
                    let mut leasts = [f32::NEG_INFINITY; TURN];
                    if self.frame.is_coded() {
                        (self.kernels.leasts)(query, self.graph.codes(), slots, &mut leasts);
                    }
                    let mut kept = promising.len();
                    promising.resize(kept + slots.len(), 0);
                    for (slot, least) in slots.iter().zip(leasts) {
                        // No branch: whether a point is promising cannot be predicted.
                        promising[kept] = ranked(least, *slot);
                        kept += usize::from(least < bound);
                    }
                    promising.truncate(kept);
                    if self.frame.is_coded() && kept >= 2 * most {
                        bound = rank_of(*promising.select_nth_unstable(most).1);
                        promising.truncate(most);
                    }
                },
            );
            if count < LOOKED {
                return;
            }
        }
    }

    /// Adds the ranks of those whose least rank is below the bound, as far as they are, too.
    fn rank_promising(
        &self,
        query: &Query,
        points: &[u64],
        bound: f32,
        into: &mut Vec<u64>,
        scratch: &mut Scratch,
    ) {
        let Scratch { found, work, .. } = scratch;
        found.clear();
        found.extend(points.iter().filter(|point| rank_of(**point) < bound).map(|point| *point as u32));
        work.ranked += found.len() as u32;
        each_ahead(
            found,
            |slots| self.prefetch(slots),
            |slots| {
                self.each_rank(query, slots, |slot, rank| {
                    if rank < bound {
                        into.push(ranked(rank, slot));
                    }
                });
            },
        );
    }

    /// New points that a point is linked to.
    #[inline]
    fn gather(&self, slot: u32, level: usize, coded: bool, scratch: &mut Scratch) {
        let room = self.graph.capacity(level);
        let before = scratch.found.len();
        let mut kept = before;
        scratch.found.resize(kept + room + 1, 0);
        scratch.visited.make_room(room);
        for slot in self.graph.neighbours(slot, level) {
            // No branch: whether a point is new cannot be predicted.
            scratch.found[kept] = slot;
            kept += usize::from(scratch.visited.insert(slot));
        }
        scratch.found.truncate(kept);
        if coded {
            scratch.found[before..].iter().for_each(|slot| self.graph.codes().prefetch(*slot));
        }
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
            scratch.visited.make_room(self.graph.capacity(level));
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
    fn each_rank(&self, query: &Query, slots: &[u32], mut each: impl FnMut(u32, f32)) {
        for slots in slots.chunks(BATCH) {
            let products = self.graph.vectors().products(&query.own, slots);
            for (slot, product) in slots.iter().zip(products) {
                each(*slot, query.rank(self.graph.coded(*slot), product));
            }
        }
    }

    /// Asks for what slots are ranked by.
    #[inline]
    fn prefetch(&self, slots: &[u32]) {
        self.graph.vectors().prefetch(slots);
        if !self.frame.is_coded() {
            // Nobody has looked at these yet.
            slots.iter().for_each(|slot| self.graph.codes().prefetch(*slot));
        }
    }

    /// The ranks of these by all that is kept, in their order; `None` when a walk ranks by that already.
    pub fn fine_ranks(&self, query: &Query, slots: &[u32]) -> Option<Vec<f32>> {
        let products = self.graph.vectors().fine_products(&query.own, slots)?;
        let rank = |(slot, product): (&u32, f32)| query.rank(self.graph.coded(*slot), product);
        Some(slots.iter().zip(products).map(rank).collect())
    }

    /// See [`Frame::slack`].
    pub fn slack(&self, query: &Query, near: &[(u32, f32)], fine: bool) -> f32 {
        let Some((first, _)) = near.first() else { return 0.0 };
        let mut own = Operand::default();
        if self.frame.keeps_floats() {
            self.graph.vectors().take(*first, &mut own);
        }
        self.frame.slack(query, near, fine, (self.graph.coded(*first), &own))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn eligible_slots_come_in_order_up_to_the_end() {
        let words = [0, 1 << 63 | 1, 0, u64::MAX, 6];
        let all: Vec<u32> =
            (0..320).filter(|slot| words[*slot as usize / 64] >> (slot % 64) & 1 == 1).collect();
        for until in [0, 1, 64, 65, 127, 128, 192, 200, 256, 257, 258, 320, 1_000] {
            let (mut points, mut found) = (Points::new(&words, until), Vec::new());
            let mut batch = [0; BATCH];
            loop {
                let count = points.fill(&mut batch);
                found.extend_from_slice(&batch[..count]);
                if count < BATCH {
                    break;
                }
            }
            let expected: Vec<u32> = all.iter().copied().filter(|slot| *slot < until).collect();
            assert_eq!(found, expected, "{until}");
        }
    }
}
