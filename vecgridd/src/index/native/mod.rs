//! Our own engine: one mutable graph in flat memory, walked on compressed vectors.
//!
//! ```text
//! insert ─▶ frame.encode ─▶ graph.add ─▶ link (walk, choose, link back)      several threads
//! walk   ─▶ frame.encode ─▶ descend ─▶ spread (codes, then numbers) ─▶ ranks   any thread
//! ```
//!
//! - `frame`, `rotation`, `nibbles`: vectors as 8-bit numbers in two halves and 1-bit codes; `kernels`: sums
//!   over them.
//! - `vectors`: the form that points are kept in, by the collection's choice: numbers, their upper halves, or floats.
//! - `arena`, `graph`: where rows and links are; growing moves nothing.
//! - `walk`, `beam`, `visited`: the search; `link`: the build.
//! - `repair`: points that no walk reaches.
//!
//! What it promises: a walk never waits for an insert; several inserting threads reach the recall of
//! one; memory per point is `8 bits per component + 1 bit per component + 16 bytes + 4 (2m + 1) bytes`
//! and a few for the upper levels. With `int4` it is 4 bits instead of 8; with floats 16 or 32 bits instead of 8 + 1.
//!
//! What it leaves out: distances for users and deletes (the index around it has both), moving
//! points that are dead (a compaction builds a new graph).

mod arena;
mod beam;
mod frame;
mod graph;
mod kernels;
mod link;
mod nibbles;
mod repair;
mod rotation;
#[cfg(test)]
mod tests;
mod vectors;
mod visited;
mod walk;

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering::Relaxed},
    },
};

use serde::{Deserialize, Serialize};

pub(super) use self::frame::Query;
use self::{
    beam::MAX_SLOTS,
    frame::Frame,
    graph::{Graph, GraphState, LAYOUT},
    kernels::Kernels,
    link::Bench,
    walk::{Eligible, Points, Scratch, Walker},
};
use super::{
    checkpoint::{Refusal, Sections, Writer},
    engine::{Engine, EngineError, EngineOptions, Walked, Work},
};
use crate::types::Quantization;

/// Points that one thread inserts first: several threads that find an empty graph would leave points
/// without links.
const SEEDS: u32 = 256;
/// Parts that the rows of a batch are taken from in turn: more than threads.
const STRIDE: usize = 16;
/// Scratch memory that is kept for later walks, at most.
const KEPT: usize = 64;
/// Repair again when one point in so many is new.
const REPAIR_SHARE: u32 = 256;

/// See the module.
pub(super) struct Native {
    frame: Frame,
    graph: Graph,
    kernels: &'static Kernels,
    ef_construction: usize,
    threads: usize,
    scratch: Mutex<Vec<Scratch>>,
    broken: AtomicBool,
    stop: Arc<AtomicBool>,
    /// Points when unreachable ones were last looked for.
    repaired: AtomicU32,
}

impl Native {
    pub fn new(options: &EngineOptions) -> Self {
        let frame = Frame::new(options.measure.metric(), options.quantization, &options.centre);
        let graph = Graph::new(&frame, options.m, options.expected);
        Self {
            frame,
            graph,
            kernels: Kernels::detect(),
            ef_construction: options.ef_construction,
            threads: options.threads.max(1),
            scratch: Mutex::default(),
            broken: AtomicBool::new(false),
            stop: Arc::clone(&options.stop),
            repaired: AtomicU32::new(0),
        }
    }

    /// Reads what [`save`](Engine::save) wrote. The centre of `options` says only how long it is.
    pub fn restore(options: &EngineOptions, file: &Sections) -> Result<Self, Refusal> {
        let stored: StoredGraph = file.json("graph")?;
        let is_ours = (stored.layout, stored.m, stored.centre.len(), stored.quantization)
            == (LAYOUT, options.m, options.centre.len(), options.quantization);
        if !is_ours {
            return Err(Refusal::Foreign("the graph is laid out in another way".to_owned()));
        }
        let centre = stored.centre.iter().map(|bits| f32::from_bits(*bits)).collect();
        let expected = 2 * stored.end as usize;
        let mut this = Self::new(&EngineOptions { centre, expected, ..options.clone() });
        for (name, arena) in this.graph.arenas_mut() {
            let records = file.section(&section(name))?;
            arena.read(records.bytes()).map_err(|e| Refusal::Damaged(format!("the graph's {name}: {e}")))?;
        }
        if !this.graph.resume(stored.state) {
            return Err(Refusal::Damaged("the parts of the graph do not fit each other".to_owned()));
        }
        this.repaired = stored.repaired.into();
        Ok(this)
    }

