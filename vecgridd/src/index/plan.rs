//! Walk the graph, or scan?
//!
//! A scan reads each eligible row once, in order. A walk reads few rows, but each one costs a jump
//! in memory and the graph's bookkeeping, and it cannot see eligibility: if one row in ten is
//! eligible, it must go ten times as wide to bring home as many. So the choice is a comparison of
//! two estimates. Neither can make an answer wrong: a walk that brings too little is followed by a
//! scan.

/// A walk goes this much wider than the plain share of eligible rows says, since eligible rows are
/// not spread evenly.
const SLACK: f64 = 1.2;

/// How to search.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Plan {
    /// Every eligible row.
    Scan,
    /// The graph with this breadth, then every eligible row that is not in the graph.
    Walk {
        /// Breadth.
        ef: usize,
    },
}

/// What the choice depends on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Situation {
    pub k: usize,
    pub ef: usize,
    /// Rows that a scan reads while a walk goes one wider.
    pub rows_per_step: f64,
    /// Points in the graph, dead ones included.
    pub points: usize,
    /// Of these, eligible ones. (Eligible rows outside the graph are scanned either way.)
    pub eligible_points: usize,
}

impl Plan {
    pub fn choose(s: Situation) -> Self {
        if s.eligible_points == 0 {
            return Self::Scan;
        }
        // Points may have come after the view; more eligible ones than points cannot be.
        let share = (s.eligible_points as f64 / s.points as f64).min(1.0);
        let slack = if share < 1.0 { SLACK } else { 1.0 };
        let ef = (s.ef.max(s.k) as f64 * slack / share).ceil();
        let walk = ef * s.rows_per_step;
        if s.eligible_points as f64 <= walk { Self::Scan } else { Self::Walk { ef: ef as usize } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(points: usize, eligible_points: usize, k: usize, ef: usize) -> Plan {
        Plan::choose(Situation { k, ef, rows_per_step: 64.0, points, eligible_points })
    }

    #[test]
    fn a_large_graph_is_walked_as_wide_as_asked() {
        assert_eq!(plan(100_000, 100_000, 10, 96), Plan::Walk { ef: 96 });
        assert_eq!(plan(100_000, 100_000, 200, 96), Plan::Walk { ef: 200 });
        assert_eq!(plan(1_000, 1_000_000, 10, 96), Plan::Walk { ef: 96 });
    }

    #[test]
    fn dead_and_filtered_points_widen_the_walk() {
        assert_eq!(plan(100_000, 80_000, 10, 100), Plan::Walk { ef: 150 });
    }

    #[test]
    fn few_eligible_rows_are_scanned() {
        assert_eq!(plan(100_000, 0, 10, 96), Plan::Scan);
        assert_eq!(plan(100_000, 80, 10, 96), Plan::Scan);
        assert_eq!(plan(100_000, 20_000, 10, 96), Plan::Scan);
        assert_eq!(plan(100_000, 100_000, 10_000, 96), Plan::Scan);
        assert_eq!(plan(0, 0, 10, 96), Plan::Scan);
    }
}
