//! The mutable state of an index, behind its one mutex.
//!
//! Two threads change it: the applier, which appends rows and lets rows die, and the builder, which
//! reports how far the graph has come and swaps in compacted rows. Both hold the mutex for short,
//! bounded work and publish a new [`View`](super::View) before they let go. Searches never take it.

use std::{
    borrow::Cow,
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    IndexLimits,
    asked::Asked,
    burst::Burst,
    calibration::Calibration,
    checkpoint::{Loaded, Refusal, Saved, Stamps},
    chunk::{CHUNK, Chunk, Row},
    collection_index::Change,
    compaction::Compaction,
    digest::Digest,
    engine::Engine,
    packed::{Packed, Shapes},
    partition_set::PartitionSet,
    rows::Rows,
    saving::Saving,
    slots::Slots,
    stats::{CheckpointStats, IndexBytes, IndexStats},
    view::{Linked, Shape, View},
};
use crate::types::{Breadth, EntryId, PartitionId, Vector, Version};

/// Hits of the search whose breadth is told to people.
const STATED_K: usize = 10;
/// Fewer dead slots are not worth a compaction.
const MIN_DEAD: u64 = 1_024;
/// One dead slot in this many is too much.
const DEAD_SHARE: u64 = 5;
/// A tail of one part in this many of what it may be is long.
const LONG_TAIL: usize = 8;
/// After so many failed builds in a row writes no longer wait for the builder: slow searches are
/// better than none of the writes.
const PATIENCE: u32 = 3;
/// When the graph has changed by one row in so many, breadths are measured again.
const CALIBRATED_SHARE: u64 = 4;
/// Pauses after failed builds: from, to.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

pub(super) struct Owner {
    shape: Shape,
    limits: IndexLimits,
    /// Whether the collection's engine has graphs at all.
    graphs: bool,
    slots: Slots,
    shapes: Shapes,
    digests: HashMap<PartitionId, Digest>,
    stamps: Stamps,
    hosted: Arc<PartitionSet>,
    rows: Rows,
    at: u64,
    live: u64,
    with_vector: u64,
    linked: Option<Linked>,
    /// Until there is a graph.
    burst: Burst,
    calibration: Arc<Calibration>,
    /// Queries to measure with.
    pub asked: Asked,
    /// The calibration is of this graph, or one that grew into it.
    calibrated: bool,
    /// When the builder may go on measuring: it rests in between.
    pub calibrate_at: Instant,
    /// The builder is at work.
    pub building: bool,
    /// The index is being dropped.
    pub stopping: bool,
    build_failures: u64,
    adopted: u64,
    /// Failed builds since the last good one.
    failures: u32,
    retry_at: Option<Instant>,
    saving: Saving,
    /// When full blocks may be moved into files; `None`: they stay in memory.
    move_after: Option<Instant>,
}

/// What the builder should do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Work {
    /// Move rows from the tail into the graph.
    Link,
    /// Give the memory of dead rows back.
    Compact,
    /// Measure which breadth of a walk reaches which recall.
    Calibrate,
    /// Write a checkpoint.
    Save,
    /// Move a full block into a file.
    Move,
}

impl Owner {
    pub fn new(shape: Shape, limits: IndexLimits, graphs: bool) -> Self {
        Self {
            shape,
            limits,
            graphs,
            slots: Slots::new(),
            shapes: Shapes::new(),
            digests: HashMap::new(),
            stamps: Stamps::new(),
            hosted: Arc::default(),
            rows: shape.no_rows(),
            at: 0,
            live: 0,
            with_vector: 0,
            linked: None,
            burst: Burst::default(),
            calibration: Arc::default(),
            asked: Asked::default(),
            calibrated: false,
            calibrate_at: Instant::now(),
            building: false,
            stopping: false,
            build_failures: 0,
            adopted: 0,
            failures: 0,
            retry_at: None,
            saving: Saving::default(),
            move_after: None,
        }
    }

    /// Full blocks are moved into files from now on, if the collection wants that.
    pub fn move_blocks(&mut self) {
        self.move_after = self.shape.mapped.then(Instant::now);
    }