    fn walker(&self) -> Walker<'_> {
        Walker { graph: &self.graph, frame: &self.frame, kernels: self.kernels }
    }

    fn insert_one(&self, slot: u32, vector: &[f32], bench: &mut Bench) -> Result<(), EngineError> {
        if slot >= MAX_SLOTS {
            return Err(EngineError::Full(MAX_SLOTS));
        }
        // A batch that was stopped comes again, in part or from the start, after the graph was saved and restored.
        if self.graph.has(slot) {
            return Ok(());
        }
        let encoded = self.frame.encode(vector);
        let level = self.graph.add(slot, &encoded).map_err(|e| EngineError::Memory(e.to_string()))?;
        self.walker().link(slot, level, self.ef_construction, bench);
        Ok(())
    }

    /// Inserts what `next` hands out, until there is no more.
    ///
    /// Points that are inserted at the same time do not find each other, and rows that come one after the
    /// other are often alike. So threads work `STRIDE` rows apart.
    fn work(&self, rows: &[(u32, Vec<f32>)], next: &AtomicUsize) -> Result<(), EngineError> {
        let mut bench = Bench::default();
        let stride = STRIDE.min(rows.len()).max(1);
        let whole = rows.len() / stride * stride;
        loop {
            let turn = next.fetch_add(1, Relaxed);
            let at = if turn < whole { turn % stride * (whole / stride) + turn / stride } else { turn };
            let Some((slot, vector)) = rows.get(at) else { return Ok(()) };
            if self.stop.load(Relaxed) {
                return Err(EngineError::Stopped);
            }
            self.insert_one(*slot, vector, &mut bench)?;
        }
    }

    /// `without`: a point that is not seen.
    fn walk_from_entry(
        &self,
        query: &[f32],
        ef: usize,
        eligible: Option<&[u64]>,
        without: Option<u32>,
    ) -> Result<Walked, EngineError> {
        self.look(query, |query, scratch| {
            let Some((entry, top)) = self.graph.entry() else { return };
            scratch.without = without;
            let walker = self.walker();
            let start = walker.descend(query, (entry, walker.rank(query, entry)), top, 0, scratch);
            walker.spread(query, start, 0, ef, eligible.map(Eligible), scratch);
        })
    }

    /// What a search leaves in the beam.
    fn look(
        &self,
        query: &[f32],
        search: impl FnOnce(&mut Query, &mut Scratch),
    ) -> Result<Walked, EngineError> {
        if self.broken.load(Relaxed) {
            return Err(EngineError::Broken);
        }
        let mut scratch = self.take_scratch();
        let walked = catch_unwind(AssertUnwindSafe(|| {
            (scratch.work, scratch.without) = (Work::default(), None);
            scratch.beam.start(0);
            let mut query = self.frame.query(query);
            search(&mut query, &mut scratch);
            let near: Vec<(u32, f32)> = scratch.beam.iter().collect();
            let slack = self.walker().slack(&query, &near, false);
            Walked { near, slack, query, work: scratch.work }
        }));
        match walked {
            Ok(walked) => {
                self.give_back(scratch);
                Ok(walked)
            }
            Err(panic) => Err(EngineError::panicked(&*panic)),
        }
    }

    fn take_scratch(&self) -> Scratch {
        self.scratch.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default()
    }

    fn give_back(&self, scratch: Scratch) {
        let mut kept = self.scratch.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < KEPT {
            kept.push(scratch);
        }
    }
}

/// What is stored of a graph besides its arenas.
#[derive(Serialize, Deserialize)]
struct StoredGraph {
    layout: u32,
    m: usize,
    /// Absent where it was written before there was a choice.
    #[serde(default)]
    quantization: Quantization,
    /// As bits, to come back exactly.
    centre: Vec<u32>,
    /// Records of the lowest level.
    end: u32,
    state: GraphState,
    repaired: u32,
}

/// Where the records of an arena are stored.
fn section(arena: &str) -> String {
    format!("graph {arena}")
}

