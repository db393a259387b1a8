//! The `hnsw_rs` crate (0.3.5) as an engine.
//!
//! The crate is used for two calls only, insert and unfiltered search, since the rest has traps:
//! no deletes, a filtered search that may return too little or panic, iterators that can deadlock,
//! a dump without checksums. What remains to be known about those two calls, read in its source:
//!
//! **Search while inserting.** The author calls it impossible, but each point's links are behind a
//! lock of their own, and a search holds one lock at a time and takes no other meanwhile. So a
//! search can never be part of a deadlock, with any number of inserting threads; it may see a point
//! half linked.
//!
//! **One inserting thread** cannot deadlock: it holds a read lock on the new point while it takes the
//! write lock of a neighbour, which only searches hold, and they wait for nothing.
//!
//! **Several inserting threads** can, on paper: they hold the read lock of their own new point while
//! they wait for the write lock of another. A point of the lowest layer only waits for points that
//! were linked before it, so there is no cycle among those. But the links of a point on several
//! layers can be changed by others between two layers: `a` (two layers or more above the lowest)
//! has linked its upper layer; `b` finds it, links it on the next layer, and goes on to a lower one,
//! where it waits for `a`; `a` now holds itself and waits for `b`. It takes a point of a high layer
//! whose thread sleeps for a whole insert at the wrong moment: once in a billion inserts or so.
//! Searches that touch such a point would wait for ever. Therefore inserting is watched: without
//! progress for [`PATIENCE`] the graph is given up, never freed, and no new search enters it. One
//! thread is the default on small machines and has none of this.
//!
//! **First inserts.** Several threads that find an empty graph leave points without links, so the
//! first [`SEEDS`] are inserted by one thread.
//!
//! **Panics** (a NaN or negative distance would be one) are caught, in inserts and in walks. Ours
//! are neither: see [`Measure::rank`].
//!
//! **Threads.** The crate inserts on rayon's global pool and frees its graph there; both run in a
//! pool of this graph's own here, so that neither disturbs searches.
//!
//! **Options.** `keep_pruned` and `extend_candidates` stay off. On 6,000 points in 20 tight clusters
//! (m = 16, ef = 96, recall@10) the first cut recall from 1.00 to 0.57 under cosine: back-links push
//! the farthest link out, whatever it connects, and full lists make that happen at once. The second
//! changed nothing. Even so tight clusters need enough links: with m = 8, ef = 32 recall was 0.81 under
//! Euclidean, since a walk takes one hop per upper layer and may come down in the wrong cluster.

use std::{
    ops::Range,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
        mpsc::{RecvTimeoutError, sync_channel},
    },
    time::Duration,
};

use ::hnsw_rs::hnsw::Hnsw;
use anndists::dist::Distance;
use rayon::ThreadPool;

use super::{
    distance::Measure,
    engine::{Aim, Demands, Engine, EngineError, EngineOptions, Walked},
};

/// Points that one thread inserts first.
const SEEDS: usize = 256;
/// Most layers the crate can hold.
const LAYERS: usize = 16;
/// How long nothing may move before inserting counts as stuck. One insert takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(60);

/// Our distances in the crate's words.
#[derive(Clone, Copy)]
struct Rank(Measure);

impl Distance<f32> for Rank {
    fn eval(&self, a: &[f32], b: &[f32]) -> f32 {
        self.0.rank(a, b)
    }
}

type Graph = Hnsw<'static, f32, Rank>;

/// See the module.
pub(super) struct HnswRs {
    /// Taken when this is dropped.
    graph: Option<Arc<Graph>>,
    pool: ThreadPool,
    threads: usize,
    /// A failed insert leaves a graph that nobody should enter.
    broken: AtomicBool,
    demands: Arc<Demands>,
    bytes_per_point: u64,
}