    /// When there will be a block to move.
    pub fn move_at(&self) -> Option<Instant> {
        self.rows.first_unmapped().and(self.move_after)
    }

    /// The first block in memory is in a file now.
    pub fn moved(&mut self, chunks: Vec<Chunk>) {
        self.rows.map(chunks);
    }

    /// No block can be moved; the next try comes later.
    pub fn move_failed(&mut self) {
        self.move_after = self.move_after.map(|_| Instant::now() + BACKOFF.1);
    }

    /// An index as it was saved.
    pub fn restored(shape: Shape, limits: IndexLimits, loaded: Loaded) -> Result<Self, Refusal> {
        let Loaded { rows, shapes, dead, stamps, linked, saved } = loaded;
        let mut this = Self { rows, shapes, stamps, at: 1, ..Self::new(shape, limits, true) };
        let rows = this.rows.clone();
        let count = (0..).zip(&dead).map(|(chunk, dead)| {
            let alive = u64::MAX >> (64 - rows.chunk(chunk).len()) & !dead;
            alive.count_ones() as usize
        });
        this.slots.reserve(count.sum());
        for slot in 0..rows.len() {
            if dead[slot as usize / CHUNK] >> (slot as usize % CHUNK) & 1 == 1 {
                rows.kill(slot, this.at);
                continue;
            }
            if this.slots.put(&rows, slot).is_some() {
                return Err(Refusal::Damaged(format!("`{}` is there twice", rows.id(slot))));
            }
            this.appear(slot);
        }
        this.linked =
            linked.map(|(engine, until)| Linked { engine, until, live: live_vectors(&rows, 0, until) });
        this.saving.saved = Some(saved);
        Ok(this)
    }

    /// From now on the index is saved, at most once in this time.
    pub fn save_every(&mut self, pause: Duration) {
        self.saving.pause = Some(pause);
        self.saving.last = Some(Instant::now());
    }

    /// What there is to save.
    pub fn moment(&self) -> (View, Stamps, u64) {
        (self.view(), self.stamps.clone(), self.saving.changes)
    }

    /// The index is to be saved as soon as the builder has time.
    #[cfg(test)]
    pub fn save_at_once(&mut self) {
        self.saving.at_once = true;
    }

    /// An attempt to save a moment with so many changes has ended.
    pub fn saved(&mut self, changes: u64, saved: Option<Saved>) {
        self.saving.at_once = false;
        self.saving.last = Some(Instant::now());
        match saved {
            Some(saved) => {
                self.saving.changes -= changes;
                self.saving.saves += 1;
                self.saving.saved = Some(saved);
            }
            None => self.saving.failures += 1,
        }
    }

    /// When the next checkpoint is due.
    pub fn save_at(&self) -> Option<Instant> {
        self.saving.due(self.live)
    }

    /// Whether the builder has to be told when the next checkpoint is due.
    pub fn save_time_is_news(&mut self) -> bool {
        let due = self.save_at();
        std::mem::replace(&mut self.saving.told, due) != due && due.is_some()
    }

    /// The builder is to save the index before it ends.
    pub fn save_at_end(&mut self) {
        self.saving.at_end = true;
    }

    /// Whether the index is to be saved now, before the end; asked once.
    pub fn take_last_save(&mut self) -> bool {
        let wanted = std::mem::take(&mut self.saving.at_end);
        wanted && self.saving.pause.is_some() && self.saving.changes > 0
    }

    /// All writes to a partition up to this one are in.
    pub fn level(&mut self, partition: PartitionId, version: Version) {
        let stamp = self.stamps.entry(partition).or_default();
        *stamp = version.max(*stamp);
    }

    /// The last write to each partition that is in.
    pub fn stamps(&self) -> Stamps {
        self.stamps.clone()
    }

