//! The index of one collection on this member: the handle that everyone else has.

use std::{
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, atomic::Ordering::Relaxed},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use tokio::sync::watch;

use super::{
    builder,
    checkpoint::{Refusal, Stamps, Store},
    digest::Digest,
    distance::Measure,
    donor::Elsewhere,
    engine::{Demands, EngineOptions, MakeEngine, engine_of, restore_of},
    error::IndexError,
    owner::{Owner, Work},
    stats::IndexStats,
    view::{Shape, View},
};
use crate::types::{
    CollectionConfig, Entry, EntryId, PartitionId, Quantization, Vector, VectorPlace, Version,
};

/// How much an index may lag, and how hard its builder works.
#[derive(Debug, Clone, PartialEq)]
pub struct IndexLimits {
    /// Slots outside the graph from which on [`CollectionIndex::tail_room`] makes writers wait.
    pub tail_rows: usize,
    /// Threads that build one collection's graph.
    pub build_threads: usize,
    /// What each of these gets of a core that a search wants, too: 0.5 is as much as the search. A core that
    /// nobody else wants is theirs.
    pub build_share: f64,
    /// Up to so many rows with a vector are scanned, and have no graph.
    pub small_rows: usize,
    /// Memory that indexes of metadata fields may take, in bytes per row; zero = no such indexes, and
    /// every filter is evaluated row by row. Fields of few values, such as kinds, tags and sizes, take
    /// one to four bytes per row, numbers and names that differ in every row two to fourteen: the
    /// default is enough for a dozen of these and small beside a vector.
    pub field_bytes: usize,
    /// Least time between two checkpoints of an index that has a folder; `None` = there are none.
    pub checkpoint_pause: Option<Duration>,
}

impl Default for IndexLimits {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            tail_rows: 262_144,
            build_threads: (cores / 2).max(1),
            build_share: 0.25,
            small_rows: 4_096,
            field_bytes: 64,
            checkpoint_pause: Some(Duration::from_secs(30)),
        }
    }
}

/// What an index has around it.
#[derive(Default)]
pub(super) struct Surroundings {
    /// Where it is saved.
    pub store: Option<Store>,
    /// Where links may come from.
    pub elsewhere: Option<Elsewhere>,
}

/// One change to one row.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// Insert or replace.
    Put {
        /// The partition of the id.
        partition: PartitionId,
        /// The row.
        entry: Entry,
        /// The write it comes from.
        version: Version,
    },
    /// Remove; removing what is not there is fine.
    Delete {
        /// The partition of the id.
        partition: PartitionId,
        /// The row.
        id: EntryId,
        /// The write it comes from.
        version: Version,
    },
}

impl Change {
    /// Where the row is.
    pub fn partition(&self) -> PartitionId {
        match self {
            Self::Put { partition, .. } | Self::Delete { partition, .. } => *partition,
        }
    }

    /// The write it comes from.
    pub fn version(&self) -> Version {
        match self {
            Self::Put { version, .. } | Self::Delete { version, .. } => *version,
        }
    }
}

/// The index of one collection over all partitions that this member hosts.
///
/// One caller at a time applies changes; anyone may look. Dropping it stops its builder and waits
/// for the row at hand.
pub struct CollectionIndex {
    core: Arc<Core>,
    builder: Option<JoinHandle<()>>,
}

impl CollectionIndex {
    /// An empty index; starts its builder thread, unless the engine is `flat`.
    ///
    /// # Errors
    /// When the operating system gives no thread.
    pub fn new(config: &CollectionConfig, limits: IndexLimits) -> Result<Self, IndexError> {
        Self::with_engine(config, limits, engine_of(config))
    }

    /// As [`new`](Self::new), with an engine of its own.
    pub(super) fn with_engine(
        config: &CollectionConfig,
        limits: IndexLimits,
        make: Option<MakeEngine>,
    ) -> Result<Self, IndexError> {
        let owner = Owner::new(shape(config, &limits), limits.clone(), make.is_some());
        Self::start(config, &limits, owner, make, Surroundings::default(), Arc::default())
    }

