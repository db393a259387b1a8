//! How far around the nearest a walk looks.
//!
//! A walk of a fixed breadth keeps the nearest `ef` candidates, and expands them all. That is too much where the nearest
//! stand out, and too little where many are about as near as they are: there the last of `ef` is hardly farther than the
//! last hit, and what is missed lies just behind it. So a walk here keeps what is not farther than the last hit by more than a
//! margin, which is the same for all searches of a graph that want as many hits and name the same `ef`: the margin in which
//! there are `ef` candidates on average. (Distance-adaptive beam search, Al-Jazzazi et al. 2025. There the margin is in
//! proportion to the distance of the last hit; here ranks have no zero, and the same for all was better: decision 31.)
//!
//! Ranks grow evenly with the logarithm of how many candidates are as near: by about as much from the 8th to the
//! 16th as from the 32nd to the 64th. So one number says it all, [`Walker::doubling`], and it is measured on points of the graph.
//! It hardly changes when only some points are eligible, by chance: those are fewer everywhere.
//!
//! Dot products, and so their ranks, are in proportion to the length of the query. There the margin is, too.
//!
//! Queries may be unlike the points, and some filters unlike chance. So a walk keeps half of `ef` whatever the
//! margin says, and never more than half as many again.
//!
//! **A new point** is looked for with a margin in proportion to the distance, which is known here: a point's rank against
//! itself is the zero. Nothing has to be measured first. Where distances differ little, as they do when everything depends
//! on many things at once, all of `ef_construction` lies within that margin; where they differ much half of it will do.

use super::{
    super::engine::Aim,
    frame::Query,
    walk::{Scratch, Walker},
};

/// Points whose surroundings are looked at.
const SAMPLE: usize = 256;
/// From this many of the nearest on, since copies of a point say nothing of what is around it ...
const FROM: usize = 8;
/// ... as often as these double.
const DOUBLINGS: usize = 3;
/// To as many.
const LAST: usize = FROM << DOUBLINGS;
/// The nearest of `ef_construction` candidates for the links of a new point, one in so many, say how far others may be ...
const ONE_IN: usize = 6;
/// ... namely farther by this part. (By a quarter more where rows are kept in 4 bits: the rank of a point against itself is too low
/// there, what rounding does is squared in it.) The same recall for the same work as with all candidates, and three quarters of
/// the walk (decision 32).
const FARTHER: f32 = 0.15;
/// With fewer candidates than so many a new point keeps all. Where rows lie in clusters, all that is near is in one of them, and the
/// links that lead to others come from what is far: with 40 of 80 candidates one question in a hundred did not find its cluster.
const ENOUGH: usize = 100;

/// Which candidates a walk keeps.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Reach {
    /// Hits, or some more where they are very few; or the nearest of a new point.
    nearest: usize,
    /// Candidates are kept whose rank is at most that of the last of these, times this ...
    times: f32,
    /// ... and this added ...
    margin: f32,
    /// ... and as many of the nearest anyway ...
    least: usize,
    /// ... but no more than this.
    most: usize,
}

impl Reach {
    /// Just so many of the nearest.
    pub fn just(breadth: usize) -> Self {
        let breadth = breadth.max(1);
        Self { nearest: breadth, times: 1.0, margin: 0.0, least: breadth, most: breadth }
    }

    /// Of about the breadth `ef`. `doubling` as [`Walker::doubling`] says, times the query's
    /// [unit](super::frame::Frame::unit); or 0 where it is not known.
    pub fn about(aim: Aim, doubling: f32) -> Self {
        let breadth = aim.ef.max(1);
        if doubling <= 0.0 {
            return Self::just(breadth);
        }
        let k = aim.k.max(FROM).min(breadth);
        let margin = doubling * (breadth as f32 / k as f32).log2();
        Self { nearest: k, margin, least: k.max(breadth / 2), most: breadth + breadth / 2, ..Self::just(1) }
    }

    /// Of half of this breadth at least (and [`ENOUGH`], where it has as many), and all of it at most, for a point that has this rank against itself.
    ///
    /// Under dot that is not the least rank: others that are longer are nearer. A point among these has half of the breadth then, and
    /// the longest, which many queries will pass, have all of it.
    pub fn of_new(breadth: usize, own: f32) -> Self {
        let most = breadth.max(1);
        let nearest = (most / ONE_IN).max(1);
        Self {
            nearest,
            times: 1.0 + FARTHER,
            margin: -FARTHER * own,
            least: nearest.max(most / 2).max(ENOUGH.min(most)),
            most,
        }
    }

    /// Candidates at least, where there are as many.
    pub fn least(&self) -> usize {
        self.least
    }

    /// Candidates at most.
    pub fn most(&self) -> usize {
        self.most
    }

    /// Candidates whose rank is not below this are of no interest any more, when these are the ranks so far, in order.
    /// It never grows when nearer ones come.
    #[inline]
    pub fn bound(&self, count: usize, rank: impl Fn(usize) -> f32) -> f32 {
        if count < self.least {
            return f32::INFINITY;
        }
        let wanted = (rank(self.nearest - 1) * self.times + self.margin).max(rank(self.least - 1));
        if count < self.most { wanted } else { wanted.min(rank(self.most - 1)) }
    }
}

