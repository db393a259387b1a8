//! The thread that turns committed records into rows and index changes.
//!
//! It takes all records that wait, of all partitions, and writes their rows in one batch, together
//! with how far each partition is applied; then it changes each collection's index once. No fsync:
//! the records are durable in the log, and a batch that is lost is applied again at the next start.
//! Rows come before the index, so whatever a search finds can be read.
//!
//! Whether a row was there before, and of which version, is asked of the index, which has that in memory, as long as it shows
//! exactly the rows of the store by the digests of both; else of the store. So what the store's digest says never
//! follows an index that has gone another way, and is there to find it out.
//!
//! What another member sends of a partition's rows, and the end of a copy, go the same way: so the index has one
//! writer, and sees everything in the order in which the rows do. And whoever compares copies looks at them between two
//! batches, when rows and index show the same writes.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, hash_map::Entry},
    sync::Arc,
};

use tokio::sync::{mpsc, oneshot, watch};

use super::{
    level::level_partition,
    recover::read_applied,
    snapshot::Pairs,
    state::{Applied, Committed},
    verify::{Glance, Moment, Moments},
};
use crate::{
    index::{Change, CollectionIndex, Digest, Registry, View},
    storage::{
        Batch, Engine, Family, StorageError,
        keys::{self, applied, copy, dedup, digest, log, row, tombstone},
    },
    types::{ClusterView, CollectionId, EntryId, Mutation, MutationOutcome, PartitionId, Version},
};

/// Records of one batch.
const MAX_BATCH: usize = 4_096;
/// Records that may wait.
const QUEUE: usize = 4_096;

enum Job {
    Apply { partition: PartitionId, committed: Committed, done: oneshot::Sender<Applied> },
    Purge { collection: CollectionId, done: oneshot::Sender<()> },
    Install { partition: PartitionId, install: Install, done: oneshot::Sender<()> },
    Look { partition: PartitionId, done: oneshot::Sender<Boundary> },
    LevelIndex { partition: PartitionId, done: oneshot::Sender<u64> },
}

/// A copy between two batches: rows and indexes show the same writes.
pub(super) struct Boundary {
    /// What it says of its rows, now and at some versions before.
    pub(super) glance: Glance,
    /// The indexes of all collections.
    pub(super) views: BTreeMap<CollectionId, Arc<View>>,
}

/// A change of a copy that is not a record: rows as another member has them, or the end of the copy.
#[derive(Debug, Default)]
pub struct Install {
    /// Rows, bookkeeping and log of this copy go first.
    pub clear: bool,
    /// Keys and values of the partition's family, as another member has them.
    pub pairs: Pairs,
    /// Nothing is missing: the rows are those of the log up to here.
    pub complete: Option<Version>,
    /// What the copy has promised from now on.
    pub copy: copy::CopyState,
}

/// Told when rows cannot be written any more.
pub trait ApplierObserver: Send + 'static {
    /// The member takes no more writes.
    fn failed(&self, why: &str);
}

/// Handle to the thread. The thread ends when all handles are gone and all jobs are done.
#[derive(Clone)]
pub struct Applier {
    jobs: mpsc::Sender<Job>,
}

impl Applier {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the operating system gives no thread.
    pub fn start(
        engine: Arc<dyn Engine>,
        indexes: Arc<Registry>,
        view: watch::Receiver<Arc<ClusterView>>,
        observer: impl ApplierObserver,
    ) -> std::io::Result<(Self, std::thread::JoinHandle<()>)> {
        let (jobs, inbox) = mpsc::channel(QUEUE);
        let (digests, moments) = (Digests::default(), Moments::default());
        let worker = Worker { engine, indexes, view, digests, moments };
        let thread = std::thread::Builder::new().name("applier".into()).spawn(move || {
            if let Err(error) = worker.run(inbox) {
                tracing::error!(%error, "rows cannot be written: this member takes no more writes");
                observer.failed(&error.to_string());
            }
        })?;
        Ok((Self { jobs }, thread))
    }