    /// An empty index that is saved now and then, if it has a store and its engine can be, and may have links from
    /// other members.
    pub(super) fn within(
        config: &CollectionConfig,
        limits: IndexLimits,
        around: Surroundings,
    ) -> Result<Self, IndexError> {
        let make = engine_of(config);
        let owner = Owner::new(shape(config, &limits), limits.clone(), make.is_some());
        Self::start(config, &limits, owner, make, around, Arc::default())
    }

    /// The index that was saved last; `None` when none was, or when none can be.
    pub(super) fn restore(
        config: &CollectionConfig,
        limits: IndexLimits,
        mut around: Surroundings,
    ) -> Result<Option<Self>, RestoreError> {
        let (Some(restore), Some(store)) = (restore_of(config), &mut around.store) else { return Ok(None) };
        let shape = shape(config, &limits);
        let demands = Arc::new(Demands::default());
        let options = EngineOptions {
            measure: shape.measure,
            quantization: shape.quantization,
            // The stored one counts.
            centre: vec![0.0; shape.dimension],
            m: shape.m,
            ef_construction: config.index.ef_construction as usize,
            threads: limits.build_threads.max(1),
            expected: 0,
            demands: Arc::clone(&demands),
        };
        let Some(loaded) = store.load(&shape, &options, restore)? else { return Ok(None) };
        let owner = Owner::restored(shape, limits.clone(), loaded)?;
        Ok(Some(Self::start(config, &limits, owner, engine_of(config), around, demands)?))
    }

    fn start(
        config: &CollectionConfig,
        limits: &IndexLimits,
        mut owner: Owner,
        make: Option<MakeEngine>,
        around: Surroundings,
        demands: Arc<Demands>,
    ) -> Result<Self, IndexError> {
        let Surroundings { store, elsewhere } = around;
        if let (Some(_), Some(_), Some(pause)) = (&store, restore_of(config), limits.checkpoint_pause) {
            owner.save_every(pause);
        }
        if store.is_some() {
            owner.move_blocks();
        }
        let core = Arc::new(Core {
            shape: shape(config, limits),
            threads: limits.build_threads.max(1),
            build_share: limits.build_share,
            ef_construction: config.index.ef_construction as usize,
            collection: config.name.as_str().to_owned(),
            view: ArcSwap::from_pointee(owner.view()),
            owner: Mutex::new(owner),
            work: Condvar::new(),
            idle: Condvar::new(),
            room: watch::Sender::new(true),
            demands,
        });
        let builder = match make {
            Some(make) => {
                let core = Arc::clone(&core);
                let thread = std::thread::Builder::new().name("index-builder".into());
                Some(
                    thread
                        .spawn(move || builder::run(&core, make, store, elsewhere))
                        .map_err(IndexError::Thread)?,
                )
            }
            None => None,
        };
        Ok(Self { core, builder })
    }

    /// Applies changes together, in order; per change: did the entry exist before it? When this
    /// returns, every new view has them all; no view has only some. Made for one caller, the applier.
    pub fn apply(&self, changes: Vec<Change>) -> Vec<bool> {
        if changes.is_empty() {
            return Vec::new();
        }
        self.publish(|owner| owner.apply(changes))
    }

    /// Forgets all rows of a partition. Takes time in proportion to all rows.
    pub fn drop_partition(&self, partition: PartitionId) {
        self.publish(|owner| owner.drop_partition(partition));
    }

    /// The index as of now. Waits for nobody.
    pub fn view(&self) -> Arc<View> {
        self.core.view()
    }

    /// A search that was really made, without a filter: such ones tell better than rows how wide to walk.
    pub fn asked(&self, vector: &Vector) {
        let shape = self.core.shape();
        if vector.as_slice().len() != shape.dimension {
            return;
        }
        let vector: Arc<[f32]> = shape.measure.prepare(vector).as_ref().into();
        let mut owner = self.core.owner();
        owner.asked.add(vector);
        if owner.wants_calibration() {
            self.core.work.notify_one();
        }
    }

    /// Numbers for metrics and people.
    pub fn stats(&self) -> IndexStats {
        self.core.owner().stats()
    }

    /// Which rows of a partition there are, in one number.
    pub fn digest(&self, partition: PartitionId) -> Digest {
        self.core.owner().digest(partition)
    }

