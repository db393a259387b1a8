//! How partitions come back after a restart.
//!
//! A partition's rows say how far its log is applied. Records behind that point are durable but
//! not applied: they are driven through the same [`State`] and the same [`Effects`] as when they
//! were written, so recovery cannot differ from normal work. Where others may have a part in what is committed, they
//! stay in the log until that is known. The records are checked on the way:
//! no gap, no damage. Records before that point are not read: how long the log is, is stored.
//!
//! A store of format 1 says neither that nor which rows there are in one number: both are counted once.

use std::{collections::BTreeMap, ops::ControlFlow};

use super::{
    applier::{Digests, Effects, clear, seal_digest},
    dedup::DedupWindow,
    following::found,
    handle::fingerprint,
    log_extent::{Kept, LogExtent, Retention},
    state::{Effect, Event, Start, State},
};
use crate::{
    index::Digest,
    migration::Replica,
    storage::{
        Batch, Engine, Family, StorageError,
        keys::{self, applied, copy, dedup, digest, log, row, tombstone},
    },
    types::{ClusterView, CollectionId, MemberId, MutationOutcome, PartitionId, RequestId, Version},
};

/// Records of one batch while replaying.
const REPLAY_BATCH: usize = 512;
/// A copy of a partition, ready to be owned.
pub struct Recovered {
    /// Its state: the log is applied up to what is known to be committed.
    pub state: State,
    /// What it has, as others ask for it.
    pub replica: Replica,
    /// What it had written down about itself.
    pub copy: copy::CopyState,
    /// Records that were durable but not applied, and are now.
    pub replayed: u64,
}

/// Brings one partition's rows level with its log, as far as that is committed: where nobody else can ever have
/// had a part of it, all of it.
///
/// # Errors
/// When the disk fails, or the log has a gap or damage.
pub fn recover(
    engine: &dyn Engine,
    view: &ClusterView,
    me: &MemberId,
    partition: PartitionId,
    retention: Retention,
) -> Result<Recovered, StorageError> {
    let mut copy = read_copy(engine, partition)?;
    let placement = view.partition(partition);
    // By a newer epoch than it knows it does not count: what it had is of no use, and it may become a copy again.
    let pardoned = copy.quarantined && placement.epoch > copy.promised && !placement.in_sync.contains(me);
    if copy.installing || pardoned {
        copy.quarantined &= !pardoned;
        throw_away(engine, partition, &mut copy)?;
    }
    forget_tombstones(engine, partition)?;
    let applied = match read_applied(engine, partition)? {
        Some(applied) if applied.has_digests => applied,
        Some(old) => count(engine, partition, old)?,
        None => applied::Applied::default(),
    };
    let rest = read_log(engine, partition, applied.sequence + 1, u64::MAX)?;
    let next = applied.sequence + 1;
    let log = match applied.log_first {
        0 => LogExtent::empty(next),
        first => LogExtent::kept(Kept { first, bytes: applied.log_bytes }, next),
    };
    let last = Version { epoch: applied.epoch, sequence: applied.sequence };
    let dedup = read_dedup(engine, partition)?;
    let mut state = State::new(Start { partition, me: me.clone(), last, dedup, log, retention });
    let alone = placement.in_sync == [me.clone()] && placement.epoch >= copy.promised && !copy.shared;
    let mut end = last;
    for chunk in rest.chunks(REPLAY_BATCH) {
        end = replay(engine, view, me, &mut state, chunk, alone)?;
    }
    let replayed = state.applied().sequence - last.sequence;
    let replica = found(&copy, end, state.committed())?;
    Ok(Recovered { state, replica, copy, replayed })
}

/// Whether there is anything of a partition on the disk.
pub(super) fn has_copy(engine: &dyn Engine, partition: PartitionId) -> Result<bool, StorageError> {
    let applied = match read_applied(engine, partition) {
        // There is one, and it cannot be used: `recover` says so.
        Err(StorageError::Corrupt { .. }) => return Ok(true),
        applied => applied?,
    };
    Ok(applied.is_some() || read_copy(engine, partition)?.installing)
}

/// A copy as it lies on the disk of a daemon that does not run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CopyOnDisk {
    /// It is complete in itself: not a part of an installation, and not quarantined.
    pub usable: bool,
    /// Something was ever written to it.
    pub has_rows: bool,
    /// The newest epoch that it has promised to.
    pub promised: u64,
}