    /// Hands in a committed record. The receiver fails when the thread has ended.
    pub async fn apply(&self, partition: PartitionId, committed: Committed) -> oneshot::Receiver<Applied> {
        let (done, applied) = oneshot::channel();
        // A closed queue drops `done`, which the receiver reports.
        let _ = self.jobs.send(Job::Apply { partition, committed, done }).await;
        applied
    }

    /// Hands in a change of a whole copy. The receiver is told when it is on the disk and the indexes show it;
    /// it fails when the thread has ended.
    pub async fn install(&self, partition: PartitionId, install: Install) -> oneshot::Receiver<()> {
        let (done, installed) = oneshot::channel();
        let _ = self.jobs.send(Job::Install { partition, install, done }).await;
        installed
    }

    /// A handle that looks at copies and does not keep the thread alive.
    pub fn looker(&self) -> Looker {
        Looker { jobs: self.jobs.downgrade() }
    }

    /// A handle that asks for purges and does not keep the thread alive.
    pub fn purger(&self) -> Purger {
        Purger { jobs: self.jobs.downgrade() }
    }
}

/// Looks at copies between two batches.
#[derive(Clone)]
pub struct Looker {
    jobs: mpsc::WeakSender<Job>,
}

impl Looker {
    /// A copy as it is; `None` when the thread has ended.
    pub(super) async fn look(&self, partition: PartitionId) -> Option<Boundary> {
        let (done, seen) = oneshot::channel();
        self.jobs.upgrade()?.send(Job::Look { partition, done }).await.ok()?;
        seen.await.ok()
    }

    /// Makes the indexes show the rows of a partition; gives how many rows that took.
    pub(super) async fn level_index(&self, partition: PartitionId) -> Option<u64> {
        let (done, levelled) = oneshot::channel();
        self.jobs.upgrade()?.send(Job::LevelIndex { partition, done }).await.ok()?;
        levelled.await.ok()
    }
}

/// Asks for the rows of dropped collections to be removed.
#[derive(Clone)]
pub struct Purger {
    jobs: mpsc::WeakSender<Job>,
}

impl Purger {
    /// Removes the rows and the index of a dropped collection, behind all records before it.
    pub async fn purge(&self, collection: CollectionId) -> oneshot::Receiver<()> {
        let (done, purged) = oneshot::channel();
        if let Some(jobs) = self.jobs.upgrade() {
            let _ = jobs.send(Job::Purge { collection, done }).await;
        }
        purged
    }
}

struct Worker {
    engine: Arc<dyn Engine>,
    indexes: Arc<Registry>,
    view: watch::Receiver<Arc<ClusterView>>,
    digests: Digests,
    moments: Moments,
}

impl Worker {
    fn run(mut self, mut inbox: mpsc::Receiver<Job>) -> Result<(), StorageError> {
        while let Some(first) = inbox.blocking_recv() {
            // A new list each time: that of an import would stay as long as it ever was.
            let mut jobs = vec![first];
            while jobs.len() < MAX_BATCH
                && let Ok(next) = inbox.try_recv()
            {
                jobs.push(next);
            }
            self.work(jobs)?;
        }
        Ok(())
    }

    fn work(&mut self, jobs: Vec<Job>) -> Result<(), StorageError> {
        let mut group = Vec::new();
        for job in jobs {
            match job {
                Job::Install { partition, install, done } => {
                    self.apply(std::mem::take(&mut group))?;
                    self.install(partition, install)?;
                    let _ = done.send(());
                }
                Job::Look { partition, done } => {
                    self.apply(std::mem::take(&mut group))?;
                    match self.look(partition) {
                        Ok(boundary) => _ = done.send(boundary),
                        Err(error) => tracing::warn!(%partition, %error, "a copy cannot be looked at"),
                    }
                }
                Job::LevelIndex { partition, done } => {
                    self.apply(std::mem::take(&mut group))?;
                    let view = Arc::clone(&self.view.borrow_and_update());
                    match level_partition(&*self.engine, &view, &self.indexes, partition) {
                        Ok(changes) => _ = done.send(changes),
                        Err(error) => tracing::error!(%partition, %error, "an index cannot be mended"),
                    }
                }
                job => group.push(job),
            }
        }
        self.apply(group)
    }

