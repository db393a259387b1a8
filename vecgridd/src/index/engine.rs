//! What a graph must be able to do.
//!
//! An engine holds vectors under slot numbers and finds near ones. That is all: it knows nothing
//! of ids, filters, deletes or distances as users see them. The index around it
//!
//! - inserts from one builder thread, each slot once, only rows with a vector;
//! - walks from many threads, also while slots are inserted;
//! - drops ineligible slots, computes the distances of the nearest again, and scans what the graph does
//!   not have yet.
//!
//! So an engine may be approximate, may miss slots and may return dead ones, and the answers are
//! still complete; it only must not return a slot twice. It may fail: then its graph is thrown
//! away and built again, and searches scan.

use std::{
    any::Any,
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32},
    },
};

use super::{
    checkpoint::{Refusal, Sections, Writer},
    distance::Measure,
    donor::Placed,
    hnsw_rs::HnswRs,
    native::{Gathered, Native},
};
use crate::types::{CollectionConfig, EngineKind, Quantization};

/// What a walk is to bring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Aim {
    /// Hits.
    pub k: usize,
    /// Breadth.
    pub ef: usize,
}

/// A graph over slots.
pub(super) trait Engine: Send + Sync {
    /// Inserts vectors, in the form of [`Measure::prepare`].
    fn insert(&self, rows: Vec<(u32, Vec<f32>)>) -> Result<(), EngineError>;

    /// About the nearest slots, as many as wanted or more where it finds them, by a walk about as wide; only
    /// eligible ones, if the engine [`walks_filtered`] and is given a bit per slot. Those behind the nearest `k` are of
    /// interest only as ways to these, or because ranks are rounded.
    ///
    /// [`walks_filtered`]: Self::walks_filtered
    fn walk(&self, query: &[f32], aim: Aim, eligible: Option<&[u64]>) -> Result<Walked, EngineError>;

    /// As [`walk`](Self::walk), as if the graph did not have this slot: it is no result, and no way to others.
    /// `None` when the engine cannot do that.
    fn walk_without(&self, _: &[f32], _: Aim, _: u32) -> Result<Option<Walked>, EngineError> {
        Ok(None)
    }

    /// About the nearest `ef` of these slots, a bit each, by a look at the compressed form of each, in order, without
    /// links. Those from `until` on are not looked at; the others are in the graph. Of those below a slot, a multiple of
    /// 64, only what is [`gather`](Self::gather)ed is looked at, if anything is. `None` when the engine cannot do that.
    fn sift(
        &self,
        _query: &[f32],
        _ef: usize,
        _slots: &[u64],
        _until: u32,
        _gathered: Option<(&Gathered, u32)>,
    ) -> Result<Option<Walked>, EngineError> {
        Ok(None)
    }

    /// Makes sifts quicker that look at these slots again and again; they are in the graph. `None` when nothing would.
    fn gather(&self, _slots: Vec<u32>) -> Option<Gathered> {
        None
    }

    /// Rows that a scan reads while a sift looks at one, where so many are gathered, or none; `None` when the engine cannot
    /// sift.
    fn rows_per_look(&self, _gathered: Option<usize>) -> Option<f64> {
        None
    }

    /// Whether a walk looks at eligibility.
    fn walks_filtered(&self) -> bool {
        false
    }

    /// Rows that a scan reads while a walk goes one wider, per link of a point: what a walk costs.
    fn rows_per_link(&self) -> f64;

    /// All rows so far are in: time for what is better done once than per row.
    fn settle(&self) -> Result<(), EngineError> {
        Ok(())
    }

    /// Whether a slot is in the graph already, as far as the engine can tell.
    fn has(&self, _slot: u32) -> bool {
        false
    }

    /// Adds the links of a slot on the lowest level; `false` when it is not in the graph, or its links are nobody's
    /// business.
    fn links(&self, _slot: u32, _into: &mut Vec<u32>) -> bool {
        false
    }