/// What is on the disk of a partition.
///
/// # Errors
/// When the store cannot be read.
pub fn copy_on_disk(engine: &dyn Engine, partition: PartitionId) -> Result<CopyOnDisk, StorageError> {
    let copy = read_copy(engine, partition)?;
    let known = engine.partitions().contains(&partition);
    let applied = if known { read_applied(engine, partition)? } else { None };
    let mut logged = false;
    let (from, to) = log::range(partition, 0, u64::MAX);
    engine.scan(Family::Oplog, &from, &to, &mut |_, _| {
        logged = true;
        Ok(ControlFlow::Break(()))
    })?;
    let usable = !copy.installing && !copy.quarantined;
    Ok(CopyOnDisk { usable, has_rows: applied.is_some() || logged, promised: copy.promised })
}

/// Takes a copy that cannot be read for one that must not be used, and has nothing. What is on the disk stays until the
/// grid has decided that this copy does not count (`keeper.rs`): the others might turn out to be damaged, too.
///
/// # Errors
/// When the disk fails.
pub fn quarantine(
    engine: &dyn Engine,
    me: &MemberId,
    partition: PartitionId,
    retention: Retention,
) -> Result<Recovered, StorageError> {
    let stored = copy::CopyState { quarantined: true, ..read_copy(engine, partition)? };
    let mut batch = Batch::default();
    batch.put(Family::Member, copy::key(partition), copy::encode(&stored));
    engine.commit(&batch, true)?;
    let copy = copy::CopyState { floor: (0, 0), epochs: Vec::new(), ..stored };
    let (dedup, log) = (DedupWindow::default(), LogExtent::empty(1));
    let last = Version::default();
    let state = State::new(Start { partition, me: me.clone(), last, dedup, log, retention });
    let replica = found(&copy, last, 0)?;
    Ok(Recovered { state, replica, copy, replayed: 0 })
}

/// Whatever is on the disk of these partitions goes; what was promised stays.
///
/// # Errors
/// When the disk fails.
pub fn begin_empty(engine: &dyn Engine, partitions: &[PartitionId]) -> Result<(), StorageError> {
    engine.create_partitions(partitions)?;
    for &partition in partitions {
        let copy::CopyState { promised, attempt, .. } = read_copy(engine, partition)?;
        let copy = copy::CopyState { promised, attempt, ..copy::CopyState::default() };
        let mut batch = Batch::default();
        clear(&mut batch, partition);
        batch.put(Family::Member, copy::key(partition), copy::encode(&copy));
        engine.commit(&batch, true)?;
    }
    Ok(())
}

fn read_copy(engine: &dyn Engine, partition: PartitionId) -> Result<copy::CopyState, StorageError> {
    let stored = engine.get(Family::Member, &copy::key(partition))?;
    stored.map_or_else(|| Ok(copy::CopyState::default()), |bytes| copy::decode(&bytes))
}

/// Rows that were being installed are of no use without the rest.
fn throw_away(
    engine: &dyn Engine,
    partition: PartitionId,
    copy: &mut copy::CopyState,
) -> Result<(), StorageError> {
    copy.installing = false;
    (copy.floor, copy.epochs) = ((0, 0), Vec::new());
    let mut batch = Batch::default();
    clear(&mut batch, partition);
    batch.put(Family::Member, copy::key(partition), copy::encode(copy));
    engine.commit(&batch, true)
}

/// An earlier version kept what nobody reads. A look costs little, and finds something once.
fn forget_tombstones(engine: &dyn Engine, partition: PartitionId) -> Result<(), StorageError> {
    let family = Family::Partition(partition);
    let (from, to) = tombstone::all();
    let mut found = false;
    engine.scan(family, &from, &to, &mut |_, _| {
        found = true;
        Ok(ControlFlow::Break(()))
    })?;
    if found {
        let mut batch = Batch::default();
        batch.delete_range(family, from, to);
        engine.commit(&batch, false)?;
    }
    Ok(())
}

/// Takes records of the log into the state, in order; applies them where they are committed. Gives the last one.
fn replay(
    engine: &dyn Engine,
    view: &ClusterView,
    me: &MemberId,
    state: &mut State,
    records: &[log::LogRecord],
    committed: bool,
) -> Result<Version, StorageError> {
    let partition = state.partition();
    let mut batch = Batch::default();
    let mut digests = Digests::default();
    let mut effects = Effects::new(engine, None, &mut digests);
    let mut last = state.applied();
    for record in records {
        let (version, operation) = log::operation(record.clone())?;
        let (fingerprint, bytes) = fingerprint(&operation);
        if version.epoch < last.epoch || version.sequence != state.last() + 1 {
            return Err(StorageError::corrupt(
                format!("the log of {partition}"),
                format!("record {version} is out of order"),
            ));
        }
        last = version;
        state.step(Event::Accept { version, operation, fingerprint, bytes });
        state.step(Event::Durable { member: me.clone(), sequence: version.sequence });
        if !committed {
            continue;
        }
        for effect in state.step(Event::Committed(version.sequence)) {
            let Effect::Apply(committed) = effect else { continue };
            let live = view.collection_by_id(committed.operation.collection).is_some();
            let applied = effects.add(partition, committed, live)?;
            state.step(Event::Applied { sequence: version.sequence, applied });
        }
    }
    let (rows, _) = effects.finish();
    batch.append(rows);
    engine.commit(&batch, false)?;
    Ok(last)
}