    fn install(&mut self, partition: PartitionId, install: Install) -> Result<(), StorageError> {
        let view = Arc::clone(&self.view.borrow_and_update());
        let live = |collection| view.collection_by_id(collection).is_some();
        let family = Family::Partition(partition);
        let mut batch = Batch::default();
        if install.clear {
            clear(&mut batch, partition);
        }
        let mut changes: BTreeMap<CollectionId, Vec<Change>> = BTreeMap::new();
        for (key, value) in install.pairs {
            // A collection that was dropped meanwhile is purged here, too: what comes after that must not stay.
            if row::is_key(&key) {
                let (collection, id) = row::parse_key(&key)?;
                if !live(collection) {
                    continue;
                }
                let stored = row::decode(id, &value)?;
                let change = Change::Put { partition, entry: stored.entry, version: stored.version };
                changes.entry(collection).or_default().push(change);
            } else if digest::collection(&key).is_some_and(|collection| !live(collection))
                || tombstone::is_key(&key)
            {
                continue;
            }
            batch.put(family, key.to_vec(), value.to_vec());
        }
        if let Some(at) = install.complete {
            let point = applied::Applied {
                epoch: at.epoch,
                sequence: at.sequence,
                log_first: at.sequence + 1,
                log_bytes: 0,
                has_digests: true,
            };
            batch.put(family, applied::key(), keys::seal(&point));
        }
        batch.put(Family::Member, copy::key(partition), copy::encode(&install.copy));
        self.engine.commit(&batch, true)?;
        self.digests.forget_partition(partition);
        self.moments.forget(partition);
        if install.clear {
            self.indexes.all().iter().for_each(|index| index.drop_partition(partition));
        }
        for (collection, changes) in changes {
            self.change_index(&view, collection, changes)?;
        }
        Ok(())
    }

    fn look(&mut self, partition: PartitionId) -> Result<Boundary, StorageError> {
        let view = Arc::clone(&self.view.borrow_and_update());
        let point = read_applied(&*self.engine, partition)?.unwrap_or_default();
        let at = Version { epoch: point.epoch, sequence: point.sequence };
        let now = Effects::new(&*self.engine, None, &mut self.digests).moment(partition, at, &view)?;
        let (mut views, mut index) = (BTreeMap::new(), BTreeSet::new());
        for id in view.collections().map(|collection| collection.id) {
            let found = self.indexes.get(id);
            let shown = found.as_ref().map(|index| index.digest(partition)).unwrap_or_default();
            if shown != now.digests.get(&id).copied().unwrap_or_default() {
                index.insert(id);
            }
            views.extend(found.map(|index| (id, index.view())));
        }
        let moments = [now].into_iter().chain(self.moments.of(partition)).collect();
        Ok(Boundary { glance: Glance { table_version: view.version(), moments, index }, views })
    }

    fn change_index(
        &self,
        view: &ClusterView,
        collection: CollectionId,
        changes: Vec<Change>,
    ) -> Result<(), StorageError> {
        let Some(collection) = view.collection_by_id(collection) else { return Ok(()) };
        let index = self.indexes.get_or_create(collection.id, &collection.config);
        index.map_err(|e| StorageError::Io(e.to_string()))?.apply(changes);
        Ok(())
    }

    fn apply(&mut self, jobs: Vec<Job>) -> Result<(), StorageError> {
        if jobs.is_empty() {
            // Also an empty batch is a write: with a look each second the store would never be quiet, and never flushed.
            return Ok(());
        }
        let view = Arc::clone(&self.view.borrow_and_update());
        let mut effects = Effects::new(&*self.engine, Some(&self.indexes), &mut self.digests);
        let mut answers = Vec::new();
        let mut purges = Vec::new();
        for job in jobs {
            match job {
                Job::Apply { partition, committed, done } => {
                    let live = view.collection_by_id(committed.operation.collection).is_some();
                    let version = committed.version;
                    answers.push((done, effects.add(partition, committed, live)?));
                    if Moments::keeps(version) {
                        self.moments.note(partition, effects.moment(partition, version, &view)?);
                    }
                }
                Job::Purge { collection, done } => purges.push((collection, done)),
                // Not in a group.
                Job::Install { .. } | Job::Look { .. } | Job::LevelIndex { .. } => {}
            }
        }
        let (mut batch, changes) = effects.finish();
        for (collection, _) in &purges {
            for partition in self.engine.partitions() {
                let (from, to) = row::all_of(*collection);
                batch.delete_range(Family::Partition(partition), from, to);
                batch.delete(Family::Partition(partition), digest::key(*collection));
            }
            self.digests.forget(*collection);
        }
        self.engine.commit(&batch, false)?;
        for (collection, changes) in changes {
            self.change_index(&view, collection, changes)?;
        }
        for (collection, done) in purges {
            self.indexes.remove(collection);
            let _ = done.send(());
        }
        for (done, applied) in answers {
            // An owner that has ended needs no answer.
            let _ = done.send(applied);
        }
        Ok(())
    }
}

