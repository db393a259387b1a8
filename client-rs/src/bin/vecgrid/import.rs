//! `vecgrid import`
//!
//! ```text
//! files ─► source (a thread) ─► channel ─► check ─► bulk load ─► daemon
//!                                 bounded    │          │
//!                                            └► rejects ◄┘
//! ```
//!
//! Memory is bounded: a chunk of the file, the channel, and the batches in flight.

mod check;
mod rejects;
mod source;

use std::{
    path::PathBuf,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use clap::Args;
use futures::StreamExt;
use serde_json::json;
use tokio::{signal::ctrl_c, sync::mpsc};
use tokio_stream::wrappers::ReceiverStream;
use vecgrid_client::{BulkReport, Client, CollectionInfo, Entry};

use self::{check::Check, rejects::Rejects, source::Source};
use crate::{
    context::Context, create::Shape, exit, exit::Failure, formats::Format, formats::Row, output, progress,
};

/// Rows that wait between the file and the batches.
const CHANNEL_ROWS: usize = 256;

/// Load files of entries
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  vecgrid import films rows.ndjson
  vecgrid import films rows.parquet --create --metric cosine
  vecgrid import films vectors.npy --metadata rows.jsonl --id-field id --create
  embed < texts | vecgrid import films - --rejects bad.ndjson
  vecgrid import films rows.parquet --skip 120000              go on after an interruption
  vecgrid import films rows.parquet --dry-run                  check the file, store nothing

Formats, told by the extension or --format:
  NDJSON   {\"id\": \"a\", \"vector\": [0.1, 0.9], \"metadata\": {\"year\": 1979}}  on each line
  npy      two-dimensional f16, f32 or f64; --metadata has one JSON object per row
  Parquet  an id column, a vector column (list of floats); other columns become metadata

An id that exists is replaced; importing a file twice is harmless. Rows that are refused do not stop
the others (exit code 7); --rejects keeps them.")]
pub struct Import {
    /// The collection
    collection: String,
    /// Files, one after the other; `-` is standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// What the files are written in [default: by extension]
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// With .npy: a file with one JSON object per row
    #[arg(long, value_name = "FILE")]
    metadata: Option<PathBuf>,
    /// With --metadata: the field that holds the id [default: the row's number is the id]
    #[arg(long, value_name = "NAME", requires = "metadata")]
    id_field: Option<String>,
    /// Parquet: the column of ids
    #[arg(long, value_name = "NAME", default_value = "id")]
    id_column: String,
    /// Parquet: the column of vectors
    #[arg(long, value_name = "NAME", default_value = "vector")]
    vector_column: String,
    /// Make the collection, with the dimension of the first vector
    #[arg(long)]
    create: bool,
    #[command(flatten)]
    shape: Shape,
    /// Leave out the first rows
    #[arg(long, value_name = "ROWS", default_value_t = 0, hide_default_value = true)]
    skip: u64,
    /// Take at most so many rows
    #[arg(long, value_name = "ROWS")]
    limit: Option<u64>,
    /// Size of a request
    #[arg(long, value_name = "BYTES", default_value_t = 2 << 20)]
    batch_bytes: usize,
    /// Write rows that are refused to this file, with the reason, as NDJSON
    #[arg(long, value_name = "FILE")]
    rejects: Option<PathBuf>,
    /// Read and check everything, store nothing
    #[arg(long)]
    dry_run: bool,
}

/// What the reading side came upon.
#[derive(Default)]
struct Input {
    interrupted: AtomicBool,
    broken: Mutex<Option<anyhow::Error>>,
}

impl Import {
    pub async fn run(self, context: &Context) -> Result<u8> {
        let mut source = Source::open(&self)?;
        let total =
            source.total()?.map(|rows| rows.saturating_sub(self.skip).min(self.limit.unwrap_or(u64::MAX)));
        if source.forgot_id_field()? {
            eprintln!(
                "note: the metadata has a field `id`, but row numbers become ids; to use it: --id-field id"
            );
        }
        let rejects = Mutex::new(Rejects::create(self.rejects.as_deref(), self.skip, context.json())?);
        let input = Input::default();
        let started = Instant::now();
        if self.dry_run {
            let check = self.dry_check(context, &mut source).await?;
            let rows = self.rows(source);
            let sound = entries(rows, &check, &rejects, &input).count().await as u64;
            return self.finish(
                context,
                Ok(sound),
                &BulkReport::default(),
                rejects,
                input,
                started.elapsed(),
            );
        }
        let client = context.client().await?;
        let info = self.collection(&client, &mut source).await?;
        let check = Check::new(&info.config);
        let bar = progress::entries(total, context.json());
        let rows = self.rows(source);
        let result = client
            .bulk(&self.collection)
            .batch_bytes(self.batch_bytes)
            .on_progress(|progress| bar.set_position(progress.acknowledged))
            .on_error(|error, entry| lock(&rejects).refused(error, &entry))
            .run(entries(rows, &check, &rejects, &input));
        let second_ctrl_c = async {
            let _ = ctrl_c().await;
            let _ = ctrl_c().await;
        };
        let result = tokio::select! {
            result = result => result,
            () = second_ctrl_c => return Err(Failure::interrupted().into()),
        };
        bar.finish_and_clear();
        let elapsed = started.elapsed();
        match result {
            Ok(report) => self.finish(context, Ok(report.upserted), &report, rejects, input, elapsed),
            Err(stopped) => {
                let report = stopped.report.clone();
                self.finish(context, Err(stopped.into()), &report, rejects, input, elapsed)
            }
        }
    }

    /// The collection as it is, or as it is made now.
    async fn collection(&self, client: &Client, source: &mut Source) -> Result<CollectionInfo> {
        if self.create {
            let dimension = source.dimension()?.context("no row has a vector: the dimension is not known")?;
            let config = self.shape.config(&self.collection, u32::try_from(dimension)?);
            if client.create_collection(config).await?.created {
                eprintln!("created {} with dimension {dimension}", self.collection);
            }
        }
        Ok(client.get_collection(&self.collection).await?)
    }

    /// A dry run needs no daemon: without the collection, the first vector tells the dimension.
    async fn dry_check(&self, context: &Context, source: &mut Source) -> Result<Check> {
        let existing = match context.client().await {
            Ok(client) => client.get_collection(&self.collection).await.ok(),
            Err(_) => None,
        };
        if let Some(info) = existing {
            return Ok(Check::new(&info.config));
        }
        let dimension = source.dimension()?.unwrap_or(0);
        eprintln!(
            "note: `{}` is not there; checked against the first vector's dimension, {dimension}",
            self.collection
        );
        Ok(Check::new(&self.shape.config(&self.collection, u32::try_from(dimension)?)))
    }

    /// Reads on a thread of its own: files and pipes block.
    fn rows(&self, source: Source) -> mpsc::Receiver<Result<Row>> {
        let (sender, receiver) = mpsc::channel(CHANNEL_ROWS);
        let (skip, limit) = (self.skip, self.limit.unwrap_or(u64::MAX));
        tokio::task::spawn_blocking(move || {
            for row in source {
                let failed = match &row {
                    Ok(row) if row.number < skip => continue,
                    Ok(row) if row.number - skip >= limit => break,
                    Ok(_) => false,
                    Err(_) => true,
                };
                // Nobody listens any more: interrupted, or the load stopped.
                if sender.blocking_send(row).is_err() || failed {
                    break;
                }
            }
        });
        receiver
    }

    fn finish(
        &self,
        context: &Context,
        stored: Result<u64>,
        report: &BulkReport,
        rejects: Mutex<Rejects>,
        input: Input,
        elapsed: Duration,
    ) -> Result<u8> {
        let rejects = rejects.into_inner().unwrap_or_else(PoisonError::into_inner);
        let rejected = rejects.count();
        let next_row = rejects.row_of(report.resume_at);
        rejects.finish()?;
        let broken = input.broken.into_inner().unwrap_or_else(PoisonError::into_inner);
        let interrupted = input.interrupted.into_inner();
        let count = *stored.as_ref().unwrap_or(&report.upserted);
        let seconds = elapsed.as_secs_f64();
        let rate = if seconds > 0.0 { count as f64 / seconds } else { 0.0 };
        let whole = stored.is_ok() && broken.is_none() && !interrupted;
        if context.json() {
            output::json(&json!({
                "stored": if self.dry_run { 0 } else { count },
                "checked": self.dry_run.then_some(count),
                "rejected": rejected,
                "seconds": seconds,
                "per_second": rate,
                "bytes": report.bytes,
                "retries": report.retries,
                "next_row": (!whole && !self.dry_run).then_some(next_row),
            }))?;
        } else {
            let did = if self.dry_run { "checked" } else { "stored" };
            let again =
                if report.retries > 0 { format!("; {} retries", report.retries) } else { String::new() };
            output::text(&format!(
                "{did} {} entries in {seconds:.1} s ({}/s); {} rejected{again}",
                output::grouped(count),
                output::grouped(rate as u64),
                output::grouped(rejected),
            ))?;
        }
        if rejected > 0 && self.rejects.is_none() {
            eprintln!("To keep rejected rows: --rejects FILE");
        }
        if !whole && !self.dry_run {
            eprintln!("To go on from here: the same command with --skip {next_row}");
        }
        stored?;
        if let Some(error) = broken {
            return Err(Failure::usage(format!("{error:#}")).into());
        }
        Ok(match (interrupted, rejected, count) {
            (true, ..) => exit::INTERRUPTED,
            (false, 0, _) => exit::OK,
            (false, _, 0) => exit::USAGE,
            (false, ..) => exit::PARTIAL,
        })
    }
}

/// Sound entries, until the first Ctrl-C: what is in flight then is still answered.
fn entries<'a>(
    rows: mpsc::Receiver<Result<Row>>,
    check: &'a Check,
    rejects: &'a Mutex<Rejects>,
    input: &'a Input,
) -> impl futures::Stream<Item = Entry> + Send + 'a {
    let interrupted = async {
        // Without a handler for the signal there is nothing to wait for.
        match ctrl_c().await {
            Ok(()) => input.interrupted.store(true, Ordering::Relaxed),
            Err(_) => std::future::pending().await,
        }
    };
    let sound = move |row: Result<Row>| {
        let entry = match row {
            Ok(row) => match row.content.and_then(|entry| check.entry(entry)) {
                Ok(entry) => lock(rejects).passed(entry),
                Err(bad) => lock(rejects).bad(row.number, &bad),
            },
            Err(error) => Err(error),
        };
        let entry = entry.unwrap_or_else(|error| {
            input.broken.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
            None
        });
        std::future::ready(entry)
    };
    let unbroken = move |_: &Result<Row>| {
        let broken = input.broken.lock().unwrap_or_else(PoisonError::into_inner).is_some();
        std::future::ready(!broken)
    };
    ReceiverStream::new(rows).take_while(unbroken).filter_map(sound).take_until(Box::pin(interrupted))
}

/// Nothing inside panics; if it did, counting on is right.
fn lock(rejects: &Mutex<Rejects>) -> std::sync::MutexGuard<'_, Rejects> {
    rejects.lock().unwrap_or_else(PoisonError::into_inner)
}
