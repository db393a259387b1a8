//! What an index says about itself.

use std::time::{Duration, SystemTime};

/// A moment of one index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct IndexStats {
    /// Rows that exist.
    pub live: u64,
    /// Of these, rows with a vector.
    pub with_vector: u64,
    /// Of these, rows in the graph. Zero while the collection is small: then there is no graph.
    pub indexed: u64,
    /// Rows with a vector that wait for the graph and are scanned meanwhile. Zero when no graph is
    /// needed.
    pub tail: u64,
    /// Overwritten and deleted rows whose memory is not back yet.
    pub dead: u64,
    /// Breadth of a walk for ten hits that names none; zero without a graph.
    pub search_ef: usize,
    /// Rows in the graph when it was last measured which breadth reaches which recall; zero = not yet.
    pub calibrated_rows: u64,
    /// The builder is at work, or about to be.
    pub building: bool,
    /// Builds that failed since the start; each was, or will be, tried again.
    pub build_failures: u64,
    /// Times since the start that links were taken over from another member's graph.
    pub adopted: u64,
    /// What is on disk.
    pub checkpoint: CheckpointStats,
    /// Memory, estimated.
    pub bytes: IndexBytes,
}

/// The checkpoints of an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CheckpointStats {
    /// Written since the start.
    pub saves: u64,
    /// Attempts to write one that failed since the start; each is tried again.
    pub failures: u64,
    /// Changes since the last one.
    pub changes: u64,
    /// Bytes on disk of the last one.
    pub bytes: u64,
    /// How long it took to write or, after a start, to read.
    pub took: Duration,
    /// From when it is; `None` when there is none.
    pub at: Option<SystemTime>,
}

/// Memory of an index by part, in bytes, dead rows included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct IndexBytes {
    /// Vectors.
    pub vectors: u64,
    /// The graph, with the copy of the vectors that its engine keeps.
    pub links: u64,
    /// Ids, versions and the map from ids to rows.
    pub ids: u64,
    /// Metadata.
    pub metadata: u64,
    /// Indexes of metadata fields.
    pub fields: u64,
    /// What filters chose that are asked for again and again.
    pub selections: u64,
}

impl IndexBytes {
    /// Each part with its name.
    pub fn by_kind(&self) -> [(&'static str, u64); 6] {
        [
            ("vectors", self.vectors),
            ("links", self.links),
            ("ids", self.ids),
            ("metadata", self.metadata),
            ("fields", self.fields),
            ("selections", self.selections),
        ]
    }

    /// All parts.
    pub fn total(&self) -> u64 {
        self.by_kind().iter().map(|(_, bytes)| bytes).sum()
    }
}