impl HnswRs {
    pub fn new(options: &EngineOptions) -> Result<Self, EngineError> {
        let threads = options.threads.max(1);
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .thread_name(|number| format!("hnsw-build-{number}"))
            .build()
            .map_err(|e| EngineError::Threads(e.to_string()))?;
        let rank = Rank(options.measure);
        let graph = Graph::new(options.m, options.expected, LAYERS, options.ef_construction, rank);
        // Each edge is an `Arc` of 48 bytes and its pointer, in lists with room to spare; each point
        // has a list for each of 16 layers. 3,453 bytes were measured at m = 16 with 128 floats.
        let links = 2 * options.m * 72 + 640;
        let bytes_per_point = (links + options.centre.len() * size_of::<f32>()) as u64;
        Ok(Self {
            graph: Some(Arc::new(graph)),
            pool,
            threads,
            broken: AtomicBool::new(false),
            demands: Arc::clone(&options.demands),
            bytes_per_point,
        })
    }

    fn graph(&self) -> Result<&Arc<Graph>, EngineError> {
        self.graph.as_ref().filter(|_| !self.broken.load(Relaxed)).ok_or(EngineError::Broken)
    }

    fn insert_range(
        &self,
        rows: &Arc<Vec<(u32, Vec<f32>)>>,
        range: Range<usize>,
        workers: usize,
    ) -> Result<(), EngineError> {
        let graph = Arc::clone(self.graph()?);
        let rows = Arc::clone(rows);
        let demands = Arc::clone(&self.demands);
        let job = Arc::new(Job { graph, rows, next: AtomicUsize::new(range.start), end: range.end, demands });
        let (done, finished) = sync_channel(workers);
        for _ in 0..workers {
            let (job, done) = (Arc::clone(&job), done.clone());
            self.pool.spawn(move || {
                let worked = catch_unwind(AssertUnwindSafe(|| job.work()));
                let result = worked.unwrap_or_else(|panic| {
                    job.next.store(job.end, Relaxed);
                    Err(EngineError::panicked(&*panic))
                });
                drop(job);
                // Nobody listens any more when the graph was given up.
                let _ = done.send(result);
            });
        }
        drop(done);
        let mut result = Ok(());
        let mut running = workers;
        let mut seen = range.start;
        while running > 0 {
            match finished.recv_timeout(PATIENCE) {
                Ok(one) => {
                    running -= 1;
                    result = result.and(one);
                }
                Err(RecvTimeoutError::Timeout) if job.next.load(Relaxed) == seen => {
                    return Err(EngineError::Stalled(PATIENCE.as_secs()));
                }
                Err(RecvTimeoutError::Timeout) => seen = job.next.load(Relaxed),
                Err(RecvTimeoutError::Disconnected) => return Err(EngineError::Broken),
            }
        }
        result
    }
}

impl Engine for HnswRs {
    fn insert(&self, rows: Vec<(u32, Vec<f32>)>) -> Result<(), EngineError> {
        let seeds = SEEDS.saturating_sub(self.len()).min(rows.len());
        let rows = Arc::new(rows);
        let inserted = self
            .insert_range(&rows, 0..seeds, 1)
            .and_then(|()| self.insert_range(&rows, seeds..rows.len(), self.threads));
        if inserted.as_ref().is_err_and(|error| !matches!(error, EngineError::Stopped)) {
            self.broken.store(true, Relaxed);
        }
        inserted
    }

    fn walk(&self, query: &[f32], aim: Aim, _: Option<&[u64]>) -> Result<Walked, EngineError> {
        let graph = self.graph()?;
        let found = catch_unwind(AssertUnwindSafe(|| graph.search(query, aim.ef, aim.ef)))
            .map_err(|panic| EngineError::panicked(&*panic))?;
        // Ids are slots, which were `u32` when they went in.
        let near = found.into_iter().map(|near| (near.d_id as u32, near.distance)).collect();
        // Ranks are of full precision, but equal distances need not be in the order of ids.
        Ok(Walked { near, ..Walked::default() })
    }

