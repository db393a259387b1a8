//! Our own engine: one mutable graph in flat memory, walked on compressed vectors.
//!
//! ```text
//! insert   ─▶ records.add ─▶ graph.add ─▶ link (walk, choose, link back)      several threads
//! walk     ─▶ frame.query ─▶ descend ─▶ spread (codes, then numbers) ─▶ ranks   any thread
//! recentre ─▶ records of all points, around another centre ─▶ swap            several threads
//! ```
//!
//! - `frame`, `rotation`, `nibbles`: vectors as 8-bit numbers in two halves and 1-bit codes; `kernels`: sums
//!   over them.
//! - `vectors`: the form that points are kept in, by the collection's choice: numbers, their upper halves, or floats.
//! - `records`: what is kept of points, relative to a centre that may be replaced, and how walks go on meanwhile.
//! - `arena`, `graph`: where rows and links are; growing moves nothing.
//! - `walk`, `beam`, `visited`: the search; `link`: the build.
//! - `repair`: points that no walk reaches.
//!
//! What it promises: a walk never waits for an insert or a new centre; several inserting threads reach the recall of
//! one; memory per point is `8 bits per component + 1 bit per component + 16 bytes + 4 (2m + 1) bytes`
//! and a few for the upper levels. With `int4` it is 4 bits instead of 8; with floats 16 or 32 bits instead of 8 + 1.
//! While there is a new centre, all but the links is there twice.
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
mod records;
mod repair;
mod rotation;
#[cfg(test)]
mod swaps;
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

use arc_swap::ArcSwap;
use serde::{Deserialize, Serialize};