/// Which rows each collection has in each partition, as far as it was asked.
#[derive(Default)]
pub(super) struct Digests {
    known: HashMap<(PartitionId, CollectionId), Digest>,
}

impl Digests {
    fn of(
        &mut self,
        engine: &dyn Engine,
        partition: PartitionId,
        collection: CollectionId,
    ) -> Result<&mut Digest, StorageError> {
        let digest = match self.known.entry((partition, collection)) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => {
                let stored = engine.get(Family::Partition(partition), &digest::key(collection))?;
                let stored = stored.map(|bytes| open_digest(partition, &bytes)).transpose()?;
                new.insert(stored.unwrap_or_default())
            }
        };
        Ok(digest)
    }

    fn forget(&mut self, collection: CollectionId) {
        self.known.retain(|(_, known), _| *known != collection);
    }

    fn forget_partition(&mut self, partition: PartitionId) {
        self.known.retain(|(known, _), _| *known != partition);
    }
}

/// Rows, bookkeeping and log of a copy go.
pub(super) fn clear(batch: &mut Batch, partition: PartitionId) {
    batch.delete_range(Family::Partition(partition), Vec::new(), vec![u8::MAX]);
    let (from, to) = log::range(partition, 0, u64::MAX);
    batch.delete_range(Family::Oplog, from, to);
}

/// Reads a stored digest.
pub(super) fn open_digest(partition: PartitionId, bytes: &[u8]) -> Result<Digest, StorageError> {
    let stored: digest::RowsDigest = keys::open(&format!("a digest of rows of {partition}"), bytes)?;
    Ok(Digest { count: stored.count, hash: stored.hash })
}

/// The stored form of a digest.
pub(super) fn seal_digest(digest: Digest) -> Vec<u8> {
    keys::seal(&digest::RowsDigest { count: digest.count, hash: digest.hash })
}

/// Collects what committed records do: one batch of rows, one list of changes per collection.
pub(super) struct Effects<'a> {
    engine: &'a dyn Engine,
    indexes: Option<&'a Registry>,
    batch: Batch,
    changes: BTreeMap<CollectionId, Vec<Change>>,
    applied: HashMap<PartitionId, applied::Applied>,
    /// Rows written by this batch and not yet in the store: their versions, if they exist.
    written: HashMap<Vec<u8>, Option<Version>>,
    /// The index, where it shows the rows that were there before this batch, and no others.
    shown: HashMap<(PartitionId, CollectionId), Option<Arc<CollectionIndex>>>,
    digests: &'a mut Digests,
    /// Whose digests this batch changes.
    changed: BTreeSet<(PartitionId, CollectionId)>,
}

impl<'a> Effects<'a> {
    /// `indexes`: those that change with these rows, and with nothing else until the batch is done.
    pub(super) fn new(
        engine: &'a dyn Engine,
        indexes: Option<&'a Registry>,
        digests: &'a mut Digests,
    ) -> Self {
        Self {
            engine,
            indexes,
            batch: Batch::default(),
            changes: BTreeMap::new(),
            applied: HashMap::new(),
            written: HashMap::new(),
            shown: HashMap::new(),
            digests,
            changed: BTreeSet::new(),
        }
    }