    fn rows_per_link(&self) -> f64 {
        // Measured on 20,000 rows of 384 floats, on a busy machine with AVX2: 475 ns against 156 ns,
        // so 3; a bit more leans to the exact side.
        4.0
    }

    fn len(&self) -> usize {
        self.graph.as_ref().map_or(0, |graph| graph.get_nb_point())
    }

    fn bytes(&self) -> u64 {
        self.len() as u64 * self.bytes_per_point
    }
}

impl Drop for HnswRs {
    fn drop(&mut self) {
        // Freeing takes long and may happen to a search that held the last view: not on its thread.
        // The pool lives until what was spawned in it is done.
        let graph = self.graph.take();
        self.pool.spawn(move || drop(graph));
    }
}

/// One batch, shared by the threads that insert it.
struct Job {
    graph: Arc<Graph>,
    rows: Arc<Vec<(u32, Vec<f32>)>>,
    next: AtomicUsize,
    end: usize,
    demands: Arc<Demands>,
}

impl Job {
    fn work(&self) -> Result<(), EngineError> {
        loop {
            let at = self.next.fetch_add(1, Relaxed);
            if at >= self.end {
                return Ok(());
            }
            if self.demands.stop.load(Relaxed) {
                return Err(EngineError::Stopped);
            }
            let (slot, vector) = &self.rows[at];
            self.graph.insert_slice((vector, *slot as usize));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Metric, Quantization};

    fn engine(threads: usize, metric: Metric) -> HnswRs {
        let measure = Measure::new(metric);
        HnswRs::new(&EngineOptions {
            measure,
            quantization: Quantization::Int8,
            centre: vec![0.0; 2],
            m: 8,
            ef_construction: 64,
            threads,
            expected: 10,
            demands: Arc::default(),
        })
        .unwrap()
    }

    fn points(range: Range<u32>) -> Vec<(u32, Vec<f32>)> {
        range.map(|n| (n, vec![n as f32, 1.0])).collect()
    }

    #[test]
    fn an_empty_graph_finds_nothing() {
        assert_eq!(
            engine(1, Metric::Euclidean).walk(&[1.0, 1.0], Aim { k: 1, ef: 10 }, None).unwrap().near,
            []
        );
    }

    #[test]
    fn near_slots_come_first_whatever_the_number_of_threads() {
        for threads in [1, 2, 4] {
            let engine = engine(threads, Metric::Euclidean);
            engine.insert(points(0..100)).unwrap();
            engine.insert(points(100..2_000)).unwrap();
            assert_eq!(engine.len(), 2_000);
            assert!(engine.bytes() > 2_000 * 8);
            for target in (0..2_000).step_by(50) {
                let near = engine.walk(&[target as f32, 1.0], Aim { k: 1, ef: 64 }, None).unwrap().near;
                assert_eq!(near[0], (target, 0.0), "{threads} threads");
                assert_eq!(near.len(), 64);
            }
        }
    }

    #[test]
    fn a_panic_is_an_error_and_closes_the_graph() {
        let engine = engine(2, Metric::Euclidean);
        engine.insert(points(0..300)).unwrap();
        // A vector of another length trips an assertion of the kernel.
        let walk = engine.walk(&[1.0], Aim { k: 1, ef: 10 }, None).unwrap_err();
        assert!(matches!(&walk, EngineError::Panicked(why) if why.contains("equal length")), "{walk}");
        assert!(engine.walk(&[1.0, 1.0], Aim { k: 1, ef: 10 }, None).is_ok(), "a failed walk breaks nothing");
        let insert = engine.insert(vec![(300, vec![1.0])]).unwrap_err();
        assert!(matches!(insert, EngineError::Panicked(_)), "{insert}");
        assert!(matches!(engine.walk(&[1.0, 1.0], Aim { k: 1, ef: 10 }, None), Err(EngineError::Broken)));
    }
}
