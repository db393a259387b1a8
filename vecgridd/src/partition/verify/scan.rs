//! Reading all rows of a copy, slowly, and holding them against what should be there and against the index.
//!
//! One walk over the partition's family is a snapshot: rows, digests and the applied point belong together. The index
//! is looked at a moment before, so rows that were written in between are left out of its comparison.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    ops::ControlFlow,
    sync::Arc,
    time::Duration,
};

use xxhash_rust::xxh3::Xxh3;

use super::report::{Few, Listed, Read, Scan};
use crate::{
    index::{PartitionSet, View},
    partition::applier::open_digest,
    storage::{
        Engine, Family, StorageError,
        keys::{self, applied, digest, row},
    },
    types::{CollectionId, EntryId, PartitionId, StoredEntry, Version},
};

/// Bytes between two pauses.
const PIECE: usize = 256 << 10;
/// Rows of a collection that are listed. More are counted only.
const LISTED: usize = 50_000;

/// What a scan is to do.
pub struct Order {
    /// Of which partition.
    pub partition: PartitionId,
    /// The last write that the indexes below show.
    pub at: Version,
    /// The table that is known.
    pub table_version: u64,
    /// The indexes of all collections, as of then.
    pub views: BTreeMap<CollectionId, Arc<View>>,
    /// Collections whose rows are listed.
    pub list: BTreeSet<CollectionId>,
    /// How fast rows are read.
    pub bytes_per_second: u64,
}

/// Reads a copy. Blocks for as long as it takes; ends early when `stop` says so.
pub fn scan(engine: &dyn Engine, order: Order, stop: impl Fn() -> bool) -> Scan {
    let mut shown: BTreeMap<CollectionId, HashMap<EntryId, Version>> = BTreeMap::new();
    let only: PartitionSet = [order.partition].into_iter().collect();
    for (id, view) in &order.views {
        let rows = view.versions(&only).into_iter().map(|(_, id, version)| (id, version));
        shown.insert(*id, rows.collect());
    }
    let mut walk =
        Walk { bytes: 0, shown, scan: Scan { table_version: order.table_version, ..Scan::default() }, order };
    let walked = engine.scan(Family::Partition(walk.order.partition), &[], &[u8::MAX], &mut |key, value| {
        if stop() {
            return Err(StorageError::Io("it was stopped".into()));
        }
        walk.visit(key, value)
    });
    walk.end(walked)
}

struct Walk {
    order: Order,
    /// Rows that the index shows and that were not met yet.
    shown: BTreeMap<CollectionId, HashMap<EntryId, Version>>,
    bytes: usize,
    scan: Scan,
}

impl Walk {
    fn visit(&mut self, key: &[u8], value: &[u8]) -> Result<ControlFlow<()>, StorageError> {
        self.pause(key.len() + value.len());
        // The least key of all.
        if key == applied::key() {
            let point: applied::Applied =
                keys::open(&format!("the applied point of {}", self.order.partition), value)?;
            self.scan.at = Version { epoch: point.epoch, sequence: point.sequence };
        } else if let Some(id) = digest::collection(key) {
            let written = open_digest(self.order.partition, value)?;
            self.scan.collections.entry(id).or_default().written = written;
        } else if row::is_key(key) {
            let (collection, id) = row::parse_key(key)?;
            let read = self.scan.collections.entry(collection).or_default();
            match row::decode(id.clone(), value) {
                Ok(stored) => {
                    let shown = self.shown.get_mut(&collection).and_then(|rows| rows.remove(&id));
                    let between = stored.version > self.order.at;
                    if self.order.views.contains_key(&collection) && !between && shown != Some(stored.version)
                    {
                        read.index.add(id.as_str());
                    }
                    note(read, &stored, self.order.list.contains(&collection));
                }
                Err(_) => {
                    self.shown.get_mut(&collection).and_then(|rows| rows.remove(&id));
                    read.damaged.add(id.as_str());
                }
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn pause(&mut self, bytes: usize) {
        self.bytes += bytes;
        if self.bytes >= PIECE {
            let seconds = self.bytes as f64 / self.order.bytes_per_second.max(1) as f64;
            std::thread::sleep(Duration::from_secs_f64(seconds));
            self.bytes = 0;
        }
    }

    fn end(mut self, walked: Result<(), StorageError>) -> Scan {
        self.scan.failed = walked.err().map(|error| error.to_string());
        for read in self.scan.collections.values_mut() {
            // A part of them would look like a difference.
            read.rows = read.rows.take().filter(|rows| rows.len() as u64 == read.read.count);
        }
        // What was deleted since the index was looked at is not in the rows, and that is right.
        if self.scan.failed.is_none() && self.scan.at == self.order.at {
            for (collection, rows) in self.shown {
                let mut few = Few::default();
                let mut ids: Vec<&EntryId> = rows.keys().collect();
                ids.sort_unstable();
                ids.into_iter().for_each(|id| few.add(id.as_str()));
                if few.count > 0 {
                    let index = &mut self.scan.collections.entry(collection).or_default().index;
                    index.count += few.count;
                    index.ids.extend(few.ids);
                    index.ids.truncate(super::report::NAMED);
                }
            }
        }
        self.scan
    }
}

fn note(read: &mut Read, stored: &StoredEntry, list: bool) {
    let StoredEntry { entry, version } = stored;
    read.read.add(entry.id.as_str(), *version);
    let content = content(stored);
    read.content ^= content;
    if list {
        let rows = read.rows.get_or_insert_default();
        if rows.len() < LISTED {
            rows.push(Listed { id: entry.id.as_str().to_owned(), version: *version, content });
        }
    }
}

/// Hash of everything in a row, whatever it looks like on the disk.
fn content(stored: &StoredEntry) -> u64 {
    let StoredEntry { entry, version } = stored;
    let mut hash = Xxh3::new();
    hash.update(&version.epoch.to_le_bytes());
    hash.update(&version.sequence.to_le_bytes());
    hash.update(entry.id.as_str().as_bytes());
    for component in entry.vector.iter().flat_map(|vector| vector.as_slice()) {
        hash.update(&component.to_le_bytes());
    }
    hash.update(entry.metadata.to_json().as_bytes());
    hash.digest()
}
