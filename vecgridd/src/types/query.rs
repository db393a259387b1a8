//! A search, and what it finds.

use super::{Breadth, EntryId, Explain, Filter, Invalid, Metadata, TargetRecall, Vector};

/// Most hits of one search.
pub const MAX_K: usize = 10_000;
/// Widest walk.
pub const MAX_EF: usize = 10_000;

/// A checked search inside one collection.
#[derive(Debug, Clone)]
pub struct Query {
    /// As given; the index normalizes it when the metric is cosine.
    pub vector: Vector,
    /// How many hits, 1 to 10,000.
    pub k: usize,
    /// Breadth of the walk; `None` = by `target_recall`.
    pub ef: Option<usize>,
    /// Recall that the breadth is chosen for, instead of `ef`; without both, the collection says.
    pub target_recall: Option<TargetRecall>,
    /// Which entries may be hits; `None` = all.
    pub filter: Option<Filter>,
    /// Scan instead of walking the graph.
    pub exact: bool,
    /// Drop hits farther than this.
    pub max_distance: Option<f32>,
    /// Answer with metadata.
    pub include_metadata: bool,
    /// Answer with the vector as written.
    pub include_vector: bool,
    /// Accept an answer that does not cover every partition.
    pub allow_partial: bool,
    /// Say how it was answered.
    pub explain: bool,
}

impl Query {
    /// Checks the numbers.
    ///
    /// # Errors
    /// `invalid_k`, `invalid_ef`, `invalid_target_recall`, `invalid_max_distance`.
    pub fn checked(self) -> Result<Self, Invalid> {
        if self.k == 0 || self.k > MAX_K {
            return Err(Invalid::new("invalid_k", "k", format!("k is 1 to {MAX_K}, not {}", self.k)));
        }
        if let Some(ef) = self.ef
            && (ef == 0 || ef > MAX_EF)
        {
            return Err(Invalid::new("invalid_ef", "ef", format!("ef is 1 to {MAX_EF}, not {ef}")));
        }
        Breadth::of(self.ef, self.target_recall)?;
        if self.max_distance.is_some_and(f32::is_nan) {
            return Err(Invalid::new(
                "invalid_max_distance",
                "max_distance",
                "max_distance must be a number",
            ));
        }
        Ok(self)
    }

    /// How wide it walks; `None` = as the collection says.
    pub fn breadth(&self) -> Option<Breadth> {
        // A checked query has one of both at most.
        Breadth::of(self.ef, self.target_recall).unwrap_or(None)
    }
}

/// One found entry.
#[derive(Debug, Clone, PartialEq)]
pub struct Hit {
    /// Its id.
    pub id: EntryId,
    /// By the collection's metric; smaller is nearer.
    pub distance: f32,
    /// When asked for.
    pub metadata: Option<Metadata>,
    /// When asked for.
    pub vector: Option<Vector>,
}

/// How much of the grid an answer speaks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Coverage {
    /// Partitions that answered.
    pub answered: u32,
    /// Partitions of the grid.
    pub partitions: u32,
}

/// Hits, nearest first, ties by id.
#[derive(Debug, Clone)]
pub struct SearchAnswer {
    /// At most `k`.
    pub hits: Vec<Hit>,
    /// Which part of the grid answered.
    pub coverage: Coverage,
    /// Time inside the daemon.
    pub took: std::time::Duration,
    /// How it was answered, when asked for and where there was an index to ask.
    pub explain: Option<Explain>,
}