    /// Adds a record; `live` is false when its collection has been dropped.
    pub(super) fn add(
        &mut self,
        partition: PartitionId,
        committed: Committed,
        live: bool,
    ) -> Result<Applied, StorageError> {
        let Committed { version, operation, fingerprint, forget_request, trim_below, kept } = committed;
        let family = Family::Partition(partition);
        let outcome = if live {
            let mut existed = Vec::with_capacity(operation.mutations.len());
            let collection = operation.collection;
            for mutation in operation.mutations {
                let key = row::key(collection, mutation.id());
                let puts = matches!(mutation, Mutation::Put(_));
                let old = match self.written.insert(key.clone(), puts.then_some(version)) {
                    Some(written) => written,
                    None => self.version_before(partition, collection, mutation.id(), &key)?,
                };
                existed.push(old.is_some());
                if puts || old.is_some() {
                    let digest = self.digests.of(self.engine, partition, collection)?;
                    let id = mutation.id().as_str();
                    old.iter().for_each(|old| digest.remove(id, *old));
                    puts.then(|| digest.add(id, version));
                    self.changed.insert((partition, collection));
                }
                let changes = self.changes.entry(collection).or_default();
                match mutation {
                    Mutation::Put(entry) => {
                        self.batch.put(family, key, row::encode(&entry, version));
                        changes.push(Change::Put { partition, entry, version });
                    }
                    Mutation::Delete(id) => {
                        self.batch.delete(family, key);
                        changes.push(Change::Delete { partition, id, version });
                    }
                }
            }
            Some(MutationOutcome { version, existed })
        } else {
            None
        };
        if let Some(id) = operation.request_id {
            let remembered = dedup::Remembered {
                request_id: id.as_str().to_owned(),
                fingerprint,
                epoch: version.epoch,
                existed: outcome.as_ref().map_or_else(Vec::new, |o| o.existed.clone()),
                collection_gone: outcome.is_none(),
            };
            self.batch.put(family, dedup::key(version.sequence), keys::seal(&remembered));
        }
        if let Some(sequence) = forget_request {
            self.batch.delete(family, dedup::key(sequence));
        }
        if let Some(below) = trim_below {
            let (from, to) = log::range(partition, 0, below);
            self.batch.delete_range(Family::Oplog, from, to);
        }
        let point = applied::Applied {
            epoch: version.epoch,
            sequence: version.sequence,
            log_first: kept.first,
            log_bytes: kept.bytes,
            has_digests: true,
        };
        self.applied.insert(partition, point);
        Ok(outcome)
    }

    /// The version of a row before this batch.
    fn version_before(
        &mut self,
        partition: PartitionId,
        collection: CollectionId,
        id: &EntryId,
        key: &[u8],
    ) -> Result<Option<Version>, StorageError> {
        let shown = match self.shown.entry((partition, collection)) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => {
                // The first row of this partition in the batch: the digest is that from before.
                let rows = *self.digests.of(self.engine, partition, collection)?;
                let index = self.indexes.and_then(|indexes| indexes.get(collection));
                new.insert(index.filter(|index| index.digest(partition) == rows))
            }
        };
        match shown {
            Some(index) => Ok(index.version(id)),
            None => {
                let stored = self.engine.get(Family::Partition(partition), key)?;
                stored.map(|row| row::version(&row)).transpose()
            }
        }
    }

    /// Which rows a partition has after what was added so far.
    pub(super) fn moment(
        &mut self,
        partition: PartitionId,
        at: Version,
        view: &ClusterView,
    ) -> Result<Moment, StorageError> {
        let mut digests = BTreeMap::new();
        for collection in view.collections() {
            digests.insert(collection.id, *self.digests.of(self.engine, partition, collection.id)?);
        }
        Ok(Moment { at, digests })
    }

    /// The batch, with how far each partition is applied and which rows it has, and the changes of each index.
    pub(super) fn finish(mut self) -> (Batch, BTreeMap<CollectionId, Vec<Change>>) {
        for (partition, point) in self.applied {
            self.batch.put(Family::Partition(partition), applied::key(), keys::seal(&point));
        }
        for (partition, collection) in self.changed {
            if let Some(digest) = self.digests.known.get(&(partition, collection)) {
                self.batch.put(Family::Partition(partition), digest::key(collection), seal_digest(*digest));
            }
        }
        (self.batch, self.changes)
    }
}
