//! Our own engine: one mutable graph in flat memory, walked on compressed vectors.
//!
//! ```text
//! insert ─▶ frame.encode ─▶ graph.add ─▶ link (walk, choose, link back)      several threads
//! walk   ─▶ frame.encode ─▶ descend ─▶ spread (codes, then numbers) ─▶ ranks   any thread
//! ```
//!
//! - `frame`, `rotation`, `nibbles`: vectors as 8-bit numbers, or 4 bits of these, and 1-bit codes; `kernels`: sums
//!   over them.
//! - `vectors`: the form that points are kept in: numbers, their upper halves, or floats if the collection says so.
//! - `arena`, `graph`: where rows and links are; growing moves nothing; `gathered`, `columns`: copies of codes or numbers for
//!   sifts.
//! - `walk`, `beam`, `reach`, `visited`: the search; `sift`: the search where few points are eligible; `link`: the build.
//! - `repair`: points that no walk reaches.
//!
//! What it promises: a walk never waits for an insert; several inserting threads reach the recall of
//! one; memory per point is `4 bits per component + 1 bit per component + 16 bytes + 4 (2m + 1) bytes`
//! and a few for the upper levels. Short vectors have 8 bits instead of 4, floats 16 or 32 bits instead of 4 + 1.
//!
//! What it leaves out: distances for users and deletes (the index around it has both), moving
//! points that are dead (a compaction builds a new graph).

mod arena;
mod beam;
mod columns;
mod frame;
mod gathered;
mod graph;
mod kernels;
mod link;
mod nibbles;
mod reach;
mod repair;
mod rotation;
mod sift;
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
    time::Duration,
};

use serde::{Deserialize, Serialize};

pub(super) use self::gathered::Gathered;
use self::{
    beam::MAX_SLOTS,
    frame::{Frame, Query},
    graph::{Graph, GraphState, LAYOUT},
    kernels::Kernels,
    link::Bench,
    reach::Reach,
    sift::{Points, Sifted},
    walk::{Eligible, Scratch, Walker},
};
use super::{
    checkpoint::{Refusal, Sections, Writer},
    donor::Placed,
    engine::{Aim, Demands, Engine, EngineError, EngineOptions, Walked, Work},
};
use crate::types::Quantization;

/// Points that one thread inserts first: several threads that find an empty graph would leave points
/// without links.
const SEEDS: u32 = 256;
/// Parts that the rows of a batch are taken from in turn: more than threads.
const STRIDE: usize = 16;
/// Scratch memory that is kept for later walks, at most.
const KEPT: usize = 64;
/// How long a thread that builds gives way after a row when there was a search meanwhile. A thread that waits for a core
/// gets it when another one sleeps; when none does, at the next tick of the system's clock, whatever the priorities: that
/// can be 4 ms.
const GIVE_WAY: Duration = Duration::from_micros(50);
/// Rows of a batch that are worth a second thread. Fewer are a short tail: nobody is in a hurry, and a core stays free for
/// whoever searches. A builder that falls behind sees longer batches, and then all threads help.
const WORTH_HELP: usize = 128;
/// Repair again when one point in so many is new: a look at all points costs some 0.2 us for each.
const REPAIR_SHARE: u32 = 64;

