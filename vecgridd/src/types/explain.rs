//! How a search was answered: for people who wonder why it was slow.

use std::time::Duration;

use super::TargetRecall;

/// What was done for one search.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Explain {
    /// How rows were found.
    pub plan: SearchPlan,
    /// Breadth of the walk, about which it keeps as many candidates as pay; zero without one.
    pub ef: usize,
    /// The recall that this breadth was chosen for; `None` when a breadth was asked for, or none walked.
    pub target_recall: Option<TargetRecall>,
    /// Rows that may be hits, whatever their distance.
    pub eligible: u64,
    /// Rows that the filter was held against one by one, since no index was sure of them.
    pub filtered: u64,
    /// Rows whose links the walk read; zero where the engine does not count.
    pub visited: u64,
    /// Distances that the walk estimated from compressed vectors; zero where the engine does not count.
    pub estimated: u64,
    /// Rows of the walk whose distance was computed again in full precision.
    pub reranked: u64,
    /// Rows outside the graph that were scanned beside the walk.
    pub tail: u64,
    /// Exact distances that were computed, scans and reranking together.
    pub distances: u64,
    /// Time for each step, in order.
    pub times: Times,
}

/// How the rows of a search were found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SearchPlan {
    /// Every eligible row was read.
    #[default]
    Scan,
    /// The graph was walked, without regard to what is eligible.
    Walk,
    /// The graph was walked through eligible rows.
    FilteredWalk,
    /// Every eligible row of the graph was looked at in its compressed form, and the nearest were ranked again.
    Sift,
    /// A walk brought too little, or failed, and every eligible row was read after it.
    WalkThenScan,
}

impl SearchPlan {
    /// The word on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Scan => "scan",
            Self::Walk => "walk",
            Self::FilteredWalk => "filtered_walk",
            Self::Sift => "sift",
            Self::WalkThenScan => "walk_then_scan",
        }
    }
}

/// Time for each step of a search.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Times {
    /// Finding out which rows are eligible.
    pub select: Duration,
    /// Walking the graph.
    pub walk: Duration,
    /// Computing the distances of what the walk brought.
    pub rerank: Duration,
    /// Reading rows one by one: the tail, or all of them.
    pub scan: Duration,
    /// Making hits of rows.
    pub answer: Duration,
}

impl Times {
    /// Each step with its name.
    pub fn by_step(&self) -> [(&'static str, Duration); 5] {
        [
            ("select", self.select),
            ("walk", self.walk),
            ("rerank", self.rerank),
            ("scan", self.scan),
            ("answer", self.answer),
        ]
    }
}
