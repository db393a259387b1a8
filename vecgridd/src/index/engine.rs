//! What a graph must be able to do.
//!
//! An engine holds vectors under slot numbers and finds near ones. That is all: it knows nothing
//! of ids, filters, deletes or distances as users see them. The index around it
//!
//! - inserts from one builder thread, each slot once, only rows with a vector;
//! - walks from many threads, also while slots are inserted;
//! - drops ineligible slots, computes distances again, and scans what the graph does not have yet.
//!
//! So an engine may be approximate, may miss slots and may return dead ones, and the answers are
//! still complete; it only must not return a slot twice. It may fail: then its graph is thrown
//! away and built again, and searches scan.

use std::sync::Arc;

use super::{distance::Measure, hnsw_rs::HnswRs};
use crate::types::{CollectionConfig, EngineKind};

/// A graph over slots.
pub(super) trait Engine: Send + Sync {
    /// Inserts vectors, in the form of [`Measure::prepare`].
    fn insert(&self, rows: Vec<(u32, Vec<f32>)>) -> Result<(), EngineError>;

    /// About the nearest `k` slots, nearest first, with their [`Measure::rank`]; `ef` is the breadth.
    ///
    /// `eligible` has a bit per slot, 64 to a word; slots behind its end are not eligible. An engine
    /// that [`walks_filtered`](Self::walks_filtered) returns only slots with that bit; others get
    /// `None`, or ignore it.
    fn walk(
        &self,
        query: &[f32],
        k: usize,
        ef: usize,
        eligible: Option<&[u64]>,
    ) -> Result<Vec<(u32, f32)>, EngineError>;

    /// Whether a walk can go through eligible slots only, and need not be wider for it.
    fn walks_filtered(&self) -> bool {
        false
    }

    /// Rows that a scan reads while a walk goes one wider, per link of a point: what a walk costs.
    /// Measured with `hnsw_rs` on 20,000 rows of 384 floats, on a busy machine with AVX2: 475 ns
    /// against 156 ns, so 3; a bit more leans to the exact side.
    fn rows_per_link(&self) -> f64 {
        4.0
    }

    /// Slots in the graph, dead ones included.
    fn len(&self) -> usize;

    /// Memory, estimated.
    fn bytes(&self) -> u64;
}

/// Why a graph is of no use any more.
#[derive(Debug, Clone, thiserror::Error)]
pub(super) enum EngineError {
    #[error("the engine panicked: {0}")]
    Panicked(String),
    #[error("the engine made no progress for {0} seconds")]
    Stalled(u64),
    #[error("no threads for the engine: {0}")]
    Threads(String),
    #[error("the graph is broken since an earlier failure")]
    Broken,
}

/// What an engine is made from.
#[derive(Clone)]
pub(super) struct EngineOptions {
    pub measure: Measure,
    pub dimension: usize,
    pub m: usize,
    pub ef_construction: usize,
    /// Threads that insert.
    pub threads: usize,
    /// Slots to make room for; more may come.
    pub expected: usize,
}

/// Makes an empty graph.
pub(super) type MakeEngine = fn(&EngineOptions) -> Result<Arc<dyn Engine>, EngineError>;

/// How graphs of a collection are made; `None` when it has none and every search scans.
pub(super) fn engine_of(config: &CollectionConfig) -> Option<MakeEngine> {
    match config.index.engine {
        EngineKind::Flat => None,
        EngineKind::HnswRs => Some(|options| Ok(Arc::new(HnswRs::new(options)?))),
    }
}