/// How far the log of a partition is applied; `None` when nothing ever was.
pub(super) fn read_applied(
    engine: &dyn Engine,
    partition: PartitionId,
) -> Result<Option<applied::Applied>, StorageError> {
    let stored = engine.get(Family::Partition(partition), &applied::key())?;
    stored.map(|bytes| keys::open(&format!("the applied point of {partition}"), &bytes)).transpose()
}

/// The records of `first..end`, as far as there are any; an error when the first is missing and others
/// are there, or one between.
pub(super) fn read_log(
    engine: &dyn Engine,
    partition: PartitionId,
    first: u64,
    end: u64,
) -> Result<Vec<log::LogRecord>, StorageError> {
    let what = format!("the log of {partition}");
    let mut records: Vec<log::LogRecord> = Vec::new();
    let (from, to) = log::range(partition, first, end);
    let mut visit = |_: &[u8], value: &[u8]| {
        let record: log::LogRecord = keys::open(&what, value)?;
        let expected = first + records.len() as u64;
        if record.sequence != expected {
            let why = format!("records {expected} to {} are missing", record.sequence.saturating_sub(1));
            return Err(StorageError::corrupt(&what, why));
        }
        records.push(record);
        Ok(ControlFlow::Continue(()))
    };
    engine.scan(Family::Oplog, &from, &to, &mut visit)?;
    Ok(records)
}

/// Counts what format 1 did not: rows, and the log.
fn count(
    engine: &dyn Engine,
    partition: PartitionId,
    old: applied::Applied,
) -> Result<applied::Applied, StorageError> {
    let mut digests: BTreeMap<CollectionId, Digest> = BTreeMap::new();
    let (from, to) = row::all();
    let mut visit = |key: &[u8], value: &[u8]| {
        let (collection, id) = row::parse_key(key)?;
        digests.entry(collection).or_default().add(id.as_str(), row::version(value)?);
        Ok(ControlFlow::Continue(()))
    };
    engine.scan(Family::Partition(partition), &from, &to, &mut visit)?;
    let mut kept: Option<Kept> = None;
    let (from, to) = log::range(partition, 0, old.sequence + 1);
    let mut visit = |_: &[u8], value: &[u8]| {
        let record: log::LogRecord = keys::open(&format!("the log of {partition}"), value)?;
        kept.get_or_insert(Kept { first: record.sequence, bytes: 0 }).bytes += value.len() as u64;
        Ok(ControlFlow::Continue(()))
    };
    engine.scan(Family::Oplog, &from, &to, &mut visit)?;
    let kept = kept.unwrap_or(Kept { first: old.sequence + 1, bytes: 0 });
    let new = applied::Applied { log_first: kept.first, log_bytes: kept.bytes, has_digests: true, ..old };
    let mut batch = Batch::default();
    for (collection, of_rows) in digests {
        batch.put(Family::Partition(partition), digest::key(collection), seal_digest(of_rows));
    }
    batch.put(Family::Partition(partition), applied::key(), keys::seal(&new));
    engine.commit(&batch, false)?;
    Ok(new)
}

/// The requests that a partition remembers.
pub(super) fn read_dedup(engine: &dyn Engine, partition: PartitionId) -> Result<DedupWindow, StorageError> {
    let what = format!("a remembered request of {partition}");
    let mut window = DedupWindow::default();
    let (from, to) = dedup::all();
    let mut visit = |key: &[u8], value: &[u8]| {
        let record: dedup::Remembered = keys::open(&what, value)?;
        let sequence = dedup::sequence(key).ok_or_else(|| StorageError::corrupt(&what, "unexpected key"))?;
        let id = RequestId::new(&record.request_id).map_err(|e| StorageError::corrupt(&what, e))?;
        let version = Version { epoch: record.epoch, sequence };
        let outcome =
            (!record.collection_gone).then_some(MutationOutcome { version, existed: record.existed });
        window.restore(id, record.fingerprint, sequence, outcome);
        Ok(ControlFlow::Continue(()))
    };
    engine.scan(Family::Partition(partition), &from, &to, &mut visit)?;
    Ok(window)
}
