//! Bringing the indexes level with the rows, at the start.
//!
//! Each partition has, per collection, a digest of its rows, written together with them; an index has
//! one too. Equal digests are equal rows, so an index that was saved after the last write is used as it
//! is, and nothing is read. Where they differ, what changed since is read: from the log, if it still
//! reaches back to what the index shows, else by holding all rows of that partition against the index.
//! An index that was not saved, or was refused, starts empty and takes the second way everywhere.
//!
//! An index that shows a write that the rows do not have is refused as a whole: the rows are older than it, as
//! after a restored backup, and the same versions may then mean something else.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    ops::ControlFlow,
    time::{Duration, Instant},
};

use super::{
    applier::{open_digest, seal_digest},
    recover::{read_applied, read_log},
};
use crate::{
    index::{Change, CollectionIndex, Digest, PartitionSet, Refusal, Registry},
    storage::{
        Batch, Engine, Family, StorageError,
        keys::{digest, row},
    },
    types::{ClusterView, Collection, CollectionId, EntryId, PartitionId, Version},
};

/// Rows of one batch while filling an index.
const BATCH: usize = 2_048;

/// What the start found.
#[derive(Debug, Clone, Copy, Default)]
pub struct LevelReport {
    /// Rows of all collections.
    pub rows: u64,
    /// Indexes that were saved, and used.
    pub loaded: u64,
    /// Rows that were read into indexes, or out of them.
    pub changes: u64,
    /// How long it took.
    pub took: Duration,
}

/// Loads indexes that were saved, and makes each index equal to its rows; of `unread` partitions it shows none.
///
/// # Errors
/// When a row is damaged, or the store fails.
pub fn level_indexes(
    engine: &dyn Engine,
    view: &ClusterView,
    indexes: &Registry,
    unread: &PartitionSet,
) -> Result<LevelReport, StorageError> {
    let started = Instant::now();
    let read = engine.partitions().into_iter().filter(|partition| !unread.contains(*partition));
    let rows = StoredRows::of(engine, read)?;
    indexes.sweep(|id| view.collection_by_id(id).is_some());
    let mut report = LevelReport::default();
    for collection in view.collections() {
        let usable = |index: &CollectionIndex| rows.are_not_behind(index);
        let restored = indexes.restore(collection.id, &collection.config, usable).map_err(io)?;
        report.loaded += u64::from(restored.is_some());
        let differs = rows.points.keys().copied().filter(|partition| {
            let found = restored.as_ref().map(|index| index.digest(*partition)).unwrap_or_default();
            found != rows.digest(*partition, collection.id)
        });
        let differs: Vec<PartitionId> = differs.collect();
        if restored.is_some() || !differs.is_empty() {
            let index = indexes.get_or_create(collection.id, &collection.config).map_err(io)?;
            unread.iter().for_each(|partition| index.drop_partition(partition));
            let level = Level { engine, rows: &rows, collection, index: &index };
            report.changes += level.level(differs)?;
            report.rows += index.view().count(None, &PartitionSet::all(view.partitions()));
        }
    }
    report.took = started.elapsed();
    Ok(report)
}

/// Makes the indexes show the rows of one partition, which nobody changes meanwhile; gives how many rows that took.
///
/// # Errors
/// When a row is damaged, or the store fails.
pub(super) fn level_partition(
    engine: &dyn Engine,
    view: &ClusterView,
    indexes: &Registry,
    partition: PartitionId,
) -> Result<u64, StorageError> {
    let rows = StoredRows::of(engine, [partition])?;
    let mut changes = 0;
    for collection in view.collections() {
        let index = indexes.get_or_create(collection.id, &collection.config).map_err(io)?;
        let level = Level { engine, rows: &rows, collection, index: &index };
        let (changed, read) = level.hold(partition, level.shown(&[partition]).remove(&partition))?;
        changes += changed;
        if index.digest(partition) != read {
            // Not even what it counted is what it shows: all of it again.
            index.drop_partition(partition);
            changes += level.hold(partition, None)?.0;
        }
        index.level(partition, rows.point(partition));
    }
    Ok(changes)
}