impl Walker<'_> {
    /// By how much the rank of the nearest points grows when twice as many are looked at, for half of the points, in
    /// [units](super::frame::Frame::unit) of the point that is looked around. 0 where there are too few points to say.
    pub fn doubling(&self, pause: &mut impl FnMut()) -> f32 {
        let Some((entry, top)) = self.graph.entry() else { return 0.0 };
        let (mut query, mut scratch) = (Query::default(), Scratch::default());
        let mut found = Vec::with_capacity(SAMPLE);
        let step = (self.graph.end() as usize).div_ceil(SAMPLE).max(1);
        for slot in (0..self.graph.end()).step_by(step).filter(|slot| self.graph.has(*slot)) {
            self.query_of(slot, &mut query);
            let start = self.descend(&query, (entry, self.rank(&query, entry)), top, 0, &mut scratch);
            // The point itself is among them.
            self.spread(&query, start, 0, Reach::just(LAST), None, &mut scratch);
            let ranks: Vec<f32> = scratch.beam.iter().map(|(_, rank)| rank).collect();
            if let (Some(near), Some(far)) = (ranks.get(FROM - 1), ranks.get(LAST - 1)) {
                found.push((far - near) / DOUBLINGS as f32 / self.frame.unit(&query));
            }
            pause();
        }
        // A few points that are like no others, and those of length zero, do not count.
        found.retain(|growth| growth.is_finite());
        found.sort_unstable_by(f32::total_cmp);
        found.get(found.len() / 2).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bound(reach: Reach, ranks: &[f32]) -> f32 {
        reach.bound(ranks.len(), |at| ranks[at])
    }

    fn ranks(step: f32) -> Vec<f32> {
        (0..300).map(|at| at as f32 * step).collect()
    }

    #[test]
    fn a_walk_keeps_what_is_about_as_near_as_the_last_hit() {
        // Ten hits of 40: two doublings.
        let reach = Reach::about(Aim { k: 10, ef: 40 }, 0.5);
        assert_eq!(reach, Reach { nearest: 10, times: 1.0, margin: 1.0, least: 20, most: 60 });
        assert_eq!(bound(reach, &ranks(1.0)[..19]), f32::INFINITY, "too few so far");
        assert_eq!(bound(reach, &ranks(1.0)), 19.0, "half of the breadth, however far");
        assert_eq!(bound(reach, &ranks(0.05)[..40]), 9.0 * 0.05 + 1.0);
        assert_eq!(bound(reach, &ranks(0.01)), 59.0 * 0.01, "not more than half as many again, however near");
    }

    #[test]
    fn where_nothing_is_known_the_breadth_is_the_breadth() {
        assert_eq!(Reach::about(Aim { k: 10, ef: 40 }, 0.0), Reach::just(40));
        assert_eq!(Reach::about(Aim { k: 10, ef: 0 }, 0.0), Reach::just(1));
        assert_eq!(bound(Reach::just(2), &[1.0]), f32::INFINITY);
        assert_eq!(bound(Reach::just(2), &[1.0, 3.0]), 3.0);
    }

    #[test]
    fn all_hits_are_kept_however_narrow() {
        let reach = Reach::about(Aim { k: 10, ef: 10 }, 0.5);
        assert_eq!(reach, Reach { nearest: 10, times: 1.0, margin: 0.0, least: 10, most: 15 });
        assert_eq!(Reach::about(Aim { k: 100, ef: 10 }, 0.5), reach, "no more hits than the breadth");
        assert_eq!(Reach::about(Aim { k: 0, ef: 1 }, 0.5), Reach::just(1));
        // The nearest may stand out, and is one early that is not yet the nearest.
        assert_eq!(
            Reach::about(Aim { k: 1, ef: 32 }, 0.5),
            Reach { nearest: 8, times: 1.0, margin: 1.0, least: 16, most: 48 }
        );
    }

    #[test]
    fn a_new_point_is_looked_for_in_proportion_to_how_far_others_are() {
        // Its rank against itself is -1; the 33rd and last that counts is 3.2 from there, and a margin of 0.48 is four more.
        let reach = Reach::of_new(200, -1.0);
        assert_eq!((reach.nearest, reach.least, reach.most), (33, 100, 200));
        let far: Vec<f32> = (0..200).map(|at| 2.2 + (at as f32 - 32.0).max(0.0) * 0.12).collect();
        assert_eq!(bound(reach, &far), far[99], "half of the breadth anyway");
        let near: Vec<f32> = far.iter().map(|rank| 2.2 + (rank - 2.2) / 20.0).collect();
        assert!((bound(reach, &near) - 2.68).abs() < 1e-5, "80 more");
        assert_eq!(bound(reach, &ranks(0.0001)), 199.0 * 0.0001, "no wider than asked for");
        assert_eq!(bound(Reach::of_new(200, 0.0), &[0.0; 150]), 0.0, "of so many copies all are nearest");
        assert_eq!(Reach::of_new(0, 0.5).most(), 1);
        assert_eq!(
            [80, 100, 120, 300].map(|breadth| Reach::of_new(breadth, -1.0).least()),
            [80, 100, 100, 150]
        );
    }
}
