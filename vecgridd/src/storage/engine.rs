//! What the daemon asks of a store.

use std::{ops::ControlFlow, time::Duration};

use crate::types::PartitionId;

/// Why the store did not do it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StorageError {
    /// The disk or the database refused.
    #[error("storage: {0}")]
    Io(String),
    /// Bytes that this version did not write, or that were damaged.
    #[error("storage: {what} is damaged or from another version: {why}")]
    Corrupt {
        /// Which record.
        what: String,
        /// What is wrong with it.
        why: String,
    },
}

impl StorageError {
    /// A damaged record.
    pub fn corrupt(what: impl Into<String>, why: impl ToString) -> Self {
        Self::Corrupt { what: what.into(), why: why.to_string() }
    }
}

/// A name space of ordered keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// The member itself: identity, format, control state.
    Member,
    /// The logs of all partitions.
    Oplog,
    /// Rows and bookkeeping of one partition.
    Partition(PartitionId),
}

#[derive(Debug, Clone)]
pub(super) enum Write {
    Put { family: Family, key: Vec<u8>, value: Vec<u8> },
    Delete { family: Family, key: Vec<u8> },
    DeleteRange { family: Family, from: Vec<u8>, to: Vec<u8> },
}

/// Writes that take effect together or not at all, in order.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    pub(super) writes: Vec<Write>,
}

impl Batch {
    /// Sets a key.
    pub fn put(&mut self, family: Family, key: Vec<u8>, value: Vec<u8>) {
        self.writes.push(Write::Put { family, key, value });
    }

    /// Removes a key; a missing one is fine.
    pub fn delete(&mut self, family: Family, key: Vec<u8>) {
        self.writes.push(Write::Delete { family, key });
    }

    /// Removes all keys in `from..to`.
    pub fn delete_range(&mut self, family: Family, from: Vec<u8>, to: Vec<u8>) {
        self.writes.push(Write::DeleteRange { family, from, to });
    }

    /// Adds the writes of another batch behind these.
    pub fn append(&mut self, mut other: Self) {
        self.writes.append(&mut other.writes);
    }

    /// About how much there is to write.
    pub fn bytes(&self) -> usize {
        let of = |write: &Write| match write {
            Write::Put { key, value, .. } => key.len() + value.len(),
            Write::Delete { key, .. } => key.len(),
            Write::DeleteRange { from, to, .. } => from.len() + to.len(),
        };
        self.writes.iter().map(of).sum()
    }

    /// True when there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }
}

/// Space used, in bytes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Usage {
    /// Files of sorted tables.
    pub tables: u64,
    /// Memory tables.
    pub memtables: u64,
    /// Block cache.
    pub block_cache: u64,
}

/// Called for each key and value of a scan; `Break` ends it.
pub type Visit<'a> = &'a mut dyn FnMut(&[u8], &[u8]) -> Result<ControlFlow<()>, StorageError>;

/// A store of ordered keys in families. Every call may block on the disk.
///
/// Promises: a batch is atomic across families; batches are visible and durable in the order of
/// their commits; after `commit(_, true)` or `sync()` everything committed before survives a
/// power cut; after a failed sync nothing more is accepted.
pub trait Engine: Send + Sync + 'static {
    /// Writes a batch; with `sync`, returns when it is on disk.
    ///
    /// # Errors
    /// When the store refuses; the batch may still be found after a restart.
    fn commit(&self, batch: &Batch, sync: bool) -> Result<(), StorageError>;

    /// Returns when everything committed so far is on disk.
    ///
    /// # Errors
    /// As [`Engine::commit`].
    fn sync(&self) -> Result<(), StorageError>;

    /// Reads one value.
    ///
    /// # Errors
    /// When the disk fails or the family does not exist.
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>, StorageError>;

    /// Reads many values, in the order of the keys.
    ///
    /// # Errors
    /// As [`Engine::get`], when one of them cannot be read.
    fn get_many(&self, keys: &[(Family, Vec<u8>)]) -> Result<Vec<Option<Vec<u8>>>, StorageError> {
        keys.iter().map(|(family, key)| self.get(*family, key)).collect()
    }

    /// Visits the keys in `from..to` in order.
    ///
    /// # Errors
    /// As [`Engine::get`], and what `visit` answers.
    fn scan(&self, family: Family, from: &[u8], to: &[u8], visit: Visit<'_>) -> Result<(), StorageError>;

    /// Makes families for these partitions; existing ones are kept.
    ///
    /// # Errors
    /// When the disk fails.
    fn create_partitions(&self, partitions: &[PartitionId]) -> Result<(), StorageError>;

    /// Partitions that have a family, in order.
    fn partitions(&self) -> Vec<PartitionId>;

    /// About how many keys a partition has; 0 when nobody can say.
    fn keys_of(&self, _partition: PartitionId) -> u64 {
        0
    }

    /// About how many bytes the next start would read again from the log of the store itself.
    fn unflushed(&self) -> u64 {
        0
    }

    /// Moves those bytes to where a start need not read them. Changes nothing that anyone sees.
    ///
    /// # Errors
    /// As [`Engine::commit`].
    fn flush(&self) -> Result<(), StorageError> {
        Ok(())
    }

    /// How long the oldest of the writes that are under way has taken so far.
    fn waits(&self) -> Duration {
        Duration::ZERO
    }

    /// Space used.
    fn usage(&self) -> Usage;
}
