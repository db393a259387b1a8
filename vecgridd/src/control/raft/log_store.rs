//! The log and the votes, on disk. Every write is synced before it counts, and in the order of the calls:
//! openraft makes the next call only when the one before has returned.

use std::{
    fmt::Debug,
    io,
    ops::{Bound, ControlFlow, RangeBounds},
};

use openraft::{
    LogState, RaftLogReader, StorageIOError,
    storage::{LogFlushed, RaftLogStorage},
};

use super::{ControlStore, Entry, LogId, RaftStorageError, Types, Vote};
use crate::storage::{
    Batch, Family, StorageError,
    keys::control::{committed_key, entry_key, open, purged_key, seal, vote_key},
};

/// See the module.
#[derive(Clone)]
pub struct LogStore {
    store: ControlStore,
}

impl LogStore {
    pub fn new(store: ControlStore) -> Self {
        Self { store }
    }

    fn entries(&self, from: u64, to: u64) -> Result<Vec<Entry>, StorageError> {
        let mut found = Vec::new();
        let visit = &mut |_: &[u8], bytes: &[u8]| {
            found.push(open("an entry of the control log", bytes)?);
            Ok(ControlFlow::Continue(()))
        };
        self.store.engine.scan(Family::Oplog, &entry_key(from), &entry_key(to), visit)?;
        Ok(found)
    }

    fn last(&self, purged: Option<&LogId>) -> Result<Option<LogId>, StorageError> {
        let from = purged.map_or(0, |id| id.index + 1);
        // Short: the log is cut at every snapshot.
        Ok(self.entries(from, u64::MAX)?.last().map(|entry| entry.log_id))
    }
}

fn reading(error: StorageError) -> RaftStorageError {
    StorageIOError::read_logs(&error).into()
}

fn writing(error: StorageError) -> RaftStorageError {
    StorageIOError::write_logs(&error).into()
}

impl RaftLogReader<Types> for LogStore {
    async fn try_get_log_entries<R: RangeBounds<u64> + Clone + Debug + Send>(
        &mut self,
        range: R,
    ) -> Result<Vec<Entry>, RaftStorageError> {
        let from = match range.start_bound() {
            Bound::Included(from) => *from,
            Bound::Excluded(before) => before + 1,
            Bound::Unbounded => 0,
        };
        let to = match range.end_bound() {
            Bound::Included(last) => last + 1,
            Bound::Excluded(to) => *to,
            Bound::Unbounded => u64::MAX,
        };
        self.entries(from, to).map_err(reading)
    }
}

impl RaftLogStorage<Types> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<Types>, RaftStorageError> {
        let purged: Option<LogId> = self.store.read("the purged entry", &purged_key()).map_err(reading)?;
        let last = self.last(purged.as_ref()).map_err(reading)?.or(purged);
        Ok(LogState { last_purged_log_id: purged, last_log_id: last })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), RaftStorageError> {
        self.store.put(vote_key(), vote, true).await.map_err(|e| StorageIOError::write_vote(&e).into())
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, RaftStorageError> {
        self.store.read("the vote", &vote_key()).map_err(|e| StorageIOError::read_vote(&e).into())
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), RaftStorageError> {
        // Before it is applied, and synced: after a power cut this member starts with no older state than it had
        // shown. Rows of a collection that it did not know would be taken for those of a dropped one.
        self.store.put(committed_key(), &committed, true).await.map_err(writing)
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, RaftStorageError> {
        let committed: Option<Option<LogId>> =
            self.store.read("the committed entry", &committed_key()).map_err(reading)?;
        Ok(committed.flatten())
    }

    async fn append<I>(&mut self, entries: I, flushed: LogFlushed<Types>) -> Result<(), RaftStorageError>
    where
        I: IntoIterator<Item = Entry> + Send,
        I::IntoIter: Send,
    {
        let mut batch = Batch::default();
        for entry in entries {
            batch.put(Family::Oplog, entry_key(entry.log_id.index), seal(&entry).map_err(writing)?);
        }
        let result = self.store.commit(batch, true).await;
        let told = result.as_ref().map(|_| ()).map_err(|e| io::Error::other(e.to_string()));
        flushed.log_io_completed(told);
        result.map_err(writing)
    }

    async fn truncate(&mut self, from: LogId) -> Result<(), RaftStorageError> {
        let mut batch = Batch::default();
        batch.delete_range(Family::Oplog, entry_key(from.index), entry_key(u64::MAX));
        self.store.commit(batch, true).await.map_err(writing)
    }

    async fn purge(&mut self, upto: LogId) -> Result<(), RaftStorageError> {
        let mut batch = Batch::default();
        batch.put(Family::Member, purged_key(), seal(&Some(&upto)).map_err(writing)?);
        batch.delete_range(Family::Oplog, entry_key(0), entry_key(upto.index + 1));
        self.store.commit(batch, true).await.map_err(writing)
    }
}
