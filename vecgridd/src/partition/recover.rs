//! How partitions come back after a restart.
//!
//! A partition's rows say how far its log is applied. Records behind that point are durable but
//! not applied: they are driven through the same [`State`] and the same [`Effects`] as when they
//! were written, so recovery cannot differ from normal work. The records are checked on the way:
//! no gap, no damage. Then every row is read once to fill the indexes, and what the indexes say
//! they hold is compared with what was read.

use std::{collections::BTreeMap, ops::ControlFlow, time::Duration};

use super::{
    actor::fingerprint,
    applier::Effects,
    dedup::DedupWindow,
    log_extent::{LogExtent, Retention},
    state::{Effect, Event, Start, State, Ticket},
};
use crate::{
    index::{Change, Digest, Registry},
    storage::{
        Batch, Engine, Family, StorageError,
        keys::{self, applied, dedup, log, row},
    },
    types::{ClusterView, CollectionId, MemberId, MutationOutcome, PartitionId, RequestId, Version},
};

/// Records of one batch while replaying.
const REPLAY_BATCH: usize = 512;
/// Rows of one batch while filling an index.
const LOAD_BATCH: usize = 2_048;
/// Nobody waits for a replayed record.
const NOBODY: Ticket = 0;

/// A partition, ready to be owned.
pub struct Recovered {
    /// Its state: the log is applied up to its end.
    pub state: State,
    /// Records that were durable but not applied.
    pub replayed: u64,
}

/// What the start found.
#[derive(Debug, Clone, Copy, Default)]
pub struct RecoveryReport {
    /// Rows of all collections.
    pub rows: u64,
    /// How long it took to read them and fill the indexes.
    pub took: Duration,
}

/// Brings one partition's rows level with its log.
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
    let applied = match engine.get(Family::Partition(partition), &applied::key())? {
        Some(bytes) => keys::open(&format!("the applied point of {partition}"), &bytes)?,
        None => applied::Applied::default(),
    };
    let (extent, rest) = read_log(engine, partition, applied.sequence)?;
    let placement = view.partition(partition);
    let mut state = State::new(Start {
        partition,
        epoch: placement.epoch,
        me: me.clone(),
        in_sync: placement.in_sync.clone(),
        last: applied.sequence,
        dedup: read_dedup(engine, partition)?,
        log: extent,
        retention,
    });
    let replayed = rest.len() as u64;
    for chunk in rest.chunks(REPLAY_BATCH) {
        replay(engine, view, me, &mut state, chunk)?;
    }
    Ok(Recovered { state, replayed })
}

fn replay(
    engine: &dyn Engine,
    view: &ClusterView,
    me: &MemberId,
    state: &mut State,
    records: &[log::LogRecord],
) -> Result<(), StorageError> {
    let partition = state.partition();
    let mut batch = Batch::default();
    let mut effects = Effects::new(engine);
    for record in records {
        let (version, operation) = log::operation(record.clone())?;
        let (fingerprint, bytes) = fingerprint(&operation);
        let proposed = state.step(Event::Propose { ticket: NOBODY, operation, fingerprint, bytes });
        let in_order = |e: &Effect| matches!(e, Effect::Append { version: again, .. } if *again == version);
        if !proposed.iter().any(in_order) {
            return Err(StorageError::corrupt(
                format!("the log of {partition}"),
                format!("record {version} is out of order"),
            ));
        }
        for effect in state.step(Event::Durable { member: me.clone(), sequence: version.sequence }) {
            let Effect::Apply(committed) = effect else { continue };
            let live = view.collection_by_id(committed.operation.collection).is_some();
            let applied = effects.add(partition, committed, live)?;
            state.step(Event::Applied { sequence: version.sequence, applied });
        }
    }
    let (rows, _) = effects.finish();
    batch.append(rows);
    engine.commit(&batch, false)
}

/// Sizes of the applied records, and the records behind them.
fn read_log(
    engine: &dyn Engine,
    partition: PartitionId,
    applied: u64,
) -> Result<(LogExtent, Vec<log::LogRecord>), StorageError> {
    let what = format!("the log of {partition}");
    let mut extent: Option<LogExtent> = None;
    let mut rest = Vec::new();
    let mut expected: Option<u64> = None;
    let (from, to) = log::range(partition, 0, u64::MAX);
    let mut visit = |_: &[u8], value: &[u8]| {
        let record: log::LogRecord = keys::open(&what, value)?;
        if expected.is_some_and(|sequence| sequence != record.sequence) {
            return Err(StorageError::corrupt(
                &what,
                format!("there is a gap before record {}", record.sequence),
            ));
        }
        expected = Some(record.sequence + 1);
        if record.sequence <= applied {
            extent.get_or_insert_with(|| LogExtent::empty(record.sequence)).push(value.len());
        } else {
            rest.push(record);
        }
        Ok(ControlFlow::Continue(()))
    };
    engine.scan(Family::Oplog, &from, &to, &mut visit)?;
    if let Some(first) = rest.first()
        && first.sequence != applied + 1
    {
        return Err(StorageError::corrupt(
            &what,
            format!("records {} to {} are missing", applied + 1, first.sequence - 1),
        ));
    }
    Ok((extent.unwrap_or_else(|| LogExtent::empty(applied + 1)), rest))
}

fn read_dedup(engine: &dyn Engine, partition: PartitionId) -> Result<DedupWindow, StorageError> {
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

/// Reads every row of this member into the indexes, and checks that they hold just those.
///
/// # Errors
/// When a row is damaged, or an index differs from the rows.
pub fn load_indexes(
    engine: &dyn Engine,
    view: &ClusterView,
    indexes: &Registry,
) -> Result<RecoveryReport, StorageError> {
    let started = std::time::Instant::now();
    let mut rows = 0;
    for partition in engine.partitions() {
        let mut digests: BTreeMap<CollectionId, Digest> = BTreeMap::new();
        let mut changes: BTreeMap<CollectionId, Vec<Change>> = BTreeMap::new();
        let (from, to) = row::all();
        let mut visit = |key: &[u8], value: &[u8]| {
            let (collection, id) = row::parse_key(key)?;
            if view.collection_by_id(collection).is_some() {
                let stored = row::decode(id, value)?;
                rows += 1;
                digests.entry(collection).or_default().add(stored.entry.id.as_str(), stored.version);
                let changes = changes.entry(collection).or_default();
                changes.push(Change::Put { partition, entry: stored.entry, version: stored.version });
                if changes.len() >= LOAD_BATCH {
                    load(view, indexes, collection, std::mem::take(changes))?;
                }
            }
            Ok(ControlFlow::Continue(()))
        };
        engine.scan(Family::Partition(partition), &from, &to, &mut visit)?;
        for (collection, changes) in changes {
            load(view, indexes, collection, changes)?;
        }
        for (collection, expected) in digests {
            let found = indexes.get(collection).map(|index| index.digest(partition)).unwrap_or_default();
            if found != expected {
                let why = format!("the index holds {found:?}, the rows are {expected:?}");
                return Err(StorageError::corrupt(
                    format!("collection {} in {partition}", collection.0),
                    why,
                ));
            }
        }
    }
    Ok(RecoveryReport { rows, took: started.elapsed() })
}

fn load(
    view: &ClusterView,
    indexes: &Registry,
    collection: CollectionId,
    changes: Vec<Change>,
) -> Result<(), StorageError> {
    if let Some(collection) = view.collection_by_id(collection) {
        let index = indexes
            .get_or_create(collection.id, &collection.config)
            .map_err(|e| StorageError::Io(e.to_string()))?;
        index.apply(changes);
    }
    Ok(())
}