fn io(error: impl std::fmt::Display) -> StorageError {
    StorageError::Io(error.to_string())
}

/// What the store says of its rows without reading them.
struct StoredRows {
    /// The last write that is in, of each partition.
    points: BTreeMap<PartitionId, Version>,
    digests: HashMap<(PartitionId, CollectionId), Digest>,
}

impl StoredRows {
    fn of(
        engine: &dyn Engine,
        partitions: impl IntoIterator<Item = PartitionId>,
    ) -> Result<Self, StorageError> {
        let mut this = Self { points: BTreeMap::new(), digests: HashMap::new() };
        for partition in partitions {
            let point = read_applied(engine, partition)?.unwrap_or_default();
            this.points.insert(partition, Version { epoch: point.epoch, sequence: point.sequence });
            let (from, to) = digest::all();
            let mut visit = |key: &[u8], value: &[u8]| {
                let collection = digest::collection(key);
                let collection = collection
                    .ok_or_else(|| StorageError::corrupt("the key of a digest", "unexpected layout"))?;
                this.digests.insert((partition, collection), open_digest(partition, value)?);
                Ok(ControlFlow::Continue(()))
            };
            engine.scan(Family::Partition(partition), &from, &to, &mut visit)?;
        }
        Ok(this)
    }

    fn point(&self, partition: PartitionId) -> Version {
        self.points.get(&partition).copied().unwrap_or_default()
    }

    fn digest(&self, partition: PartitionId, collection: CollectionId) -> Digest {
        self.digests.get(&(partition, collection)).copied().unwrap_or_default()
    }

    fn are_not_behind(&self, index: &CollectionIndex) -> Result<(), Refusal> {
        for (partition, stamp) in index.stamps() {
            let applied = self.point(partition);
            // A copy that has gone meanwhile has no rows: the index loses them, too.
            if stamp > applied && applied != Version::default() {
                return Err(Refusal::Ahead { partition, stamp, applied });
            }
        }
        Ok(())
    }
}

/// One collection on its way.
struct Level<'a> {
    engine: &'a dyn Engine,
    rows: &'a StoredRows,
    collection: &'a Collection,
    index: &'a CollectionIndex,
}

