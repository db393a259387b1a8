//! Finding the points near a query by a look at all that are eligible, without links.
//!
//! Where few points are eligible that is quicker than a walk, and surer. First the codes of all are looked at and the
//! points of the lowest least ranks kept. Then the numbers of these are: of the most promising ones first, so that their
//! ranks rule out nearly all of the others.
//!
//! What points that are sifted again and again are looked at by may be [`Gathered`] in that order: their codes, or the numbers
//! themselves, and then the ranks of all are known at once.

use super::{
    beam::{rank_of, ranked},
    columns::EIGHT,
    frame::Query,
    gathered::Gathered,
    reach::Reach,
    walk::{Eligible, Scratch, Walker},
};

/// Points that a sift works on at a time, …
const TURN: usize = 16;
/// … those whose memory was asked for before, …
const AHEAD: usize = 32;
/// … and those whose slots are found at a time.
const LOOKED: usize = 512;
/// A sift keeps so many times its breadth of points after the look at codes. Behind a filter codes differ by little more
/// than what they are off, so more of them may belong among the nearest than in a walk.
const PROMISING: usize = 8;

/// Moves the `count` lowest to the front, in no order; gives how many there are.
fn lowest_to_front(ranked: &mut [u64], count: usize) -> usize {
    if count < ranked.len() {
        ranked.select_nth_unstable(count);
    }
    count.min(ranked.len())
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

/// Leaves the `breadth` lowest; gives the last of their ranks, or infinity when they are fewer.
fn keep(ranked: &mut Vec<u64>, breadth: usize) -> f32 {
    if ranked.len() < breadth {
        return f32::INFINITY;
    }
    let bound = rank_of(*ranked.select_nth_unstable(breadth - 1).1);
    ranked.truncate(breadth);
    bound
}

/// A number that at least `count` of these are not above, and few more; infinity when there are not so many.
fn not_above(leasts: &[[f32; EIGHT]], count: usize, minima: &mut Vec<f32>) -> f32 {
    minima.clear();
    match leasts.len() >= count {
        // Each is the least rank of a point, too: `count` of them are of as many points.
        true => minima.extend(leasts.iter().map(|eight| eight.iter().copied().fold(f32::INFINITY, f32::min))),
        false => minima.extend(leasts.as_flattened()),
    }
    if minima.len() < count {
        f32::INFINITY
    } else {
        *minima.select_nth_unstable_by(count - 1, f32::total_cmp).1
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
    /// A bit per slot; those below `from`, a multiple of 64, and those from `until` on are left out.
    pub fn new(words: &'a [u64], from: u32, until: u32) -> Self {
        debug_assert_eq!(from % 64, 0);
        let words = &words[..words.len().min((until as usize).div_ceil(64))];
        Self { words, next: from as usize / 64, bits: 0, until }
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

/// The points that a sift looks at: those that are gathered, and others.
pub(super) struct Sifted<'a> {
    /// Of those that are gathered these only; others are dead by now.
    pub eligible: Eligible<'a>,
    pub gathered: Option<&'a Gathered>,
    pub others: Points<'a>,
}

/// The points of the lowest least ranks so far: `most` of them, and up to as many more.
struct Promising<'a> {
    points: &'a mut Vec<u64>,
    most: usize,
    /// Those above do not belong here any more.
    bound: f32,
}

impl Promising<'_> {
    /// Takes those that belong here.
    #[inline]
    fn take(&mut self, points: impl ExactSizeIterator<Item = (u32, f32)>) {
        let mut kept = self.points.len();
        self.points.resize(kept + points.len(), 0);
        for (slot, least) in points {
            // No branch: whether a point is promising cannot be predicted.
            self.points[kept] = ranked(least, slot);
            kept += usize::from(least < self.bound);
        }
        self.points.truncate(kept);
        if kept >= 2 * self.most {
            self.bound = rank_of(*self.points.select_nth_unstable(self.most).1);
            self.points.truncate(self.most);
        }
    }
}

impl Walker<'_> {
    /// Fills the beam of `scratch` with about the nearest `breadth` of these points, which must be in the graph.
    pub fn sift(&self, query: &mut Query, breadth: usize, points: Sifted<'_>, scratch: &mut Scratch) {
        self.frame.doubt_more(query);
        if points.gathered.is_some_and(Gathered::are_ranked) {
            query.pair();
        }
        let breadth = breadth.max(1);
        let mut ranked = std::mem::take(&mut scratch.ranked);
        ranked.clear();
        let mut bound = f32::INFINITY;
        if let Some(gathered) = points.gathered {
            bound = self.look_at_gathered(query, gathered, points.eligible, breadth, &mut ranked, scratch);
        }
        let mut promising = std::mem::take(&mut scratch.promising);
        promising.clear();
        let mut found = Promising { points: &mut promising, most: PROMISING * breadth, bound };
        self.look_at_codes(query, points.others, &mut found, scratch);
        let mut left = found.most;
        // With each stage the bound is lower, and fewer are left below it.
        for stage in [breadth, breadth, usize::MAX] {
            promising.retain(|point| rank_of(*point) < bound);
            let now = lowest_to_front(&mut promising, stage.min(left));
            self.rank_promising(query, &promising[..now], bound, &mut ranked, scratch);
            promising.drain(..now);
            left -= now;
            bound = keep(&mut ranked, breadth).min(bound);
        }
        ranked.sort_unstable();
        scratch.beam.start(Reach::just(breadth));
        scratch.beam.fill(&ranked);
        (scratch.promising, scratch.ranked) = (promising, ranked);
    }

    /// Ranks those gathered points that may belong to the first `breadth`, and keeps these; gives a bound for others.
    fn look_at_gathered(
        &self,
        query: &Query,
        gathered: &Gathered,
        eligible: Eligible<'_>,
        breadth: usize,
        into: &mut Vec<u64>,
        scratch: &mut Scratch,
    ) -> f32 {
        let (mut leasts, mut promising) =
            (std::mem::take(&mut scratch.leasts), std::mem::take(&mut scratch.promising));
        let are_ranks = gathered.are_ranked();
        gathered.leasts(self.kernels, query, &mut leasts);
        match are_ranks {
            true => scratch.work.ranked += gathered.len() as u32,
            false => scratch.work.estimated += gathered.len() as u32,
        }
        let (mut above, mut bound, mut count) = (f32::NEG_INFINITY, f32::INFINITY, breadth);
        while above < bound {
            // The most promising first, and more of them until enough are alive; then all others below the bound that
            // their ranks give, which are few.
            let up_to = match bound < f32::INFINITY {
                true => bound,
                false => not_above(&leasts, count, &mut scratch.minima),
            };
            if are_ranks {
                gathered.take(&leasts, (above, up_to), eligible, |rank, slot| into.push(ranked(rank, slot)));
            } else {
                promising.clear();
                let add = |least, slot| promising.push(ranked(least, slot));
                gathered.take(&leasts, (above, up_to), eligible, add);
                let count = lowest_to_front(&mut promising, PROMISING * breadth);
                self.rank_promising(query, &promising[..count], bound, into, scratch);
            }
            bound = keep(into, breadth).min(bound);
            (above, count) = (up_to, count.saturating_mul(4));
        }
        (scratch.leasts, scratch.promising) = (leasts, promising);
        bound
    }

    fn look_at_codes(
        &self,
        query: &Query,
        mut points: Points<'_>,
        found: &mut Promising<'_>,
        scratch: &mut Scratch,
    ) {
        let coded = self.frame.is_coded();
        if !coded {
            // Nothing is known of them before they are ranked.
            found.most = usize::MAX / 2;
        }
        let mut slots = [0; LOOKED];
        loop {
            let count = points.fill(&mut slots);
            let slots = &slots[..count];
            scratch.work.estimated += count as u32;
            each_ahead(
                slots,
                |slots| slots.iter().for_each(|slot| self.graph.codes().prefetch(*slot)),
                |slots| {
                    let mut leasts = [f32::NEG_INFINITY; TURN];
                    if coded {
                        (self.kernels.leasts)(query, self.graph.codes(), slots, &mut leasts);
                    }
                    found.take(slots.iter().copied().zip(leasts));
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
            |slots| {
                self.prefetch(slots);
                // Of gathered points nobody has looked at these.
                slots.iter().for_each(|slot| self.graph.codes().prefetch(*slot));
            },
            |slots| {
                self.each_rank(query, slots, |slot, rank| {
                    if rank < bound {
                        into.push(ranked(rank, slot));
                    }
                });
            },
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_stage_is_as_large_as_it_must_be() {
        let leasts: Vec<[f32; EIGHT]> = (0..50_u32)
            .map(|at| [7, 3, 1, 0, 2, 5, 4, 6].map(|lane| (at * 37 % 50 * 8 + lane) as f32))
            .collect();
        let mut minima = Vec::new();
        for count in [1, 10, 50, 51, 399, 400] {
            let sure = not_above(&leasts, count, &mut minima);
            let there = leasts.as_flattened().iter().filter(|least| **least <= sure).count();
            // At worst all of an eight whose minimum is among them.
            assert!(
                there >= count && there <= if count <= 50 { 8 * count } else { count },
                "{count} {there}"
            );
        }
        assert_eq!(not_above(&leasts, 401, &mut minima), f32::INFINITY);
        assert_eq!(not_above(&[], 1, &mut minima), f32::INFINITY);
    }

    #[test]
    fn eligible_slots_come_in_order_up_to_the_end() {
        let words = [0, 1 << 63 | 1, 0, u64::MAX, 6];
        let all: Vec<u32> =
            (0..320).filter(|slot| words[*slot as usize / 64] >> (slot % 64) & 1 == 1).collect();
        let ends = [0, 1, 64, 65, 127, 128, 192, 200, 256, 257, 258, 320, 1_000];
        for (from, until) in [0, 64, 192, 320].into_iter().flat_map(|from| ends.map(|until| (from, until))) {
            let (mut points, mut found) = (Points::new(&words, from, until), Vec::new());
            let mut batch = [0; TURN];
            loop {
                let count = points.fill(&mut batch);
                found.extend_from_slice(&batch[..count]);
                if count < TURN {
                    break;
                }
            }
            let expected: Vec<u32> =
                all.iter().copied().filter(|slot| (from..until).contains(slot)).collect();
            assert_eq!(found, expected, "{from} {until}");
        }
    }
}
