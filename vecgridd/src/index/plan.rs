//! Walk the graph, or scan?
//!
//! A scan reads each eligible row once, in order. A walk reads few rows, but each one costs a jump
//! in memory and the graph's bookkeeping. There are two kinds of walk. A plain one does not see
//! eligibility: if one row in ten is eligible, it must go ten times as wide to bring home as many. A
//! filtered one goes only where rows are eligible, through ineligible neighbours to those behind
//! them (ACORN): it need not be wider, but each step looks at more links, and where too few rows are
//! eligible it finds no way on. Not every engine can do it.
//!
//! A sift looks at each eligible row too, but at its compressed form, a sixth of the memory, and ranks the nearest
//! again. It is a scan in what it costs per row and a walk in how sure it is. Not every engine can do it.
//!
//! So the choice is the least of four estimates, all in rows that a scan reads in that time. None
//! can make an answer wrong: a walk that brings too little is followed by a scan. They are made from
//! counts alone, so the order in which rows, indexes and graph came makes no difference.

use super::engine::Aim;

/// A walk goes wider than the plain share of eligible rows says, since eligible rows are not spread evenly: by the share
/// of the others, and by this at most.
const SLACK: f64 = 0.2;
/// Looking up whether a neighbour is eligible, of which a filtered walk does many: against reading
/// a row.
const LOOK: f64 = 0.08;
/// Eligible points are linked through others that the walk does not keep, so it needs to be wider for
/// the same recall. With 2, one of the eight filters of the WordNet set was at 0.989 instead of 0.99.
const NARROW: f64 = 2.5;
/// Links per point on the lowest layer, where a walk spends its time, are twice those above.
const LOWEST: f64 = 2.0;
/// Eligible points within two links that a filtered walk needs to find its way: about as many as a
/// point has links on an upper layer.
const WAYS: f64 = 1.0;
/// Rows that a scan reads in the time in which it looks at one whose vector lies beside those of the others.
const BESIDE: f64 = 0.15;
/// Rows that a scan reads in the time in which a sift ranks one of its beam again.
const AGAIN: f64 = 1.0;
/// A sift keeps so many per hit: ranks of compressed vectors are off by a few places. As wide as was asked for would
/// be too much where a walk needs to be wide to find its way, and too little at `ef = k`.
const KEPT: usize = 4;

/// How to search.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Plan {
    /// Every eligible row.
    Scan,
    /// The graph, for the hits and as many others among them as are not eligible; then every eligible row that is not in
    /// the graph.
    Walk(Aim),
    /// The same, through eligible rows only.
    FilteredWalk(Aim),
    /// Every eligible row in its compressed form, then every eligible row that is not in the graph.
    Sift {
        /// Rows that are kept.
        ef: usize,
    },
}

/// What the choice depends on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Situation {
    pub k: usize,
    pub ef: usize,
    /// Links per point.
    pub m: usize,
    /// Points in the graph, dead ones included.
    pub points: usize,
    /// Of these, eligible ones. (Eligible rows outside the graph are scanned either way.)
    pub eligible_points: usize,
    /// Of these, those whose vectors lie side by side.
    pub beside: usize,
    /// Rows that a scan reads while a walk goes one wider, per link of a point.
    pub rows_per_link: f64,
    /// Whether a walk may be a filtered one.
    pub filtered: bool,
    /// Rows that a scan reads while a sift looks at one; `None`: no sift.
    pub rows_per_look: Option<f64>,
}

impl Plan {
    /// How many rows a sift keeps.
    pub fn sifted(k: usize) -> usize {
        KEPT * k + KEPT
    }