    /// A row is there from now on.
    fn appear(&mut self, slot: u32) {
        let row = self.rows.row(slot);
        self.live += 1;
        self.with_vector += u64::from(self.rows.vector(slot).is_some());
        self.digests.entry(row.partition).or_default().add(row.id, row.version);
        if !self.hosted.contains(row.partition) {
            Arc::make_mut(&mut self.hosted).insert(row.partition);
        }
    }

    pub fn view(&self) -> View {
        View {
            shape: self.shape,
            rows: self.rows.clone(),
            at: self.at,
            live: self.live,
            with_vector: self.with_vector,
            linked: self.linked.clone(),
            calibration: Arc::clone(&self.calibration),
            hosted: Arc::clone(&self.hosted),
        }
    }

    /// One operation: all changes together. Per change: did the entry exist before it?
    pub fn apply(&mut self, changes: Vec<Change>) -> Vec<bool> {
        self.at += 1;
        let first = self.rows.len();
        self.append(&changes);
        let mut next = first;
        let mut replaced = Vec::new();
        let mut existed = Vec::with_capacity(changes.len());
        for change in &changes {
            let old = match change {
                Change::Put { .. } => {
                    next += 1;
                    self.slots.put(&self.rows, next - 1)
                }
                Change::Delete { id, .. } => self.slots.remove(&self.rows, id.as_str()),
            };
            existed.push(old.is_some());
            replaced.extend(old);
        }
        (first..next).for_each(|slot| self.appear(slot));
        if self.linked.is_none() {
            self.burst.come(Instant::now(), self.with_vector);
        }
        for change in &changes {
            self.level(change.partition(), change.version());
        }
        self.saving.changes += changes.len() as u64;
        replaced.into_iter().for_each(|slot| self.retire(slot));
        existed
    }

    /// The rows that are put, in new slots.
    fn append(&mut self, changes: &[Change]) {
        let mut fresh = Vec::new();
        for change in changes {
            if let Change::Put { partition, entry, version } = change {
                let vector = entry.vector.as_ref().and_then(|vector| self.stored(&entry.id, vector));
                fresh.push((&entry.id, *partition, *version, self.shapes.pack(&entry.metadata), vector));
            }
        }
        if fresh.is_empty() {
            return;
        }
        self.rows.append(fresh.iter().map(|(id, partition, version, (shape, values), vector)| {
            let metadata = Packed { shape, values };
            let row = Row { id: id.as_str(), partition: *partition, version: *version, metadata };
            (row, vector.as_deref())
        }));
    }