use self::{
    beam::MAX_SLOTS,
    frame::Frame,
    graph::{Graph, GraphState, LAYOUT},
    kernels::Kernels,
    link::Bench,
    records::Former,
    walk::{Eligible, Points, Scratch, Walker},
};
pub(super) use self::{frame::Query, records::Records};
use super::{
    centre::{Centre, is_outgrown},
    checkpoint::{Refusal, Sections, Writer},
    donor::Placed,
    engine::{Engine, EngineError, EngineOptions, VectorOf, Walked, Work},
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
/// Slots that a thread encodes anew at a time.
const ANEW: u32 = 256;

/// See the module.
pub(super) struct Native {
    quantization: Quantization,
    graph: Graph,
    records: ArcSwap<Records>,
    former: Mutex<Former>,
    /// Slots of the collection when its centre was last looked at.
    centred: AtomicU32,
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
        Self::of(options, empty(options), Graph::new(options.m, options.expected))
    }

    fn of(options: &EngineOptions, records: Records, graph: Graph) -> Self {
        Self {
            quantization: options.quantization,
            graph,
            records: ArcSwap::from_pointee(records),
            former: Mutex::default(),
            centred: options.centre.slots.into(),
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
            == (LAYOUT, options.m, options.centre.point.len(), options.quantization);
        if !is_ours {
            return Err(Refusal::Foreign("the graph is laid out in another way".to_owned()));
        }
        let point = stored.centre.iter().map(|bits| f32::from_bits(*bits)).collect();
        let centre = Centre { slots: stored.centred, ..Centre::at(point) };
        let expected = 2 * stored.end as usize;
        let options = EngineOptions { centre, expected, ..options.clone() };
        let (mut records, mut graph) = (empty(&options), Graph::new(options.m, expected));
        for (name, arena) in records.arenas_mut().into_iter().chain(graph.arenas_mut()) {
            let stored = file.section(&section(name))?;
            arena.read(stored.bytes()).map_err(|e| Refusal::Damaged(format!("the graph's {name}: {e}")))?;
        }
        let fits = graph.resume(stored.state)
            && records.arenas().iter().all(|(_, arena)| arena.end() == graph.end());
        if !fits {
            return Err(Refusal::Damaged("the parts of the graph do not fit each other".to_owned()));
        }
        let mut this = Self::of(&options, records, graph);
        this.repaired = stored.repaired.into();
        Ok(this)
    }

    fn walker<'a>(&'a self, records: &'a Records) -> Walker<'a> {
        Walker { graph: &self.graph, records, kernels: self.kernels }
    }

    fn insert_one(
        &self,
        slot: u32,
        vector: &[f32],
        known: &Known,
        bench: &mut Bench,
    ) -> Result<(), EngineError> {
        // A batch that was stopped comes again, in part or from the start, after the graph was saved and restored.
        if self.graph.has(slot) {
            return Ok(());
        }
        let level = self.add(slot, vector, known)?;
        self.walker(&known.current).link(slot, 0..=level, self.ef_construction, bench);
        Ok(())
    }

    /// Stores a row without links; gives its level.
    fn add(&self, slot: u32, vector: &[f32], known: &Known) -> Result<usize, EngineError> {
        if slot >= MAX_SLOTS {
            return Err(EngineError::Full(MAX_SLOTS));
        }
        // In all of them, before the first link to it is made.
        for records in known.former.iter().chain([&known.current]) {
            records.add(slot, vector).map_err(no_memory)?;
        }
        self.graph.add(slot).map_err(no_memory)
    }

    /// Does `one` for all numbers below `count`: for the first ones, if there are to be `seeds`, one after the other,
    /// then with all threads at once.
    fn each(
        &self,
        count: usize,
        seeds: usize,
        one: impl Fn(usize, &mut Bench) -> Result<(), EngineError> + Sync,
    ) -> Result<(), EngineError> {
        let next = AtomicUsize::new(0);
        let until = |end: usize| {
            let mut bench = Bench::default();
            loop {
                // Whoever takes a number does it: none is taken beyond the end of the seeds before these are done.
                let taken = next.fetch_update(Relaxed, Relaxed, |next| (next < end).then_some(next + 1));
                let Ok(turn) = taken else { return Ok(()) };
                if self.stop.load(Relaxed) {
                    return Err(EngineError::Stopped);
                }
                one(turn, &mut bench)?;
            }
        };
        let work = |end: usize| {
            catch_unwind(AssertUnwindSafe(|| until(end)))
                .unwrap_or_else(|panic| Err(EngineError::panicked(&*panic)))
        };
        work(seeds.min(count))?;
        let helpers = self.threads.min(count.saturating_sub(seeds)).saturating_sub(1);
        std::thread::scope(|scope| {
            let spawn = |number| {
                let builder = std::thread::Builder::new().name(format!("index-link-{number}"));
                builder.spawn_scoped(scope, || work(count))
            };
            // Without a thread the others do its share.
            let helpers: Vec<_> = (0..helpers).filter_map(|number| spawn(number).ok()).collect();
            let own = work(count);
            let joined = helpers
                .into_iter()
                .map(|helper| helper.join().unwrap_or_else(|panic| Err(EngineError::panicked(&*panic))));
            joined.fold(own, Result::and)
        })
    }

    /// Inserts rows. Points that are inserted at the same time do not find each other, and rows that come one after the
    /// other are often alike. So threads work `STRIDE` rows apart.
    fn insert_all(&self, rows: &[(u32, Vec<f32>)]) -> Result<(), EngineError> {
        let known = self.known();
        let seeds = rows.len().min(SEEDS.saturating_sub(self.graph.points()) as usize);
        let rest = rows.len() - seeds;
        let stride = STRIDE.min(rest).max(1);
        let whole = rest / stride * stride;
        self.each(rows.len(), seeds, |turn, bench| {
            let at = match turn.checked_sub(seeds) {
                Some(turn) if turn < whole => seeds + turn % stride * (whole / stride) + turn / stride,
                _ => turn,
            };
            let (slot, vector) = &rows[at];
            self.insert_one(*slot, vector, &known, bench)
        })
    }

    /// Inserts rows with these links; see [`Engine::adopt`].
    fn adopt_all(&self, rows: &[Placed], vector_of: VectorOf<'_>) -> Result<(), EngineError> {
        let known = self.known();
        // All of them before the first link, since links lead to any of them.
        let levels: Vec<AtomicUsize> = rows.iter().map(|_| AtomicUsize::new(0)).collect();
        self.each(rows.len(), 0, |turn, _| {
            let slot = rows[turn].slot;
            let vector = vector_of(slot).ok_or(EngineError::Gone(slot))?;
            levels[turn].store(self.add(slot, vector, &known)?, Relaxed);
            Ok(())
        })?;
        let walker = self.walker(&known.current);
        rows.iter().for_each(|row| self.graph.lock(row.slot, 0).replace(row.links.iter().copied()));
        let level = |at: &usize| levels[*at].load(Relaxed);
        let above: Vec<usize> = (0..rows.len()).filter(|at| level(at) > 0).collect();
        self.each(above.len(), SEEDS as usize, |turn, bench| {
            let at = above[turn];
            walker.link(rows[at].slot, 1..=level(&at), self.ef_construction, bench);
            Ok(())
        })?;
        let poor: Vec<u32> = rows.iter().filter(|row| !row.is_whole).map(|row| row.slot).collect();
        self.each(poor.len(), 0, |turn, bench| {
            walker.link(poor[turn], 0..=0, self.ef_construction, bench);
            Ok(())
        })?;
        // Where chance put none on an upper level.
        rows.first().into_iter().for_each(|row| self.graph.offer_entry(row.slot, 0));
        Ok(())
    }

    /// Marks the graph as broken when what was done to it failed.
    fn done(&self, result: Result<(), EngineError>) -> Result<(), EngineError> {
        if result.as_ref().is_err_and(|error| !matches!(error, EngineError::Stopped)) {
            self.broken.store(true, Relaxed);
        }
        result
    }

    /// The records of all points, around another centre.
    fn around(&self, centre: &Centre, vector_of: VectorOf<'_>) -> Result<Records, EngineError> {
        let frame = self.records.load().frame().around(&centre.point);
        let records = Records::new(frame, 2 * centre.slots as usize);
        let end = self.graph.end();
        records.make_room(end).map_err(no_memory)?;
        self.each(end.div_ceil(ANEW) as usize, 0, |turn, _| {
            let from = turn as u32 * ANEW;
            (from..end.min(from + ANEW)).filter(|slot| self.graph.has(*slot)).try_for_each(|slot| {
                let vector = vector_of(slot).ok_or(EngineError::Gone(slot))?;
                records.add(slot, vector).map_err(no_memory)
            })
        })?;
        Ok(records)
    }

    /// The sets of records that walks read.
    fn known(&self) -> Known {
        let former = self.former.lock().unwrap_or_else(PoisonError::into_inner).in_use();
        Known { current: self.records.load_full(), former }
    }

    /// `without`: a point that is not seen.
    fn walk_from_entry(
        &self,
        query: &[f32],
        ef: usize,
        eligible: Option<&[u64]>,
        without: Option<u32>,
    ) -> Result<Walked, EngineError> {
        self.look(query, |walker, query, scratch| {
            let Some((entry, top)) = self.graph.entry() else { return };
            scratch.without = without;
            let start = walker.descend(query, (entry, walker.rank(query, entry)), top, 0, scratch);
            walker.spread(query, start, 0, ef, eligible.map(Eligible), scratch);
        })
    }

    /// What a search leaves in the beam.
    fn look(
        &self,
        query: &[f32],
        search: impl FnOnce(Walker<'_>, &mut Query, &mut Scratch),
    ) -> Result<Walked, EngineError> {
        if self.broken.load(Relaxed) {
            return Err(EngineError::Broken);
        }
        let mut scratch = self.take_scratch();
        let walked = catch_unwind(AssertUnwindSafe(|| {
            (scratch.work, scratch.without) = (Work::default(), None);
            scratch.beam.start(0);
            let records = self.records.load_full();
            let (walker, mut query) = (self.walker(&records), records.frame().query(query));
            search(walker, &mut query, &mut scratch);
            let near: Vec<(u32, f32)> = scratch.beam.iter().collect();
            let slack = walker.slack(&query, &near, false);
            Walked { near, slack, query, records: Some(records), work: scratch.work }
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

/// The current records, and those before that walks still read.
struct Known {
    current: Arc<Records>,
    former: Vec<Arc<Records>>,
}

/// Records of no points.
fn empty(options: &EngineOptions) -> Records {
    let frame = Frame::new(options.measure.metric(), options.quantization, &options.centre.point);
    Records::new(frame, options.expected)
}

#[allow(clippy::needless_pass_by_value)]
fn no_memory(error: io::Error) -> EngineError {
    EngineError::Memory(error.to_string())
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
    /// Absent where it was written before centres were replaced: then it is looked at with the next rows.
    #[serde(default)]
    centred: u32,
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
        self.done(self.insert_all(&rows))
    }

    fn has(&self, slot: u32) -> bool {
        self.graph.has(slot)
    }

    fn links(&self, slot: u32, into: &mut Vec<u32>) -> bool {
        let has = self.graph.has(slot);
        if has {
            into.extend(self.graph.neighbours(slot, 0));
        }
        has
    }

    fn adopt(&self, rows: &[Placed], vector_of: VectorOf<'_>) -> Result<bool, EngineError> {
        self.done(self.adopt_all(rows, vector_of))?;
        Ok(true)
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
        let Some(walker) = walked.records.as_ref().map(|records| self.walker(records)) else {
            return walked.slack;
        };
        let Some(ranks) = walker.fine_ranks(query, &slots) else { return walked.slack };
        near.iter_mut().zip(ranks).for_each(|((_, rank), fine)| *rank = fine);
        near.sort_unstable_by(|a, b| a.1.total_cmp(&b.1));
        walker.slack(query, near, true)
    }

    fn sift(
        &self,
        query: &[f32],
        ef: usize,
        slots: &[u64],
        until: u32,
    ) -> Result<Option<Walked>, EngineError> {
        self.look(query, |walker, query, scratch| {
            walker.sift(query, ef, Points::new(slots, until), scratch);
        })
        .map(Some)
    }

    fn rows_per_look(&self) -> Option<f64> {
        // Of floats a sift reads as much as a scan, or half.
        Some(match self.quantization {
            Quantization::Int8 | Quantization::Int4 => 0.06,
            Quantization::F16 | Quantization::Bf16 => 0.8,
            Quantization::None => 1.0,
        })
    }

    fn walks_filtered(&self) -> bool {
        true
    }

    fn rows_per_link(&self) -> f64 {
        match self.quantization {
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
        let repair = || self.walker(&self.records.load_full()).repair(self.ef_construction);
        let repaired =
            catch_unwind(AssertUnwindSafe(repair)).map_err(|panic| EngineError::panicked(&*panic))?;
        if repaired > 0 {
            tracing::debug!(points, repaired, "points that no walk reached are linked again");
        }
        Ok(())
    }

    fn has_outgrown_centre(&self, slots: u32) -> bool {
        // Components as they are have none.
        self.quantization != Quantization::None && is_outgrown(self.centred.load(Relaxed), slots)
    }

    fn recentre(&self, centre: &Centre, vector_of: VectorOf<'_>) -> Result<(), EngineError> {
        let moved = centre.has_moved_from(self.records.load().frame().centre());
        if moved {
            match self.around(centre, vector_of) {
                Ok(records) => {
                    let old = self.records.swap(Arc::new(records));
                    self.former.lock().unwrap_or_else(PoisonError::into_inner).push(&old);
                }
                // What there is still finds rows, and memory is more likely to suffice for it than for a new graph.
                Err(error @ (EngineError::Memory(_) | EngineError::Gone(_))) => {
                    tracing::warn!(%error, "a graph keeps the centre that it has outgrown");
                }
                Err(error) => return Err(error),
            }
        }
        tracing::debug!(slots = centre.slots, moved, "the centre was looked at");
        self.centred.store(centre.slots, Relaxed);
        Ok(())
    }

    fn save(&self, file: &mut Writer) -> io::Result<bool> {
        if self.broken.load(Relaxed) {
            return Ok(false);
        }
        let records = self.records.load();
        for (name, arena) in records.arenas().into_iter().chain(self.graph.arenas()) {
            file.section(&section(name), |out| arena.write(out))?;
        }
        let stored = StoredGraph {
            layout: LAYOUT,
            m: self.graph.capacity(1),
            quantization: self.quantization,
            centre: records.frame().centre().iter().map(|x| x.to_bits()).collect(),
            centred: self.centred.load(Relaxed),
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
        self.graph.bytes() + self.records.load().bytes()
    }
}