    /// Inserts rows with links that another graph of the same kind has. Only into an empty graph that nobody walks yet;
    /// `false` when the engine cannot. `vector`: of a row, in the form of [`Measure::prepare`].
    fn adopt<'v>(
        &self,
        _rows: &[Placed],
        _vector: &(dyn Fn(u32) -> &'v [f32] + Sync),
    ) -> Result<bool, EngineError> {
        Ok(false)
    }

    /// Writes the graph, for [`restore_of`] to read; `false` when it cannot be stored. Called by the thread
    /// that inserts, so that the graph stands still.
    fn save(&self, _file: &mut Writer) -> io::Result<bool> {
        Ok(false)
    }

    /// Slots in the graph, dead ones included.
    fn len(&self) -> usize;

    /// Memory, estimated.
    fn bytes(&self) -> u64;
}

/// What a walk brought.
#[derive(Debug, Clone, Default)]
pub(super) struct Walked {
    /// Slots, nearest first, with ranks in the order of their distances.
    pub near: Vec<(u32, f32)>,
    /// Two ranks that differ by less may be in the wrong order.
    pub slack: f32,
    pub work: Work,
}

/// What a walk did, as far as the engine knows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Work {
    /// Points whose links were read.
    pub expanded: u32,
    /// Points whose code was compared.
    pub estimated: u32,
    /// Points that were ranked.
    pub ranked: u32,
}

/// Why a graph is of no use any more.
#[derive(Debug, Clone, thiserror::Error)]
pub(super) enum EngineError {
    #[error("the engine panicked: {0}")]
    Panicked(String),
    #[error("the engine made no progress for {0} seconds")]
    Stalled(u64),
    #[error("a graph holds {0} slots")]
    Full(u32),
    #[error("no memory for the graph: {0}")]
    Memory(String),
    #[error("no threads for the engine: {0}")]
    Threads(String),
    #[error("the graph is broken since an earlier failure")]
    Broken,
    #[error("stopped: nobody wants the graph any more")]
    Stopped,
}

impl EngineError {
    /// From what a panic left.
    pub fn panicked(panic: &(dyn Any + Send)) -> Self {
        let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
        Self::Panicked(text.unwrap_or_else(|| "no message".to_owned()))
    }
}

/// What an engine is made from.
#[derive(Clone)]
pub(super) struct EngineOptions {
    pub measure: Measure,
    /// Only `native` has a choice.
    pub quantization: Quantization,
    /// About the mean of the vectors, in the form of [`Measure::prepare`]; as long as they are.
    pub centre: Vec<f32>,
    pub m: usize,
    pub ef_construction: usize,
    /// Threads that insert.
    pub threads: usize,
    /// Slots to make room for; more may come.
    pub expected: usize,
    pub demands: Arc<Demands>,
}

/// What others want while a graph is built.
#[derive(Debug, Default)]
pub(super) struct Demands {
    /// Nobody wants the graph any more: inserting ends early, with an error.
    pub stop: AtomicBool,
    /// Counts searches in graphs of the collection, over and over: those that build give way to them.
    pub searches: AtomicU32,
}

/// Makes an empty graph.
pub(super) type MakeEngine = fn(&EngineOptions) -> Result<Arc<dyn Engine>, EngineError>;

/// How graphs of a collection are made; `None` when it has none and every search scans.
pub(super) fn engine_of(config: &CollectionConfig) -> Option<MakeEngine> {
    match config.index.engine {
        EngineKind::Flat => None,
        EngineKind::Native => Some(|options| Ok(Arc::new(Native::new(options)))),
        EngineKind::HnswRs => Some(|options| Ok(Arc::new(HnswRs::new(options)?))),
    }
}

/// Reads a stored graph.
pub(super) type RestoreEngine = fn(&EngineOptions, &Sections) -> Result<Arc<dyn Engine>, Refusal>;

/// How stored graphs of a collection are read; `None` when they cannot be stored.
pub(super) fn restore_of(config: &CollectionConfig) -> Option<RestoreEngine> {
    match config.index.engine {
        EngineKind::Flat | EngineKind::HnswRs => None,
        EngineKind::Native => Some(|options, file| Ok(Arc::new(Native::restore(options, file)?))),
    }
}