    /// The last write to a row; `None` when there is no such row.
    pub fn version(&self, id: &EntryId) -> Option<Version> {
        self.core.owner().version(id)
    }

    /// The last write to each partition that the index shows, as far as it knows.
    pub fn stamps(&self) -> Stamps {
        self.core.owner().stamps()
    }

    /// Whoever compared index and rows found that all writes to a partition up to this one are in.
    pub fn level(&self, partition: PartitionId, version: Version) {
        self.core.owner().level(partition, version);
    }

    /// Saves the index now; blocks until it is.
    #[cfg(test)]
    pub(crate) fn save(&self) {
        let saves = |stats: IndexStats| (stats.checkpoint.saves, stats.checkpoint.failures);
        let before = saves(self.stats());
        self.core.with_owner(Owner::save_at_once);
        self.core.work.notify_all();
        let mut owner = self.core.owner();
        while saves(owner.stats()) == before {
            owner = self.core.idle.wait(owner).unwrap_or_else(PoisonError::into_inner);
        }
        assert_eq!(saves(owner.stats()), (before.0 + 1, before.1));
    }

    /// When the index is dropped, what changed since the last checkpoint is saved first.
    pub fn save_at_end(&self) {
        self.core.owner().save_at_end();
    }

    /// Returns when the tail is below its bound: at once for `flat`, and while the builder keeps
    /// failing.
    pub async fn tail_room(&self) {
        // The sender lives in `self`, so this cannot fail.
        let _ = self.core.room.subscribe().wait_for(|room| *room).await;
    }

    /// Blocks until the builder has nothing to do; says whether all is built, which is not so when
    /// the last build failed. For tests and benchmarks.
    pub fn wait_built(&self) -> bool {
        let mut owner = self.core.owner();
        if self.builder.is_none() {
            return true;
        }
        while owner.building || (owner.has_work() && owner.paused_until().is_none()) {
            owner = self.core.idle.wait(owner).unwrap_or_else(PoisonError::into_inner);
        }
        !owner.has_work()
    }

