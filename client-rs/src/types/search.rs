//! A search, and what it finds.

use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

/// A search inside one collection.
///
/// ```
/// use serde_json::json;
/// use vecgrid_client::Search;
/// let search = Search::new("films", [0.1, 0.9]).k(20).filter(json!({"year": {"$gte": 1970}}));
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
#[must_use = "a search does nothing until given to `Client::search`"]
pub struct Search {
    /// Where to search.
    pub collection: String,
    /// What to be near to.
    pub vector: Vec<f32>,
    /// How many hits, 1 to 10,000.
    pub k: u32,
    /// Breadth of the walk; `None` = by `target_recall`.
    pub ef: Option<u32>,
    /// Recall that the breadth is chosen for, instead of `ef`; without both, the collection says.
    pub target_recall: Option<f64>,
    /// Which entries may be hits; `None` = all.
    pub filter: Option<Value>,
    /// Scan instead of walking the graph.
    pub exact: bool,
    /// Drop hits farther than this.
    pub max_distance: Option<f32>,
    /// Answer with metadata.
    pub include_metadata: bool,
    /// Answer with vectors.
    pub include_vector: bool,
    /// Accept an answer that does not cover all partitions.
    pub allow_partial: bool,
    /// Answer with how the search was done.
    pub explain: bool,
}

impl Search {
    /// The ten nearest entries, with metadata.
    pub fn new(collection: impl Into<String>, vector: impl Into<Vec<f32>>) -> Self {
        Self {
            collection: collection.into(),
            vector: vector.into(),
            k: 10,
            ef: None,
            target_recall: None,
            filter: None,
            exact: false,
            max_distance: None,
            include_metadata: true,
            include_vector: false,
            allow_partial: false,
            explain: false,
        }
    }

    /// How many hits, 1 to 10,000.
    pub fn k(mut self, k: u32) -> Self {
        self.k = k;
        self
    }

    /// Breadth of the walk: more is slower and finds more.
    pub fn ef(mut self, ef: u32) -> Self {
        self.ef = Some(ef);
        self
    }

    /// Recall to reach on average, 0.5 to 0.999: the daemon knows which breadth that takes.
    pub fn target_recall(mut self, target: f64) -> Self {
        self.target_recall = Some(target);
        self
    }

    /// Only entries that match, for example `{"year": {"$gte": 1970}}`.
    pub fn filter(mut self, filter: impl Into<Value>) -> Self {
        self.filter = Some(filter.into());
        self
    }

    /// Scan instead of walking the graph.
    pub fn exact(mut self, exact: bool) -> Self {
        self.exact = exact;
        self
    }

    /// Drop hits farther than this.
    pub fn max_distance(mut self, distance: f32) -> Self {
        self.max_distance = Some(distance);
        self
    }

    /// Answer with metadata (the default).
    pub fn include_metadata(mut self, include: bool) -> Self {
        self.include_metadata = include;
        self
    }

    /// Answer with vectors.
    pub fn include_vector(mut self, include: bool) -> Self {
        self.include_vector = include;
        self
    }

    /// Accept an answer that does not cover all partitions.
    pub fn allow_partial(mut self, allow: bool) -> Self {
        self.allow_partial = allow;
        self
    }

    /// Answer with how the search was done.
    pub fn explain(mut self, explain: bool) -> Self {
        self.explain = explain;
        self
    }
}

/// One found entry.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Hit {
    /// Its id.
    pub id: String,
    /// By the collection's metric; smaller is nearer.
    pub distance: f32,
    /// When asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Value>,
    /// When asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vector: Option<Vec<f32>>,
}

/// How much of the grid an answer speaks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Coverage {
    /// Partitions that answered.
    pub answered: u32,
    /// Partitions of the grid.
    pub partitions: u32,
}

impl Coverage {
    /// Whether every partition answered.
    pub fn is_full(self) -> bool {
        self.answered == self.partitions
    }
}

/// Hits, nearest first, ties by id.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct SearchAnswer {
    /// At most `k`.
    pub hits: Vec<Hit>,
    /// Which part of the grid answered.
    pub coverage: Coverage,
    /// Time inside the daemon.
    pub took: Duration,
    /// When asked for, and the collection has entries.
    pub explain: Option<Explain>,
}

/// How a search was done.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
#[non_exhaustive]
pub struct Explain {
    /// `scan`, `walk`, `filtered_walk`, `sift` or `walk_then_scan`.
    pub plan: String,
    /// Breadth of the walk; 0 without one.
    pub ef: u32,
    /// The recall that this breadth was chosen for; `None` when a breadth was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_recall: Option<f64>,
    /// Entries that may be hits, whatever their distance.
    pub eligible: u64,
    /// Entries that the filter was held against one by one: no field index was sure.
    pub filtered: u64,
    /// Entries whose links the walk read; 0 where the engine does not count.
    pub visited: u64,
    /// Distances that the walk estimated from compressed vectors; 0 where the engine does not count.
    pub estimated: u64,
    /// Entries of the walk whose exact distance was computed.
    pub reranked: u64,
    /// Entries outside the graph, scanned beside the walk.
    pub tail: u64,
    /// Exact distances computed in all.
    pub distances: u64,
    /// In order.
    pub steps: Vec<Step>,
}

/// Time for one step of a search.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[non_exhaustive]
pub struct Step {
    /// `select`, `walk`, `rerank`, `scan` or `answer`.
    pub name: String,
    /// Nanoseconds.
    pub took_ns: u64,
}