    /// The vector in the form it is searched in. A wrong length is a bug of whoever checks entries;
    /// it must not make other rows' vectors wrong.
    fn stored<'a>(&self, id: &EntryId, vector: &'a Vector) -> Option<Cow<'a, [f32]>> {
        let found = vector.as_slice().len();
        if found != self.shape.dimension {
            let expected = self.shape.dimension;
            tracing::error!(
                id = id.as_str(),
                expected,
                found,
                "a vector has the wrong dimension: no search finds it"
            );
            return None;
        }
        Some(self.shape.measure.prepare(vector))
    }

    /// A live slot dies, as of the current operation.
    fn retire(&mut self, slot: u32) {
        let row = self.rows.row(slot);
        if let Some(digest) = self.digests.get_mut(&row.partition) {
            digest.remove(row.id, row.version);
        }
        let vector = u64::from(self.rows.vector(slot).is_some());
        self.rows.kill(slot, self.at);
        self.live -= 1;
        self.with_vector -= vector;
        if let Some(linked) = &mut self.linked
            && slot < linked.until
        {
            linked.live -= vector;
        }
    }

    pub fn drop_partition(&mut self, partition: PartitionId) {
        // Looking for its rows takes as long as there are rows of all.
        if !self.hosted.contains(partition) && !self.digests.contains_key(&partition) {
            self.stamps.remove(&partition);
            return;
        }
        self.at += 1;
        let rows = self.rows.clone();
        let mut gone = Vec::new();
        self.slots.retain(|slot| {
            let stays = rows.row(slot).partition != partition;
            if !stays {
                gone.push(slot);
            }
            stays
        });
        self.saving.changes += gone.len() as u64;
        gone.into_iter().for_each(|slot| self.retire(slot));
        self.digests.remove(&partition);
        self.stamps.remove(&partition);
        Arc::make_mut(&mut self.hosted).remove(partition);
    }

    pub fn digest(&self, partition: PartitionId) -> Digest {
        self.digests.get(&partition).copied().unwrap_or_default()
    }

    pub fn version(&self, id: &EntryId) -> Option<Version> {
        self.slots.get(&self.rows, id.as_str()).map(|slot| self.rows.row(slot).version)
    }

    /// Slots that the graph does not speak for yet, dead ones and those without vector included.
    pub fn tail_slots(&self) -> usize {
        (self.rows.len() - self.linked.as_ref().map_or(0, |linked| linked.until)) as usize
    }

    /// Whether the tail is so long that scanning it is most of a search.
    pub fn tail_is_long(&self) -> bool {
        self.tail_slots() > self.limits.tail_rows / LONG_TAIL
    }

    /// Whether rows should be in a graph. A graph that exists is kept up to date until a compaction
    /// finds the collection small again.
    pub fn wants_graph(&self) -> bool {
        self.graphs && (self.linked.is_some() || self.with_vector > self.limits.small_rows as u64)
    }

    fn dead(&self) -> u64 {
        u64::from(self.rows.len()) - self.live
    }

    pub fn wants_compaction(&self) -> bool {
        self.dead() >= MIN_DEAD && self.dead() * DEAD_SHARE > u64::from(self.rows.len())
    }

    /// When the first graph is to begin, unless more rows come; `None`: now, or it did.
    pub fn begin_at(&self) -> Option<Instant> {
        let waits =
            self.linked.is_none() && self.wants_graph() && self.tail_slots() < self.limits.tail_rows / 2;
        self.burst.over().filter(|at| waits && *at > Instant::now())
    }

    /// What the builder should do, pauses after failures aside.
    pub fn work(&self) -> Option<Work> {
        if self.move_at().is_some_and(|at| at <= Instant::now()) {
            Some(Work::Move)
        } else if self.wants_compaction() {
            Some(Work::Compact)
        } else if self.wants_graph() && self.tail_slots() > 0 && self.begin_at().is_none() {
            Some(Work::Link)
        } else {
            None
        }
    }

    /// Whether rows are to be linked, or the like, now or soon.
    pub fn has_work(&self) -> bool {
        self.work().is_some() || self.begin_at().is_some()
    }

    /// Whether breadths are to be measured, when the builder has nothing better to do: never so far, on
    /// another graph, on one that has grown or shrunk by a quarter since, or with half as many real queries.
    pub fn wants_calibration(&self) -> bool {
        let Some(linked) = &self.linked else { return false };
        let measured = self.calibration.rows;
        let changed = linked.live.abs_diff(measured) * CALIBRATED_SHARE > measured;
        linked.live > 0 && (!self.calibrated || changed || self.asked.says_more_than(self.calibration.asked))
    }

    /// Takes what was measured.
    pub fn calibrate(&mut self, calibration: Calibration) {
        self.calibration = Arc::new(calibration);
        self.calibrated = true;
    }

    /// Until when the builder pauses.
    pub fn paused_until(&self) -> Option<Instant> {
        self.retry_at.filter(|at| *at > Instant::now())
    }

    /// Whether writers may go on without waiting for the builder.
    pub fn has_room(&self) -> bool {
        if !self.graphs || self.failures >= PATIENCE {
            return true;
        }
        if self.wants_graph() {
            return self.tail_slots() < self.limits.tail_rows;
        }
        // Small collections: only the memory of overwritten rows can grow.
        self.dead() < (self.limits.tail_rows + self.limits.small_rows).max(2 * MIN_DEAD as usize) as u64
    }

    /// The graph to put rows into; `None` when there is none yet.
    pub fn linked(&self) -> Option<Linked> {
        self.linked.clone()
    }

    /// The builder starts an empty graph.
    pub fn start_graph(&mut self, engine: Arc<dyn Engine>) {
        self.linked = Some(Linked { engine, until: 0, live: 0 });
    }

    /// The builder starts again with a graph that has many rows already, wherever they are.
    pub fn adopt_graph(&mut self, engine: Arc<dyn Engine>) {
        self.start_graph(engine);
        self.calibrated = false;
        self.adopted += 1;
    }

    /// All rows below `until` are in the graph now, but for those that were dead already.
    pub fn advance(&mut self, until: u32) {
        if let Some(linked) = &mut self.linked {
            linked.live += live_vectors(&self.rows, linked.until, until);
            self.saving.changes += u64::from(until - linked.until);
            linked.until = until;
        }
        self.succeeded();
    }

    fn succeeded(&mut self) {
        self.failures = 0;
        self.retry_at = None;
    }

    /// The graph is no good: searches scan, and the builder starts again after a pause.
    pub fn build_failed(&mut self) -> Duration {
        self.linked = None;
        self.calibrated = false;
        self.build_failures += 1;
        let pause = (BACKOFF.0 * 2_u32.saturating_pow(self.failures)).min(BACKOFF.1);
        self.failures = self.failures.saturating_add(1);
        self.retry_at = Some(Instant::now() + pause);
        pause
    }

    /// Swaps compacted rows in. Only here do slots get new numbers.
    pub fn adopt(&mut self, mut compaction: Compaction, graph: Option<(Arc<dyn Engine>, u32)>) {
        compaction.copy(&self.rows, u32::MAX);
        self.at += 1;
        let (rows, numbers) = compaction.finish(&self.rows, self.at);
        self.slots.renumber(&rows, |slot| numbers[slot as usize]);
        self.linked =
            graph.map(|(engine, until)| Linked { engine, until, live: live_vectors(&rows, 0, until) });
        self.rows = rows;
        self.calibrated = false;
        // All files are of the old slots.
        self.saving.changes += self.live;
        self.succeeded();
    }

    /// Compacts at once, when there is no graph to keep.
    pub fn compact_here(&mut self) {
        self.adopt(Compaction::new(self.shape.no_rows()), None);
    }

    fn search_ef(&self) -> usize {
        match (&self.linked, self.shape.breadth) {
            (None, _) => 0,
            (Some(_), Breadth::Ef(ef)) => ef,
            (Some(_), Breadth::Recall(target)) => self.calibration.ef(target, STATED_K),
        }
    }

    pub fn stats(&self) -> IndexStats {
        let indexed = self.linked.as_ref().map_or(0, |linked| linked.live);
        let bytes = self.rows.bytes();
        IndexStats {
            live: self.live,
            with_vector: self.with_vector,
            indexed,
            tail: if self.wants_graph() { self.with_vector - indexed } else { 0 },
            dead: self.dead(),
            search_ef: self.search_ef(),
            calibrated_rows: self.linked.as_ref().map_or(0, |_| self.calibration.measured_rows()),
            building: self.building || self.work().is_some(),
            build_failures: self.build_failures,
            adopted: self.adopted,
            checkpoint: CheckpointStats {
                saves: self.saving.saves,
                failures: self.saving.failures,
                changes: self.saving.changes,
                bytes: self.saving.saved.map_or(0, |saved| saved.bytes),
                took: self.saving.saved.map_or(Duration::ZERO, |saved| saved.took),
                at: self.saving.saved.map(|saved| saved.at),
            },
            bytes: IndexBytes {
                vectors: bytes.vectors,
                links: self.linked.as_ref().map_or(0, |linked| linked.engine.bytes()),
                ids: bytes.ids + self.slots.bytes() as u64,
                metadata: bytes.metadata + self.shapes.bytes() as u64,
                fields: self.rows.field_bytes(),
                selections: self.rows.selections().bytes(),
            },
        }
    }
}

fn live_vectors(rows: &Rows, from: u32, to: u32) -> u64 {
    let counts = |slot: &u32| rows.is_untouched(*slot) && rows.vector(*slot).is_some();
    (from..to).filter(counts).count() as u64
}
