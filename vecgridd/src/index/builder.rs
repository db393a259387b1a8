//! The thread that keeps the graph.
//!
//! It alone inserts into a graph. It sleeps until the applier has left it work, takes a batch of
//! the tail, inserts it with no lock held, and reports how far it has come; the next view scans
//! that much less. When too many rows are dead it compacts: it copies the live rows and builds a
//! new graph over them beside the old one, while the applier goes on and searches use the old. If
//! the old tail grows long meanwhile, it works on both in turn. When it has nothing else to do, and
//! enough has changed, it writes a checkpoint. When a great part of many rows is not in the graph, it first asks whether
//! another member has linked them already.
//!
//! It, and the threads that help it, step behind searches that want the same core, by a share that is a
//! setting. It stops between two rows, and there the native engine gives way to searches, too.
//!
//! Whatever goes wrong in a build, a panic included, throws that graph away: searches scan, the
//! failure is counted, and after a pause that doubles up to a minute the builder starts again.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Instant,
};

use super::{
    calibrator::Calibrator,
    checkpoint::Store,
    collection_index::Core,
    compaction::Compaction,
    donor::{Elsewhere, GraphLinks},
    engine::{Engine, EngineError, EngineOptions, MakeEngine},
    owner::Work,
    rows::Rows,
};
use crate::task::background::take_share;

/// Rows of one batch: a fraction of a second, for a tail that shrinks visibly and a builder that sees new work soon. As many
/// for one thread as for a few: rows are linked in an order that depends on it (`native`), and that order is part of
/// what recall there is at narrow breadths.
const BATCH: usize = 256;
/// But so many per thread, at least.
const SHARE: usize = 32;
/// Slots looked at for one batch; rows without vectors and dead ones cost nearly nothing.
const BATCH_SLOTS: u32 = 1 << 16;
/// Rows whose mean is the centre of a graph: then it is off by a thirtieth of their deviation.
const CENTRE_ROWS: u32 = 1_024;
/// Rounds of catching up with the applier before a compaction is swapped in as it is.
const ROUNDS: usize = 8;

/// Works until the index is dropped.
pub(super) fn run(core: &Core, make: MakeEngine, store: Option<Store>, elsewhere: Option<Elsewhere>) {
    take_share(core.build_share());
    let mut builder = Builder { core, make, store, elsewhere };
    let mut calibrator = Calibrator::default();
    while let Some(work) = core.next_work() {
        let done = catch_unwind(AssertUnwindSafe(|| match work {
            Work::Link => builder.link(),
            Work::Compact => {
                // It would hold the memory of all the old rows.
                calibrator = Calibrator::default();
                builder.compact()
            }
            Work::Calibrate => calibrator.advance(core),
            Work::Save => {
                builder.save();
                Ok(())
            }
            Work::Move => {
                builder.move_block();
                Ok(())
            }
        }));
        let error = match done {
            Ok(Ok(())) => continue,
            // The graph lacks rows of the last batch, and no view says that it has them.
            Ok(Err(EngineError::Stopped)) => continue,
            Ok(Err(error)) => error.to_string(),
            Err(_) => "the builder panicked".to_owned(),
        };
        core.build_failed(&error);
    }
}

struct Builder<'a> {
    core: &'a Core,
    make: MakeEngine,
    store: Option<Store>,
    elsewhere: Option<Elsewhere>,
}

