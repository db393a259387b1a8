//! Many writes on one stream.
//!
//! ```text
//! entries ──► batches (by bytes and count) ──► window of batches in flight ──► UpsertStream
//!                       ▲                                   │
//!                       └── again: retry, or split ◄────────┘  answers, in order
//! ```
//!
//! What it promises:
//!
//! - Memory is bounded by `in_flight × batch_bytes`; a slow daemon slows the reading of the input.
//! - A batch that met overload, a restart or a broken connection is sent again under the same
//!   request id, so it takes effect once. An overloaded daemon slows the load down; one that is
//!   gone for 30 seconds ends it.
//! - One bad entry does not take its batch with it: a refused batch is halved until the bad entries
//!   are alone; those are reported and the rest is stored.
//! - When an id occurs twice in the input, the later entry wins, whatever has to be retried (`window`).
//!
//! What it leaves out: resuming after the process died. [`BulkReport::resume_at`] says where to
//! start again.

mod batch;
mod run;
mod window;

use std::{fmt, time::Duration};

use futures::{Stream, stream};
use serde::Serialize;

use crate::{Client, Entry, EntryError, Error};

/// Most errors that a report keeps; the rest is counted and given to [`Bulk::on_error`].
pub(crate) const MAX_KEPT_ERRORS: usize = 1_000;

type OnProgress<'a> = Box<dyn FnMut(&BulkProgress) + Send + 'a>;
type OnError<'a> = Box<dyn FnMut(&EntryError, Entry) + Send + 'a>;

/// A bulk load; [`Client::bulk`] starts one.
///
/// ```no_run
/// # async fn example(client: vecgrid_client::Client) -> vecgrid_client::Result<()> {
/// use vecgrid_client::Entry;
/// let entries = (0..1_000_000).map(|i| Entry::new(i.to_string()).vector([i as f32, 1.0, 0.0]));
/// let report = client
///     .bulk("films")
///     .on_progress(|progress| eprintln!("{} entries", progress.acknowledged))
///     .run_iter(entries)
///     .await?;
/// println!("{} stored, {} refused", report.upserted, report.failed);
/// # Ok(())
/// # }
/// ```
#[must_use = "a bulk load does nothing until `run`"]
pub struct Bulk<'a> {
    pub(crate) client: Client,
    pub(crate) collection: String,
    pub(crate) batch_bytes: usize,
    pub(crate) batch_entries: usize,
    pub(crate) in_flight: usize,
    pub(crate) patience: Duration,
    pub(crate) on_progress: Option<OnProgress<'a>>,
    pub(crate) on_error: Option<OnError<'a>>,
}

impl Client {
    /// Starts a bulk load into a collection.
    pub fn bulk<'a>(&self, collection: impl Into<String>) -> Bulk<'a> {
        Bulk {
            client: self.clone(),
            collection: collection.into(),
            batch_bytes: 2 << 20,
            batch_entries: 1_000,
            in_flight: 8,
            patience: Duration::from_secs(300),
            on_progress: None,
            on_error: None,
        }
    }

    /// Stores all entries of a stream with the default options of [`Client::bulk`].
    ///
    /// # Errors
    /// When the load had to stop; [`BulkError::report`] says how far it came.
    pub async fn upsert_stream<S>(
        &self,
        collection: impl Into<String>,
        entries: S,
    ) -> Result<BulkReport, BulkError>
    where
        S: Stream<Item = Entry> + Send,
    {
        self.bulk(collection).run(entries).await
    }
}

impl<'a> Bulk<'a> {
    /// Size of a batch on the wire. A single larger entry travels alone. Default: 2 MiB.
    pub fn batch_bytes(mut self, bytes: usize) -> Self {
        self.batch_bytes = bytes.max(1);
        self
    }

    /// Entries per batch, 1 to 10,000. Default: 1,000.
    pub fn batch_entries(mut self, entries: usize) -> Self {
        self.batch_entries = entries.clamp(1, 10_000);
        self
    }

    /// Batches that wait for an answer at a time. Default: 8.
    pub fn in_flight(mut self, batches: usize) -> Self {
        self.in_flight = batches.clamp(1, 64);
        self
    }

    /// Gives up when nothing was acknowledged for this long, although the daemon answers: it is
    /// overloaded. Default: 5 minutes. A daemon that does not answer at all, or is not there, is
    /// given up after 30 seconds, the client's deadline or this, whichever is longest but not above
    /// this.
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Called after each answer.
    pub fn on_progress(mut self, call: impl FnMut(&BulkProgress) + Send + 'a) -> Self {
        self.on_progress = Some(Box::new(call));
        self
    }

    /// Called for each entry that was not stored, with the entry.
    pub fn on_error(mut self, call: impl FnMut(&EntryError, Entry) + Send + 'a) -> Self {
        self.on_error = Some(Box::new(call));
        self
    }

    /// [`Bulk::run`] over an iterator. It runs inside the caller's task: an iterator that blocks
    /// (on a file, say) belongs on a thread of its own, with a channel in between.
    ///
    /// # Errors
    /// As for [`Bulk::run`].
    pub async fn run_iter<I>(self, entries: I) -> Result<BulkReport, BulkError>
    where
        I: IntoIterator<Item = Entry>,
        I::IntoIter: Send,
    {
        self.run(stream::iter(entries)).await
    }

    /// Stores all entries of a stream.
    ///
    /// # Errors
    /// When the load had to stop: the collection is not there, the disk failed, the daemon is gone
    /// for longer than the patience. Refused entries are no error; the report lists them.
    pub async fn run<S>(self, entries: S) -> Result<BulkReport, BulkError>
    where
        S: Stream<Item = Entry> + Send,
    {
        Box::pin(run::run(self, entries)).await
    }
}

impl fmt::Debug for Bulk<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bulk").field("collection", &self.collection).finish_non_exhaustive()
    }
}

/// How far a load is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct BulkProgress {
    /// Entries that are answered: stored or refused.
    pub acknowledged: u64,
    /// Of these, refused.
    pub failed: u64,
    /// Bytes of the answered batches on the wire.
    pub bytes: u64,
    /// Batches that had to be sent again.
    pub retries: u64,
}

/// What came of a load.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[non_exhaustive]
pub struct BulkReport {
    /// Entries that are answered: stored or refused.
    pub acknowledged: u64,
    /// Entries stored, an id that occurs twice in one batch counted once.
    pub upserted: u64,
    /// Entries not stored.
    pub failed: u64,
    /// Bytes of the answered batches on the wire.
    pub bytes: u64,
    /// Batches that had to be sent again.
    pub retries: u64,
    /// The input's entries before this position are all answered: after a failure, start here.
    pub resume_at: u64,
    /// The first thousand errors.
    pub errors: Vec<EntryError>,
}

/// A load that had to stop.
#[derive(Debug, Clone, thiserror::Error)]
#[error(
    "the load stopped after {} acknowledged entries; the first {} of the input are done",
    .report.acknowledged,
    .report.resume_at
)]
pub struct BulkError {
    /// How far it came. Entries after [`BulkReport::resume_at`] may or may not be stored.
    pub report: BulkReport,
    /// Why it stopped.
    #[source]
    pub error: Error,
}

impl From<BulkError> for Error {
    fn from(error: BulkError) -> Self {
        error.error
    }
}