    pub fn choose(s: Situation) -> Self {
        if s.eligible_points == 0 {
            return Self::Scan;
        }
        // Points may have come after the view; more eligible ones than points cannot be.
        let share = (s.eligible_points as f64 / s.points as f64).min(1.0);
        let slack = 1.0 + (1.0 - share).min(SLACK);
        let (breadth, links) = (s.ef.max(s.k) as f64, s.m as f64);
        let step = links * s.rows_per_link;

        let among_all = |count: f64| (count * slack / share).ceil();
        let plain = among_all(breadth);
        let beside = s.beside.min(s.eligible_points);
        let mut best = ((s.eligible_points - beside) as f64 + beside as f64 * BESIDE, Self::Scan);
        if plain * step < best.0 {
            let k = among_all(s.k as f64) as usize;
            best = (plain * step, Self::Walk(Aim { k, ef: plain as usize }));
        }
        let near = LOWEST * links;
        let within_two = near + near * near;
        if s.filtered && within_two * share >= WAYS * links {
            let filtered = (breadth * slack * NARROW).ceil();
            // It looks around until it has as many eligible neighbours as a plain walk has neighbours.
            let looks = (near / share).min(within_two);
            let cost = filtered * (step + looks * LOOK);
            if cost < best.0 {
                best = (cost, Self::FilteredWalk(Aim { k: s.k, ef: filtered as usize }));
            }
        }
        if let Some(look) = s.rows_per_look {
            let ef = Self::sifted(s.k);
            let cost = s.eligible_points as f64 * look + ef as f64 * AGAIN;
            if cost < best.0 {
                best = (cost, Self::Sift { ef });
            }
        }
        best.1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Situation = Situation {
        k: 10,
        ef: 96,
        m: 16,
        points: 100_000,
        eligible_points: 100_000,
        beside: 0,
        rows_per_link: 4.0,
        filtered: false,
        rows_per_look: None,
    };

    fn walk(k: usize, ef: usize) -> Plan {
        Plan::Walk(Aim { k, ef })
    }

    fn plan(points: usize, eligible_points: usize, k: usize, ef: usize) -> Plan {
        Plan::choose(Situation { k, ef, points, eligible_points, ..PLAIN })
    }

    #[test]
    fn a_large_graph_is_walked_as_wide_as_asked() {
        assert_eq!(plan(100_000, 100_000, 10, 96), walk(10, 96));
        assert_eq!(plan(100_000, 100_000, 200, 96), walk(200, 200));
        assert_eq!(plan(1_000, 1_000_000, 10, 96), walk(10, 96));
    }

    #[test]
    fn dead_and_filtered_points_widen_the_walk() {
        assert_eq!(plan(100_000, 80_000, 10, 100), walk(15, 150));
        assert_eq!(plan(100_000, 99_000, 10, 100), walk(11, 103));
        assert_eq!(plan(100_000, 99_999, 10, 100), walk(11, 101), "a row that died costs next to nothing");
    }

    #[test]
    fn few_eligible_rows_are_scanned() {
        assert_eq!(plan(100_000, 0, 10, 96), Plan::Scan);
        assert_eq!(plan(100_000, 80, 10, 96), Plan::Scan);
        assert_eq!(plan(100_000, 20_000, 10, 96), Plan::Scan);
        assert_eq!(plan(100_000, 100_000, 10_000, 96), Plan::Scan);
        assert_eq!(plan(0, 0, 10, 96), Plan::Scan);
    }

    #[test]
    fn an_engine_that_can_walks_through_eligible_points() {
        let plan = |eligible_points| {
            Plan::choose(Situation { points: 1_000_000, eligible_points, filtered: true, ..PLAIN })
        };
        assert_eq!(plan(1_000_000), walk(10, 96));
        assert_eq!(plan(200_000), Plan::FilteredWalk(Aim { k: 10, ef: 288 }));
        assert_eq!(plan(50_000), Plan::FilteredWalk(Aim { k: 10, ef: 288 }));
        assert_eq!(plan(5_000), Plan::Scan);
        let sparse = Situation { points: 10_000_000, eligible_points: 100_000, filtered: true, ..PLAIN };
        assert_eq!(Plan::choose(Situation { m: 8, ..sparse }), Plan::Scan, "no way on");
    }

    #[test]
    fn an_engine_that_can_sifts_what_is_too_much_to_read() {
        let plan =
            |eligible_points| Plan::choose(Situation { eligible_points, rows_per_look: Some(0.25), ..PLAIN });
        assert_eq!(plan(50), Plan::Scan);
        assert_eq!(plan(200), Plan::Sift { ef: 44 });
        assert_eq!(plan(1_000), Plan::Sift { ef: 44 });
        assert_eq!(plan(10_000), Plan::Sift { ef: 44 });
        assert_eq!(plan(100_000), walk(10, 96));
        let few = Situation { eligible_points: 200, rows_per_look: Some(0.02), ..PLAIN };
        assert_eq!(Plan::choose(few), Plan::Sift { ef: 44 });
        assert_eq!(Plan::choose(Situation { beside: 200, ..few }), Plan::Scan);
    }
}
