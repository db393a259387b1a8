//! Drives a bulk load: one task, one stream, everything bounded.

use std::{collections::VecDeque, future::pending, pin::pin, time::Duration};

use futures::{Stream, StreamExt};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, sleep_until, timeout, timeout_at},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Status, Streaming};
use vecgrid_proto::v1 as pb;

use super::{
    Bulk, BulkError, BulkProgress, BulkReport, MAX_KEPT_ERRORS,
    batch::{Batch, Batcher},
    window::{Verdict, Window},
};
use crate::{
    Entry, EntryError, Error, Result,
    call::{Effect, Pauses},
    wire,
};

pub(crate) async fn run<S>(bulk: Bulk<'_>, entries: S) -> std::result::Result<BulkReport, BulkError>
where
    S: Stream<Item = Entry> + Send,
{
    let mut load = Load {
        window: Window::new(bulk.in_flight),
        batcher: Some(Batcher::new(bulk.batch_bytes, bulk.batch_entries)),
        ready: VecDeque::new(),
        report: BulkReport::default(),
        read: 0,
        pauses: Pauses::default(),
        setback: None,
        obstacle: None,
        limits: None,
        bulk,
    };
    let result = load.run(entries).await;
    load.report.resume_at = load.resume_at();
    match result {
        Ok(()) => Ok(load.report),
        Err(error) => Err(BulkError { report: load.report, error }),
    }
}

struct Load<'a> {
    bulk: Bulk<'a>,
    window: Window,
    /// `None` once the input has ended.
    batcher: Option<Batcher>,
    /// Batches that are cut and not yet sent: one, or two at the end of the input.
    ready: VecDeque<Batch>,
    report: BulkReport,
    /// Entries taken from the input.
    read: u64,
    pauses: Pauses,
    /// Why the current round of repeats is needed.
    setback: Option<Error>,
    /// The last of these since something was stored: the reason to give, when the load gives up.
    obstacle: Option<Error>,
    /// When to give up; `None` while nothing is under way.
    limits: Option<Limits>,
}

/// A daemon that says nothing is given up soon; one that says "not now" keeps its caller waiting
/// much longer, since that is how it slows a load down to what it can take.
#[derive(Debug, Clone, Copy)]
struct Limits {
    /// Moved on by every answer.
    silent_until: Instant,
    /// Moved on by every success.
    fruitless_until: Instant,
}

impl Limits {
    fn new(bulk: &Bulk<'_>) -> Self {
        let now = Instant::now();
        Self { silent_until: now + silence(bulk), fruitless_until: now + bulk.patience }
    }

    fn end(self) -> Instant {
        self.silent_until.min(self.fruitless_until)
    }
}

/// How long a daemon may say nothing at all.
fn silence(bulk: &Bulk<'_>) -> Duration {
    SILENCE.max(bulk.client.timeout).min(bulk.patience)
}

const SILENCE: Duration = Duration::from_secs(30);

/// One open stream.
struct Lane {
    requests: mpsc::Sender<pb::UpsertRequest>,
    answers: Streaming<pb::UpsertStreamResponse>,
}