impl Engine for Native {
    fn insert(&self, rows: Vec<(u32, Vec<f32>)>) -> Result<(), EngineError> {
        if self.broken.load(Relaxed) {
            return Err(EngineError::Broken);
        }
        let seeds = rows.len().min(SEEDS.saturating_sub(self.graph.points()) as usize);
        let work = |rows: &[(u32, Vec<f32>)], next: &AtomicUsize| {
            catch_unwind(AssertUnwindSafe(|| self.work(rows, next)))
                .unwrap_or_else(|panic| Err(EngineError::panicked(&*panic)))
        };
        let mut result = work(&rows[..seeds], &AtomicUsize::new(0));
        let rest = &rows[seeds..];
        let next = AtomicUsize::new(0);
        let helpers = self.threads.min(rest.len()).saturating_sub(1);
        if result.is_ok() {
            result = std::thread::scope(|scope| {
                let spawn = |number| {
                    let builder = std::thread::Builder::new().name(format!("index-link-{number}"));
                    builder.spawn_scoped(scope, || work(rest, &next))
                };
                // Without a thread the others do its share.
                let helpers: Vec<_> = (0..helpers).filter_map(|number| spawn(number).ok()).collect();
                let own = work(rest, &next);
                let joined = helpers
                    .into_iter()
                    .map(|helper| helper.join().unwrap_or_else(|panic| Err(EngineError::panicked(&*panic))));
                joined.fold(own, Result::and)
            });
        }
        if result.as_ref().is_err_and(|error| !matches!(error, EngineError::Stopped)) {
            self.broken.store(true, Relaxed);
        }
        result
    }

    fn walk(&self, query: &[f32], ef: usize, eligible: Option<&[u64]>) -> Result<Walked, EngineError> {
        self.walk_from_entry(query, ef, eligible, None)
    }

    fn walk_without(&self, query: &[f32], ef: usize, slot: u32) -> Result<Option<Walked>, EngineError> {
        self.walk_from_entry(query, ef, None, Some(slot)).map(Some)
    }

    fn refine(&self, walked: &Walked, near: &mut [(u32, f32)]) -> f32 {
        let query = &walked.query;
        let slots: Vec<u32> = near.iter().map(|(slot, _)| *slot).collect();
        let Some(ranks) = self.walker().fine_ranks(query, &slots) else { return walked.slack };
        near.iter_mut().zip(ranks).for_each(|((_, rank), fine)| *rank = fine);
        near.sort_unstable_by(|a, b| a.1.total_cmp(&b.1));
        self.walker().slack(query, near, true)
    }

    fn sift(
        &self,
        query: &[f32],
        ef: usize,
        slots: &[u64],
        until: u32,
    ) -> Result<Option<Walked>, EngineError> {
        self.look(query, |query, scratch| {
            self.walker().sift(query, ef, Points::new(slots, until), scratch);
        })
        .map(Some)
    }

    fn rows_per_look(&self) -> Option<f64> {
        // Of floats a sift reads as much as a scan, or half.
        Some(match self.frame.quantization() {
            Quantization::Int8 | Quantization::Int4 => 0.06,
            Quantization::F16 | Quantization::Bf16 => 0.8,
            Quantization::None => 1.0,
        })
    }

    fn walks_filtered(&self) -> bool {
        true
    }

    fn rows_per_link(&self) -> f64 {
        match self.frame.quantization() {
            Quantization::Int8 | Quantization::Int4 => 0.45,
            Quantization::F16 | Quantization::Bf16 => 1.0,
            Quantization::None => 1.4,
        }
    }

    fn settle(&self) -> Result<(), EngineError> {
        let points = self.graph.points();
        let fresh = points.saturating_sub(self.repaired.load(Relaxed));
        if fresh == 0 || fresh < points / REPAIR_SHARE {
            return Ok(());
        }
        self.repaired.store(points, Relaxed);
        let repair = || self.walker().repair(self.ef_construction);
        let repaired =
            catch_unwind(AssertUnwindSafe(repair)).map_err(|panic| EngineError::panicked(&*panic))?;
        if repaired > 0 {
            tracing::debug!(points, repaired, "points that no walk reached are linked again");
        }
        Ok(())
    }

    fn save(&self, file: &mut Writer) -> io::Result<bool> {
        if self.broken.load(Relaxed) {
            return Ok(false);
        }
        for (name, arena) in self.graph.arenas() {
            file.section(&section(name), |out| arena.write(out))?;
        }
        let stored = StoredGraph {
            layout: LAYOUT,
            m: self.graph.capacity(1),
            quantization: self.frame.quantization(),
            centre: self.frame.centre().iter().map(|x| x.to_bits()).collect(),
            end: self.graph.end(),
            state: self.graph.state(),
            repaired: self.repaired.load(Relaxed),
        };
        file.json("graph", &stored)?;
        Ok(true)
    }

    fn len(&self) -> usize {
        self.graph.points() as usize
    }

    fn bytes(&self) -> u64 {
        self.graph.bytes()
    }
}