    /// Blocks until the breadths of this very graph are measured, so that nothing happens any more until
    /// the next change; at once for an index without a graph. For tests and benchmarks.
    pub fn wait_calibrated(&self) {
        let mut owner = self.core.owner();
        while self.builder.is_some() && !owner.stopping && (owner.has_work() || owner.wants_calibration()) {
            owner = self.core.idle.wait(owner).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn publish<T>(&self, change: impl FnOnce(&mut Owner) -> T) -> T {
        self.core.publish(|owner| {
            let result = change(owner);
            if self.builder.is_none() && owner.wants_compaction() {
                // No builder: the applier pays, once in thousands of changes.
                owner.compact_here();
            }
            result
        })
    }
}

fn shape(config: &CollectionConfig, limits: &IndexLimits) -> Shape {
    Shape {
        measure: Measure::new(config.metric),
        dimension: config.dimension as usize,
        quantization: kept(config),
        m: config.index.m as usize,
        breadth: config.index.breadth(),
        small_rows: limits.small_rows,
        field_bytes: limits.field_bytes,
        mapped: config.index.vectors == VectorPlace::Disk,
    }
}

/// What a graph keeps of a vector: no more of 8 bits than 4, since memory for the others saves less than what it takes from full
/// vectors (decision 28).
fn kept(config: &CollectionConfig) -> Quantization {
    match config.index.quantization {
        Quantization::Int8 => Quantization::Int4,
        quantization => quantization,
    }
}

/// Why a saved index is none.
#[derive(Debug, thiserror::Error)]
pub(super) enum RestoreError {
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error(transparent)]
    Index(#[from] IndexError),
}

impl Drop for CollectionIndex {
    fn drop(&mut self) {
        self.core.demands.stop.store(true, Relaxed);
        // Under the mutex, so that a builder about to wait cannot miss it.
        self.core.owner().stopping = true;
        self.core.work.notify_all();
        if let Some(builder) = self.builder.take()
            && builder.join().is_err()
        {
            tracing::error!(collection = self.core.collection, "the index builder had panicked");
        }
    }
}

/// What the handle and the builder share.
pub(super) struct Core {
    shape: Shape,
    threads: usize,
    build_share: f64,
    ef_construction: usize,
    /// For messages.
    collection: String,
    owner: Mutex<Owner>,
    view: ArcSwap<View>,
    /// Tells the builder that there may be work.
    work: Condvar,
    /// Tells [`CollectionIndex::wait_built`] that the builder may be done.
    idle: Condvar,
    /// Whether the tail is below its bound.
    room: watch::Sender<bool>,
    /// For the builder and its engine, between rows.
    demands: Arc<Demands>,
}

impl Core {
    pub fn shape(&self) -> Shape {
        self.shape
    }

    pub fn threads(&self) -> usize {
        self.threads
    }

    pub fn ef_construction(&self) -> usize {
        self.ef_construction
    }

    pub fn build_share(&self) -> f64 {
        self.build_share
    }

    /// What engines are to heed.
    pub fn demands(&self) -> Arc<Demands> {
        Arc::clone(&self.demands)
    }

    pub fn collection(&self) -> &str {
        &self.collection
    }

    pub fn is_stopping(&self) -> bool {
        self.demands.stop.load(Relaxed)
    }

    pub fn view(&self) -> Arc<View> {
        self.view.load_full()
    }

    fn owner(&self) -> MutexGuard<'_, Owner> {
        // A panic under the mutex would be a bug; the rows are still the best there is.
        self.owner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks or changes what no view shows.
    pub fn with_owner<T>(&self, ask: impl FnOnce(&mut Owner) -> T) -> T {
        ask(&mut self.owner())
    }

    /// Changes the state and shows it to everyone.
    pub fn publish<T>(&self, change: impl FnOnce(&mut Owner) -> T) -> T {
        let mut owner = self.owner();
        let waited = owner.begin_at().is_some();
        let result = change(&mut owner);
        // Later only puts it off.
        let is_to_begin = !waited && owner.begin_at().is_some();
        let old = self.view.swap(Arc::new(owner.view()));
        let room = owner.has_room();
        self.room.send_if_modified(|known| std::mem::replace(known, room) != room);
        if is_to_begin || owner.work().is_some() || owner.wants_calibration() || owner.save_time_is_news() {
            self.work.notify_one();
        }
        drop(owner);
        // Maybe the last to hold memory of many rows: freed with no lock held.
        drop(old);
        result
    }

    /// Counts a failed build and throws its graph away.
    pub fn build_failed(&self, error: &str) {
        let pause = self.publish(Owner::build_failed);
        let collection = &self.collection;
        tracing::error!(
            collection,
            error,
            ?pause,
            "building the index failed: searches scan, a new build follows"
        );
    }

    /// Waits for work; `None` when the index is being dropped.
    pub fn next_work(&self) -> Option<Work> {
        let mut owner = self.owner();
        loop {
            if owner.stopping {
                if owner.take_last_save() {
                    return Some(Work::Save);
                }
                owner.building = false;
                self.idle.notify_all();
                return None;
            }
            let paused = owner.paused_until();
            if let (Some(work), None) = (owner.work(), paused) {
                owner.building = true;
                return Some(work);
            }
            owner.building = false;
            self.idle.notify_all();
            let now = Instant::now();
            // A graph that is not whole is not worth it yet, and one that was thrown away is none.
            let save_at = owner.save_at().filter(|_| paused.is_none());
            if save_at.is_some_and(|at| at <= now) {
                return Some(Work::Save);
            }
            let calibrate_at = (paused.is_none() && owner.wants_calibration()).then_some(owner.calibrate_at);
            if calibrate_at.is_some_and(|at| at <= now) {
                return Some(Work::Calibrate);
            }
            let times = [paused, save_at, owner.move_at(), calibrate_at, owner.begin_at()];
            let next = times.into_iter().flatten().min();
            owner = match next {
                Some(until) => {
                    let pause = until.saturating_duration_since(now);
                    self.work.wait_timeout(owner, pause).unwrap_or_else(PoisonError::into_inner).0
                }
                None => self.work.wait(owner).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }
}