impl Load<'_> {
    async fn run<S: Stream<Item = Entry> + Send>(&mut self, entries: S) -> Result<()> {
        let mut entries = pin!(entries);
        let mut lane: Option<Lane> = None;
        loop {
            self.send(&mut lane).await?;
            if self.batcher.is_none() && self.ready.is_empty() && self.window.is_empty() {
                end(lane).await;
                return Ok(());
            }
            let waits_for_answer = self.window.waits_for_answer();
            let wants_input = self.batcher.is_some() && self.ready.is_empty() && self.window.wants_new();
            let end = self.limits.map(Limits::end);
            tokio::select! {
                answer = next_answer(&mut lane), if waits_for_answer => match answer {
                    Ok(answer) => self.answered(answer).await?,
                    Err(status) => {
                        lane = None;
                        let error = Error::from_status(&status, Effect::Write, self.bulk.client.endpoint());
                        self.broke(error).await?;
                    }
                },
                () = until(end), if waits_for_answer => return Err(self.exhausted()),
                entry = entries.next(), if wants_input => self.take(entry),
            }
        }
    }

    fn take(&mut self, entry: Option<Entry>) {
        let Some(batcher) = &mut self.batcher else { return };
        match entry {
            Some(entry) => {
                self.read += 1;
                self.ready.extend(batcher.push(wire::entry_to_wire(&entry)));
            }
            None => {
                self.ready.extend(batcher.take());
                self.batcher = None;
            }
        }
    }

    /// Sends what may be sent now. The channel to the stream is as long as the window is wide, so
    /// this waits for nothing but the opening of a stream and the pause after a failed one.
    async fn send(&mut self, lane: &mut Option<Lane>) -> Result<()> {
        loop {
            let batch = match self.window.next_again() {
                Some(batch) => batch,
                None if self.ready.front().is_some_and(|batch| self.window.takes(batch)) => {
                    let Some(batch) = self.ready.pop_front() else { return Ok(()) };
                    batch
                }
                None => return Ok(()),
            };
            let end = self.limits.get_or_insert_with(|| Limits::new(&self.bulk)).end();
            let request = pb::UpsertRequest {
                collection: self.bulk.collection.clone(),
                entries: batch.entries.clone(),
                request_id: batch.request_id.clone(),
            };
            self.window.sent(batch);
            match lane {
                // When the daemon closed the stream this fails; the reason is the next answer.
                Some(lane) => {
                    let _ = lane.requests.send(request).await;
                }
                None => match self.open(request, end).await {
                    Ok(open) => *lane = Some(open),
                    Err(error) => self.broke(error).await?,
                },
            }
        }
    }

    /// Opens a stream. Its first request is already in it, since a server may answer nothing, not
    /// even headers, before it has one.
    async fn open(&self, first: pb::UpsertRequest, end: Instant) -> Result<Lane> {
        let (requests, queue) = mpsc::channel(self.bulk.in_flight);
        // A fresh channel has room.
        let _ = requests.try_send(first);
        let mut stub = self.bulk.client.stub.clone();
        let opening = stub.upsert_stream(Request::new(ReceiverStream::new(queue)));
        match timeout_at(end, opening).await {
            Ok(Ok(answers)) => Ok(Lane { requests, answers: answers.into_inner() }),
            Ok(Err(status)) => Err(Error::from_status(&status, Effect::Write, self.bulk.client.endpoint())),
            Err(_) => Err(Error::deadline(Effect::Write, silence(&self.bulk))),
        }
    }

    async fn answered(&mut self, answer: pb::UpsertStreamResponse) -> Result<()> {
        let Some(batch) = self.window.next_answered() else {
            return Err(Error::protocol("an answer without a request", Effect::Write));
        };
        if let Some(limits) = &mut self.limits {
            limits.silent_until = Instant::now() + silence(&self.bulk);
        }
        let verdict = match (answer.response, answer.failure) {
            (Some(response), None) => {
                self.stored(&batch, response);
                Ok(Verdict::Done)
            }
            (_, Some(failure)) => self.refused(&batch, Error::from_failure(failure, Effect::Write)),
            (None, None) => Err(Error::protocol("an empty answer", Effect::Write)),
        };
        let (settled_as, result) = match verdict {
            Ok(verdict) => (verdict, Ok(())),
            // Back into the window, so that the report knows that it is open.
            Err(error) => (Verdict::Again { unknown: error.is_unknown() }, Err(error)),
        };
        if settled_as == Verdict::Done {
            self.pauses.reset();
            self.limits = Some(Limits::new(&self.bulk));
            self.obstacle = None;
            self.progress();
        }
        let round_ended = self.window.settle(batch, settled_as);
        result?;
        if self.window.is_empty() {
            self.limits = None;
        }
        if round_ended { self.pause().await } else { Ok(()) }
    }

    /// The stream is gone, with all that was in flight.
    async fn broke(&mut self, error: Error) -> Result<()> {
        self.window.broke(error.is_unknown());
        if !error.is_retryable() {
            return Err(error);
        }
        self.setback = Some(error);
        self.pause().await
    }

    /// Waits before a round of repeats, or gives up.
    async fn pause(&mut self) -> Result<()> {
        // Halving needs no pause: the daemon has nothing to recover from.
        let Some(error) = self.setback.take() else { return Ok(()) };
        self.obstacle = Some(error.clone());
        self.report.retries += 1;
        let pause = self.pauses.next(error.retry_after());
        if self.limits.is_some_and(|limits| Instant::now() + pause >= limits.end()) {
            return Err(error);
        }
        sleep(pause).await;
        Ok(())
    }

    /// Why the load gives up although batches are in flight: what they do is not known.
    fn exhausted(&mut self) -> Error {
        match (self.limits, self.obstacle.take()) {
            (Some(limits), Some(error)) if limits.fruitless_until <= limits.silent_until => {
                error.into_unknown()
            }
            _ => Error::deadline(Effect::Write, silence(&self.bulk)),
        }
    }

    fn stored(&mut self, batch: &Batch, response: pb::UpsertResponse) {
        self.report.upserted += response.upserted;
        self.report.acknowledged += batch.entries.len() as u64;
        self.report.bytes += batch.bytes as u64;
        for error in response.errors {
            let entry = batch.entries.get(error.index as usize).cloned();
            let mut error = wire::entry_error_from_wire(error);
            error.index += batch.first;
            self.failed(error, entry);
        }
    }

    fn refused(&mut self, batch: &Batch, error: Error) -> Result<Verdict> {
        if blames_an_entry(error.code()) {
            let [entry] = batch.entries.as_slice() else { return Ok(Verdict::Split) };
            self.report.acknowledged += 1;
            self.report.bytes += batch.bytes as u64;
            let failed = EntryError {
                index: batch.first,
                id: entry.id.clone(),
                code: error.code().to_owned(),
                message: error.message().to_owned(),
                outcome: error.outcome(),
            };
            self.failed(failed, Some(entry.clone()));
            return Ok(Verdict::Done);
        }
        let error = if batch.unknown { error.into_unknown() } else { error };
        if !error.is_retryable() {
            return Err(error);
        }
        let verdict = Verdict::Again { unknown: error.is_unknown() };
        self.setback = Some(error);
        Ok(verdict)
    }

    fn failed(&mut self, error: EntryError, entry: Option<pb::Entry>) {
        self.report.failed += 1;
        let entry = entry.and_then(|entry| wire::entry_from_wire(entry).ok());
        if let (Some(call), Some(entry)) = (&mut self.bulk.on_error, entry) {
            call(&error, entry);
        }
        if self.report.errors.len() < MAX_KEPT_ERRORS {
            self.report.errors.push(error);
        }
    }

    fn progress(&mut self) {
        let BulkReport { acknowledged, failed, bytes, retries, .. } = self.report;
        if let Some(call) = &mut self.bulk.on_progress {
            call(&BulkProgress { acknowledged, failed, bytes, retries });
        }
    }

    fn resume_at(&self) -> u64 {
        let waiting = self.batcher.as_ref().map_or(self.read, Batcher::first);
        let ready = self.ready.front().map(|batch| batch.first);
        [self.window.oldest(), ready].into_iter().flatten().fold(waiting, u64::min)
    }
}

/// Whether a refusal is about one of the entries, rather than about the request or the collection.
fn blames_an_entry(code: &str) -> bool {
    matches!(
        code,
        "invalid_vector"
            | "wrong_dimension"
            | "zero_vector"
            | "invalid_id"
            | "invalid_metadata"
            | "invalid_entry"
    ) || code.ends_with("_too_large")
}

async fn next_answer(lane: &mut Option<Lane>) -> std::result::Result<pb::UpsertStreamResponse, Status> {
    let Some(lane) = lane else { return pending().await };
    match lane.answers.message().await? {
        Some(answer) => Ok(answer),
        None => Err(Status::unavailable("the daemon ended the stream")),
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => pending().await,
    }
}

/// Lets the daemon see a proper end instead of a cancelled stream. All answers are in already, so
/// nothing depends on this.
async fn end(lane: Option<Lane>) {
    if let Some(Lane { requests, mut answers }) = lane {
        drop(requests);
        let _ = timeout(Duration::from_secs(1), answers.message()).await;
    }
}