impl Builder<'_> {
    /// One batch from the tail into the graph, or what another member's graph has of it.
    fn link(&mut self) -> Result<(), EngineError> {
        let (rows, linked) = self.core.with_owner(|owner| (owner.view().rows, owner.linked()));
        let indexed = linked.as_ref().map_or(0, |linked| linked.live);
        if let Some(elsewhere) = &mut self.elsewhere
            && let Some(links) = elsewhere.ask(rows.points(), indexed, self.core.shape().small_rows)
            && self.adopt(&links, &rows)?
        {
            return Ok(());
        }
        let (engine, from) = match linked {
            Some(linked) => (linked.engine, linked.until),
            None => {
                let engine = self.engine(&rows)?;
                self.core.with_owner(|owner| owner.start_graph(Arc::clone(&engine)));
                (engine, 0)
            }
        };
        let until = self.insert_next(&engine, &rows, from)?;
        if until == rows.len() {
            engine.settle()?;
        }
        self.core.publish(|owner| owner.advance(until));
        Ok(())
    }

    /// Begins a new graph with links that another member found. What it lacks is linked after that, as if it were new.
    fn adopt(&self, links: &GraphLinks, rows: &Rows) -> Result<bool, EngineError> {
        let started = Instant::now();
        let (engine, placed) = (self.engine(rows)?, links.here(rows));
        // All of them have one: see `here`.
        if !engine.adopt(&placed, &|slot| rows.vector(slot).unwrap_or_default())? {
            return Ok(false);
        }
        let (collection, adopted, took) = (self.core.collection(), placed.len(), started.elapsed());
        tracing::info!(
            collection,
            rows = rows.points(),
            adopted,
            ?took,
            "links came from another member's graph"
        );
        self.core.publish(|owner| owner.adopt_graph(engine));
        Ok(true)
    }

    /// Live rows into new memory, with a new graph.
    ///
    /// A few at a time, each linked before the next are copied: what dies before its turn is never copied, and where
    /// every row is replaced that is most of them.
    fn compact(&mut self) -> Result<(), EngineError> {
        let mut compaction = Compaction::new(self.core.shape().no_rows());
        let mut engine: Option<Arc<dyn Engine>> = None;
        let (mut until, mut moves) = (0, self.core.shape().mapped);
        for _ in 0..ROUNDS {
            let end = self.core.view().rows.len();
            while compaction.seen() < end {
                let rows = self.core.view().rows.clone();
                self.copy(&mut compaction, &rows, &mut moves);
                if engine.is_none() && self.is_large(compaction.rows()) {
                    engine = Some(self.engine(&rows)?);
                }
                if let Some(engine) = &engine {
                    until = self.link_all(engine, compaction.rows(), until)?;
                }
                if self.core.is_stopping() {
                    return Ok(());
                }
                // The old graph is searched all the time, so its tail must stay bounded; and writers
                // wait for room in it.
                if self.core.with_owner(|owner| owner.linked().is_some() && owner.tail_is_long()) {
                    self.link()?;
                }
            }
            if engine.is_none() || self.is_level(&compaction) {
                break;
            }
        }
        // Writers may be faster than the graph: then the rest is copied without it, and is the tail of the new one.
        while !self.is_level(&compaction) {
            let rows = self.core.view().rows.clone();
            self.copy(&mut compaction, &rows, &mut moves);
        }
        if let Some(engine) = &engine {
            engine.settle()?;
        }
        let graph = engine.map(|engine| (engine, until));
        self.core.publish(|owner| owner.adopt(compaction, graph));
        Ok(())
    }

    /// Whether so little came since that it may be copied while the applier waits.
    fn is_level(&self, compaction: &Compaction) -> bool {
        (self.core.view().rows.len() - compaction.seen()) as usize <= self.batch_size()
    }

    /// All rows from a slot on into a graph; gives the slot behind them.
    fn link_all(&self, engine: &Arc<dyn Engine>, rows: &Rows, mut from: u32) -> Result<u32, EngineError> {
        while from < rows.len() {
            from = self.insert_next(engine, rows, from)?;
        }
        Ok(from)
    }

    /// One batch of rows from a slot on into a graph; gives the slot behind it.
    fn insert_next(&self, engine: &Arc<dyn Engine>, rows: &Rows, from: u32) -> Result<u32, EngineError> {
        let (batch, until) = self.batch(engine, rows, from);
        if !batch.is_empty() {
            engine.insert(batch)?;
        }
        Ok(until)
    }

    /// A checkpoint of this moment. When it fails, the one before stays, and there will be another try.
    fn save(&mut self) {
        let Some(store) = &mut self.store else { return };
        let (view, stamps, changes) = self.core.with_owner(|owner| owner.moment());
        let collection = self.core.collection();
        let saved = match store.save(&view, &stamps) {
            Ok(saved) => {
                tracing::info!(collection, rows = view.live, bytes = saved.bytes, took = ?saved.took, "checkpoint");
                Some(saved)
            }
            Err(error) => {
                tracing::warn!(collection, %error, "no checkpoint could be written: the next start takes longer");
                None
            }
        };
        self.core.with_owner(|owner| owner.saved(changes, saved));
    }

    /// A full block from memory into a file. When that fails it stays in memory for now.
    fn move_block(&mut self) {
        let rows = self.core.view().rows.clone();
        let (Some(store), Some(block)) = (&mut self.store, rows.first_unmapped()) else { return };
        match store.move_block(&rows, block) {
            Ok(chunks) => self.core.publish(|owner| owner.moved(chunks)),
            Err(error) => {
                let collection = self.core.collection();
                tracing::error!(collection, %error, "vectors cannot be written to disk: they stay in memory");
                self.core.with_owner(|owner| owner.move_failed());
            }
        }
    }

    /// Copies the next rows and, as long as it `moves` them, full blocks to where they belong.
    fn copy(&mut self, compaction: &mut Compaction, rows: &Rows, moves: &mut bool) {
        compaction.copy(rows, self.batch_size() as u32);
        while *moves && let (Some(to), Some(block)) = (&mut self.store, compaction.rows().first_unmapped()) {
            match to.move_block(compaction.rows(), block) {
                Ok(chunks) => compaction.map(chunks),
                // They are moved when the compaction is done, or the error is told then.
                Err(_) => *moves = false,
            }
        }
    }

    fn batch_size(&self) -> usize {
        BATCH.max(SHARE * self.core.threads())
    }

    fn is_large(&self, rows: &Rows) -> bool {
        // Dead rows are not counted out here: a graph for a few rows too many does no harm.
        rows.points() > self.core.shape().small_rows as u64
    }

    fn engine(&self, rows: &Rows) -> Result<Arc<dyn Engine>, EngineError> {
        let shape = self.core.shape();
        (self.make)(&EngineOptions {
            measure: shape.measure,
            quantization: shape.quantization,
            centre: centre(rows, shape.dimension),
            m: shape.m,
            ef_construction: self.core.ef_construction(),
            threads: self.core.threads(),
            expected: 2 * rows.len() as usize,
            demands: self.core.demands(),
        })
    }

    /// The next rows for a graph, and the slot behind them. Those that came from another member are in it, and are not
    /// copied for nothing.
    fn batch(&self, engine: &Arc<dyn Engine>, rows: &Rows, from: u32) -> (Vec<(u32, Vec<f32>)>, u32) {
        let size = self.batch_size();
        let mut batch = Vec::with_capacity(size);
        let end = rows.len().min(from.saturating_add(BATCH_SLOTS));
        for slot in from..end {
            if batch.len() == size {
                return (batch, slot);
            }
            if rows.is_untouched(slot)
                && !engine.has(slot)
                && let Some(vector) = rows.vector(slot)
            {
                batch.push((slot, vector.to_vec()));
            }
        }
        (batch, end)
    }
}

/// The mean of some rows, evenly spaced.
fn centre(rows: &Rows, dimension: usize) -> Vec<f32> {
    let mut sums = vec![0.0_f64; dimension];
    let mut count = 0_u32;
    let step = (rows.len() / CENTRE_ROWS).max(1) as usize;
    for vector in (0..rows.len()).step_by(step).filter_map(|slot| rows.vector(slot)) {
        count += 1;
        sums.iter_mut().zip(vector).for_each(|(sum, x)| *sum += f64::from(*x));
    }
    sums.into_iter().map(|sum| (sum / f64::from(count.max(1))) as f32).collect()
}