/// See the module.
pub(super) struct Native {
    frame: Frame,
    graph: Graph,
    kernels: &'static Kernels,
    ef_construction: usize,
    threads: usize,
    scratch: Mutex<Vec<Scratch>>,
    broken: AtomicBool,
    demands: Arc<Demands>,
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
            demands: Arc::clone(&options.demands),
            repaired: AtomicU32::new(0),
        }
    }

    /// Reads what [`save`](Engine::save) wrote. The centre of `options` says only how long it is.
    pub fn restore(options: &EngineOptions, file: &Sections) -> Result<Self, Refusal> {
        let stored: StoredGraph = file.json("graph")?;
        let is_ours =
            (stored.layout, stored.m, stored.centre.len()) == (LAYOUT, options.m, options.centre.len());
        if !is_ours || stored.quantization != options.quantization {
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
        let doubling = catch_unwind(AssertUnwindSafe(|| this.walker().doubling(&mut || {})));
        this.graph
            .set_doubling(doubling.map_err(|_| Refusal::Damaged("the graph cannot be walked".to_owned()))?);
        Ok(this)
    }

    fn walker(&self) -> Walker<'_> {
        Walker { graph: &self.graph, frame: &self.frame, kernels: self.kernels }
    }

    fn insert_one(&self, slot: u32, vector: &[f32], bench: &mut Bench) -> Result<(), EngineError> {
        // A batch that was stopped comes again, in part or from the start, after the graph was saved and restored.
        if self.graph.has(slot) {
            return Ok(());
        }
        let level = self.add(slot, vector)?;
        self.walker().link(slot, 0..=level, self.ef_construction, bench);
        Ok(())
    }

    /// Stores a row without links; gives its level.
    fn add(&self, slot: u32, vector: &[f32]) -> Result<usize, EngineError> {
        if slot >= MAX_SLOTS {
            return Err(EngineError::Full(MAX_SLOTS));
        }
        let encoded = self.frame.encode(vector);
        self.graph.add(slot, &encoded).map_err(|error| EngineError::Memory(error.to_string()))
    }

    /// Does `one` for all numbers below `count`: for the first ones, if there are to be `seeds`, one after the other,
    /// then with all threads at once where enough are left (`WORTH_HELP`), else alone.
    fn each(
        &self,
        count: usize,
        seeds: usize,
        one: impl Fn(usize, &mut Bench) -> Result<(), EngineError> + Sync,
    ) -> Result<(), EngineError> {
        let next = AtomicUsize::new(0);
        let until = |end: usize| {
            let mut bench = Bench::default();
            let mut courtesy = Courtesy::new(&self.demands);
            loop {
                // Whoever takes a number does it: none is taken beyond the end of the seeds before these are done.
                let taken = next.fetch_update(Relaxed, Relaxed, |next| (next < end).then_some(next + 1));
                let Ok(turn) = taken else { return Ok(()) };
                if self.demands.stop.load(Relaxed) {
                    return Err(EngineError::Stopped);
                }
                one(turn, &mut bench)?;
                courtesy.give_way();
            }
        };
        let work = |end: usize| {
            catch_unwind(AssertUnwindSafe(|| until(end)))
                .unwrap_or_else(|panic| Err(EngineError::panicked(&*panic)))
        };
        work(seeds.min(count))?;
        let rest = count.saturating_sub(seeds);
        let helpers = if rest < WORTH_HELP { 0 } else { self.threads.min(rest) - 1 };
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
            self.insert_one(*slot, vector, bench)
        })
    }

    /// Inserts rows with these links; see [`Engine::adopt`].
    fn adopt_all<'v>(
        &self,
        rows: &[Placed],
        vector: &(dyn Fn(u32) -> &'v [f32] + Sync),
    ) -> Result<(), EngineError> {
        // All of them before the first link, since links lead to any of them.
        self.each(rows.len(), 0, |turn, _| {
            let slot = rows[turn].slot;
            self.add(slot, vector(slot)).map(|_| ())
        })?;
        rows.iter().for_each(|row| self.graph.lock(row.slot, 0).replace(row.links.iter().copied()));
        let leveled = rows.iter().map(|row| (row.slot, self.graph.level(row.slot)));
        let above: Vec<(u32, usize)> = leveled.filter(|(_, level)| *level > 0).collect();
        self.each(above.len(), SEEDS as usize, |turn, bench| {
            let (slot, level) = above[turn];
            self.walker().link(slot, 1..=level, self.ef_construction, bench);
            Ok(())
        })?;
        let poor: Vec<u32> = rows.iter().filter(|row| !row.is_whole).map(|row| row.slot).collect();
        self.each(poor.len(), 0, |turn, bench| {
            self.walker().link(poor[turn], 0..=0, self.ef_construction, bench);
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

    /// `without`: a point that is not seen.
    fn walk_from_entry(
        &self,
        query: &[f32],
        aim: Aim,
        eligible: Option<&[u64]>,
        without: Option<u32>,
    ) -> Result<Walked, EngineError> {
        self.look(query, |query, scratch| {
            let Some((entry, top)) = self.graph.entry() else { return };
            scratch.without = without;
            let walker = self.walker();
            let start = walker.descend(query, (entry, walker.rank(query, entry)), top, 0, scratch);
            let reach = Reach::about(aim, self.graph.doubling() * self.frame.unit(query));
            walker.spread(query, start, 0, reach, eligible.map(Eligible), scratch);
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
        self.demands.searches.fetch_add(1, Relaxed);
        let mut scratch = self.take_scratch();
        let walked = catch_unwind(AssertUnwindSafe(|| {
            (scratch.work, scratch.without) = (Work::default(), None);
            scratch.beam.start(Reach::just(1));
            let mut query = self.frame.query(query);
            search(&mut query, &mut scratch);
            let near: Vec<(u32, f32)> = scratch.beam.iter().collect();
            let slack = self.walker().slack(&query, &near);
            Walked { near, slack, work: scratch.work }
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

/// A thread that builds, and gives way to searches.
struct Courtesy<'a> {
    demands: &'a Demands,
    searches: u32,
}

impl<'a> Courtesy<'a> {
    fn new(demands: &'a Demands) -> Self {
        Self { demands, searches: demands.searches.load(Relaxed) }
    }

    /// Sleeps for a moment if there was a search since the last time.
    fn give_way(&mut self) {
        let before = std::mem::replace(&mut self.searches, self.demands.searches.load(Relaxed));
        if self.searches != before {
            std::thread::sleep(GIVE_WAY);
        }
    }
}

/// What is stored of a graph besides its arenas.
#[derive(Serialize, Deserialize)]
struct StoredGraph {
    layout: u32,
    m: usize,
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

    fn adopt<'v>(
        &self,
        rows: &[Placed],
        vector: &(dyn Fn(u32) -> &'v [f32] + Sync),
    ) -> Result<bool, EngineError> {
        self.done(self.adopt_all(rows, vector))?;
        Ok(true)
    }

    fn walk(&self, query: &[f32], aim: Aim, eligible: Option<&[u64]>) -> Result<Walked, EngineError> {
        self.walk_from_entry(query, aim, eligible, None)
    }

    fn walk_without(&self, query: &[f32], aim: Aim, slot: u32) -> Result<Option<Walked>, EngineError> {
        self.walk_from_entry(query, aim, None, Some(slot)).map(Some)
    }

    fn sift(
        &self,
        query: &[f32],
        ef: usize,
        slots: &[u64],
        until: u32,
        gathered: Option<(&Gathered, u32)>,
    ) -> Result<Option<Walked>, EngineError> {
        let from = gathered.map_or(0, |(_, from)| from);
        let (eligible, others) = (Eligible(slots), Points::new(slots, from, until));
        let points = Sifted { eligible, gathered: gathered.map(|(gathered, _)| gathered), others };
        self.look(query, |query, scratch| self.walker().sift(query, ef, points, scratch)).map(Some)
    }

    fn gather(&self, slots: Vec<u32>) -> Option<Gathered> {
        let codes = self.frame.is_coded() && !self.broken.load(Relaxed);
        codes.then(|| Gathered::of(&self.graph, &self.frame, slots))
    }

    fn rows_per_look(&self, gathered: Option<usize>) -> Option<f64> {
        // Of floats a sift reads as much as a scan, or half.
        Some(match (self.frame.quantization(), gathered) {
            (Quantization::Int8 | Quantization::Int4, Some(count)) if self.frame.is_coded() => {
                if Gathered::ranks(&self.frame, count) {
                    0.05
                } else {
                    0.02
                }
            }
            (Quantization::Int8 | Quantization::Int4, _) => 0.06,
            (Quantization::F16 | Quantization::Bf16, _) => 0.8,
            (Quantization::None, _) => 1.0,
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
        let mut courtesy = Courtesy::new(&self.demands);
        let repair = || {
            let mut pause = || courtesy.give_way();
            let repaired = self.walker().repair(self.ef_construction, &mut pause);
            self.graph.set_doubling(self.walker().doubling(&mut pause));
            repaired
        };
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
