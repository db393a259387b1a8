//! Group commit: one thread writes the logs of all partitions.
//!
//! Owners of partitions hand in records; the thread takes all that wait, writes them in one batch
//! with one fsync, and tells each owner. So an fsync serves as many writes as came while the last
//! one ran, without any timer. Records of collections with `durability = interval` or `none` are
//! answered after the write; the thread syncs within a second of the first unsynced interval one.
//!
//! After a failed write or fsync nothing is acknowledged any more: every later append fails.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::{mpsc, oneshot};

use super::{Batch, Engine};
use crate::types::Durability;

/// Longest time an `interval` write waits for its fsync.
const SYNC_INTERVAL: Duration = Duration::from_secs(1);
/// Bytes of records in one batch, so that one fsync never waits for an endless write.
const MAX_BATCH_BYTES: usize = 8 << 20;

/// The log could not be written; the text says why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogFailed(pub Arc<str>);

/// Records to make durable, all or nothing: usually one of a partition's log.
pub struct Append {
    /// What is written.
    pub batch: Batch,
    /// About how much that is.
    pub bytes: usize,
    /// When `done` may be told.
    pub durability: Durability,
    /// Told when it is as durable as asked.
    pub done: oneshot::Sender<Result<(), LogFailed>>,
}

/// What the thread reports about itself; implemented by the metrics.
pub trait FsyncObserver: Send + 'static {
    /// A batch of `records` records was written; `fsync` is how long the synced write took.
    fn committed(&self, records: usize, fsync: Option<Duration>);
    /// The log failed; the member takes no more writes.
    fn failed(&self, why: &str);
}

/// Handle to the thread. The thread ends when all handles are gone and all records are written.
#[derive(Clone)]
pub struct LogWriter {
    appends: mpsc::Sender<Append>,
}

impl LogWriter {
    /// Starts the thread. `waiting` bounds the records that wait for it.
    ///
    /// # Errors
    /// When the operating system gives no thread.
    pub fn start(
        engine: Arc<dyn Engine>,
        waiting: usize,
        observer: impl FsyncObserver,
    ) -> std::io::Result<(Self, std::thread::JoinHandle<()>)> {
        let (appends, inbox) = mpsc::channel(waiting);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        let thread = std::thread::Builder::new().name("log-writer".into()).spawn(move || {
            let mut writer = Writer { engine, observer, unsynced_since: None, failed: None };
            runtime.block_on(writer.run(inbox));
        })?;
        Ok((Self { appends }, thread))
    }

    /// Hands in a record; waits while too many wait already. False when the thread has ended.
    pub async fn append(&self, append: Append) -> bool {
        self.appends.send(append).await.is_ok()
    }
}

struct Writer<O> {
    engine: Arc<dyn Engine>,
    observer: O,
    unsynced_since: Option<Instant>,
    failed: Option<LogFailed>,
}

impl<O: FsyncObserver> Writer<O> {
    async fn run(&mut self, mut inbox: mpsc::Receiver<Append>) {
        loop {
            let first = match self.unsynced_since {
                None => inbox.recv().await,
                Some(since) => {
                    let left = SYNC_INTERVAL.saturating_sub(since.elapsed());
                    match tokio::time::timeout(left, inbox.recv()).await {
                        Ok(received) => received,
                        Err(_) => {
                            self.sync();
                            continue;
                        }
                    }
                }
            };
            let Some(first) = first else { break };
            let mut group = vec![first];
            let mut bytes = 0;
            while bytes < MAX_BATCH_BYTES
                && let Ok(next) = inbox.try_recv()
            {
                bytes += next.bytes;
                group.push(next);
            }
            self.commit(group);
        }
        if self.unsynced_since.is_some() {
            self.sync();
        }
    }

    fn commit(&mut self, mut group: Vec<Append>) {
        if let Some(failed) = &self.failed {
            for append in group {
                let _ = append.done.send(Err(failed.clone()));
            }
            return;
        }
        let mut batch = Batch::default();
        for append in &mut group {
            batch.append(std::mem::take(&mut append.batch));
        }
        let due = self.unsynced_since.is_some_and(|since| since.elapsed() >= SYNC_INTERVAL);
        let sync = due || group.iter().any(|append| append.durability == Durability::Sync);
        let started = Instant::now();
        let result = self.engine.commit(&batch, sync);
        match result {
            Ok(()) => {
                self.observer.committed(group.len(), sync.then(|| started.elapsed()));
                if sync {
                    self.unsynced_since = None;
                } else if group.iter().any(|append| append.durability == Durability::Interval) {
                    self.unsynced_since.get_or_insert(started);
                }
                for append in group {
                    // An owner that has gone needs no answer.
                    let _ = append.done.send(Ok(()));
                }
            }
            Err(error) => {
                let failed = self.fail(&error.to_string());
                for append in group {
                    let _ = append.done.send(Err(failed.clone()));
                }
            }
        }
    }

    fn sync(&mut self) {
        self.unsynced_since = None;
        let started = Instant::now();
        match self.engine.sync() {
            Ok(()) => self.observer.committed(0, Some(started.elapsed())),
            Err(error) => {
                self.fail(&error.to_string());
            }
        }
    }

    fn fail(&mut self, why: &str) -> LogFailed {
        tracing::error!(error = why, "the log cannot be written: this member takes no more writes");
        self.observer.failed(why);
        let failed = LogFailed(why.into());
        self.failed = Some(failed.clone());
        failed
    }
}