impl Level<'_> {
    /// Brings partitions level that are not; gives how many changes that took.
    fn level(&self, differs: Vec<PartitionId>) -> Result<u64, StorageError> {
        let stamps = self.index.stamps();
        let (mut changes, mut rest) = (0, Vec::new());
        for partition in differs {
            if let Some(stamp) = stamps.get(&partition) {
                changes += self.replay(partition, *stamp)?;
            }
            if !self.is_level(partition) {
                rest.push(partition);
            }
        }
        changes += self.compare(&rest)?;
        for (partition, point) in &self.rows.points {
            self.index.level(*partition, *point);
        }
        Ok(changes)
    }

    fn is_level(&self, partition: PartitionId) -> bool {
        self.index.digest(partition) == self.rows.digest(partition, self.collection.id)
    }

    /// What the log says happened behind the stamp, if it still does.
    fn replay(&self, partition: PartitionId, stamp: Version) -> Result<u64, StorageError> {
        let point = self.rows.point(partition);
        let first = read_applied(self.engine, partition)?.unwrap_or_default().log_first;
        if first == 0 || first > stamp.sequence + 1 {
            return Ok(0);
        }
        // A log that has gaps or damage there is one that does not reach.
        let records = read_log(self.engine, partition, stamp.sequence + 1, point.sequence + 1);
        let records = records.unwrap_or_default();
        let ours = records.iter().filter(|record| record.collection == self.collection.id.0);
        let ids: BTreeSet<&str> =
            ours.flat_map(|record| &record.mutations).map(|mutation| mutation.id.as_str()).collect();
        let ids: Vec<&str> = ids.into_iter().collect();
        let damaged = |error: crate::types::Invalid| StorageError::corrupt("a log record", error);
        for ids in ids.chunks(BATCH) {
            let ids: Vec<EntryId> =
                ids.iter().map(|id| EntryId::new(id)).collect::<Result<_, _>>().map_err(damaged)?;
            let key = |id| (Family::Partition(partition), row::key(self.collection.id, id));
            let values = self.engine.get_many(&ids.iter().map(key).collect::<Vec<_>>())?;
            let change = |(id, value): (EntryId, Option<Vec<u8>>)| match value {
                Some(value) => {
                    let stored = row::decode(id, &value)?;
                    Ok(Change::Put { partition, entry: stored.entry, version: stored.version })
                }
                None => Ok(Change::Delete { partition, id, version: point }),
            };
            let changes = ids.into_iter().zip(values).map(change).collect::<Result<_, StorageError>>()?;
            self.index.apply(changes);
        }
        Ok(ids.len() as u64)
    }

    /// Holds all rows of some partitions against the index.
    fn compare(&self, partitions: &[PartitionId]) -> Result<u64, StorageError> {
        let mut shown = self.shown(partitions);
        let mut count = 0;
        for &partition in partitions {
            let (changed, digest) = self.hold(partition, shown.remove(&partition))?;
            count += changed;
            self.check(partition, digest)?;
        }
        Ok(count)
    }

    /// The rows that the index shows of some partitions.
    fn shown(&self, partitions: &[PartitionId]) -> BTreeMap<PartitionId, HashMap<EntryId, Version>> {
        let mut shown: BTreeMap<PartitionId, HashMap<EntryId, Version>> = BTreeMap::new();
        let wanted: PartitionSet = partitions.iter().copied().collect();
        for (partition, id, version) in self.index.view().versions(&wanted) {
            shown.entry(partition).or_default().insert(id, version);
        }
        shown
    }

    /// Holds all rows of a partition against what the index shows of it, and mends that. How many rows that took, and
    /// which rows were read.
    fn hold(
        &self,
        partition: PartitionId,
        shown: Option<HashMap<EntryId, Version>>,
    ) -> Result<(u64, Digest), StorageError> {
        let mut gone = shown.unwrap_or_default();
        let (mut count, mut changes, mut digest) = (0, Vec::new(), Digest::default());
        let (from, to) = row::all_of(self.collection.id);
        let mut visit = |key: &[u8], value: &[u8]| {
            let (_, id) = row::parse_key(key)?;
            let version = row::version(value)?;
            digest.add(id.as_str(), version);
            if gone.remove(&id) != Some(version) {
                count += 1;
                let entry = row::decode(id, value)?.entry;
                changes.push(Change::Put { partition, entry, version });
                if changes.len() >= BATCH {
                    self.index.apply(std::mem::take(&mut changes));
                }
            }
            Ok(ControlFlow::Continue(()))
        };
        self.engine.scan(Family::Partition(partition), &from, &to, &mut visit)?;
        count += gone.len() as u64;
        let version = self.rows.point(partition);
        changes.extend(gone.into_keys().map(|id| Change::Delete { partition, id, version }));
        self.index.apply(std::mem::take(&mut changes));
        Ok((count, digest))
    }

    /// The index must hold just the rows that were read; and they must be those that were written.
    fn check(&self, partition: PartitionId, read: Digest) -> Result<(), StorageError> {
        let (found, stored) = (self.index.digest(partition), self.rows.digest(partition, self.collection.id));
        let what = || format!("collection {} in {partition}", self.collection.id.0);
        if found != read {
            let why = format!("the index holds {found:?}, the rows are {read:?}");
            return Err(StorageError::corrupt(what(), why));
        }
        if read != stored {
            // Refusing to start would not bring them back; what is there is served, and said.
            tracing::error!(collection = what(), ?read, ?stored, "rows are not those that were written");
            let mut batch = Batch::default();
            let key = digest::key(self.collection.id);
            batch.put(Family::Partition(partition), key, seal_digest(read));
            self.engine.commit(&batch, false)?;
        }
        Ok(())
    }
}
