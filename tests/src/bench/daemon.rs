//! `bench daemon`: the whole path, as an app beside the daemon sees it, over the Unix socket.
//!
//! The client runs on one thread: with more, its own wake-ups between threads would be measured.
//! With few rows (`--engine flat --limit 100`) the search itself is next to nothing, and what is
//! left is the door: `vecgridd/docs/decisions/0006-*` says where that time goes.

use std::{
    iter,
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};
use vecgrid_proto::v1 as pb;

use super::{
    data::{Data, Set},
    report::{Report, Row, round, summary},
};
use crate::{
    daemon::{Daemon, Options as DaemonOptions},
    grpc::{self, Client},
    load,
    truth::Metric,
};

/// The collection that is made, measured and dropped.
const COLLECTION: &str = "vecgrid-bench";
/// Graphs of large sets take minutes.
const BUILD_LIMIT: Duration = Duration::from_secs(3_600);
/// Searches run before the clock starts.
const WARM_UP: usize = 50;

/// How searches travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Call {
    /// One call each.
    Unary,
    /// All on one bidirectional stream.
    Stream,
}

impl Call {
    /// Asks all searches; answers in order, each with its time.
    ///
    /// # Errors
    /// The first search that failed.
    pub async fn search(
        self,
        client: &Client,
        searches: Vec<pb::SearchRequest>,
        concurrency: usize,
    ) -> Result<Vec<load::Timed>> {
        Ok(match self {
            Self::Unary => load::search_all(client, searches, concurrency).await?,
            Self::Stream => load::search_stream(client, searches, concurrency).await?,
        })
    }

    /// For the table.
    pub fn place(self) -> &'static str {
        match self {
            Self::Unary => "socket",
            Self::Stream => "stream",
        }
    }
}

/// Options of `bench daemon`.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// Shared ones.
    #[command(flatten)]
    pub data: Data,
    /// Engine of the collection: native, hnsw_rs or flat
    #[arg(long, default_value = "native")]
    pub engine: String,
    /// Queries in flight, one run for each
    #[arg(long, value_delimiter = ',', default_value = "1,16")]
    pub concurrency: Vec<usize>,
    /// How searches travel, one run for each
    #[arg(long, value_enum, value_delimiter = ',', default_value = "unary,stream")]
    pub call: Vec<Call>,
    /// Ask every query so many times
    #[arg(long, default_value_t = 1)]
    pub repeat: usize,
    /// Socket of a running daemon; without it, one is started (271 partitions) and stopped
    #[arg(long, value_name = "S")]
    pub socket: Option<PathBuf>,
}

/// Imports, waits for the graph, measures every `ef` at every concurrency.
///
/// # Errors
/// When the daemon refuses something.
pub fn run(options: &Options, set: &Set, report: &mut Report) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let own = match &options.socket {
        Some(_) => None,
        None => {
            let args = vec!["--build-threads".to_owned(), options.data.build_threads.to_string()];
            Some(Daemon::start_with(DaemonOptions { partitions: 271, args, ..DaemonOptions::default() }))
        }
    };
    let socket = match (&options.socket, &own) {
        (Some(socket), _) => socket.clone(),
        (None, Some(daemon)) => daemon.ports().socket.clone(),
        (None, None) => unreachable!("either a socket is given or a daemon is started"),
    };
    runtime.block_on(async {
        let mut client = grpc::client(grpc::socket(&socket).await);
        drop_collection(&mut client).await?;
        let result = measure(options, set, &mut client, report).await;
        drop_collection(&mut client).await?;
        result
    })
}

async fn drop_collection(client: &mut Client) -> Result<()> {
    client.drop_collection(pb::DropCollectionRequest { name: COLLECTION.into() }).await?;
    Ok(())
}

async fn measure(options: &Options, set: &Set, client: &mut Client, report: &mut Report) -> Result<()> {
    let data = &options.data;
    let metric = match set.metric {
        Metric::Cosine => pb::Metric::Cosine,
        Metric::Euclidean => pb::Metric::Euclidean,
        Metric::Dot => pb::Metric::Dot,
    };
    let mut config = grpc::config(COLLECTION, u32::try_from(set.base.columns)?, metric);
    config.durability = pb::Durability::Sync.into();
    let (m, ef_construction) = (data.m, data.ef_construction);
    let engine = options.engine.clone();
    config.index = Some(pb::IndexOptions { engine, m, ef_construction, ..Default::default() });
    client.create_collection(pb::CreateCollectionRequest { config: Some(config) }).await.context("create")?;

    let begun = Instant::now();
    let imported = load::upsert_stream(client, requests(set)).await;
    let flat = options.engine == "flat";
    if !flat {
        load::wait_indexed(client, COLLECTION, BUILD_LIMIT).await;
    }
    let build_s = begun.elapsed().as_secs_f64();
    let info =
        client.get_collection(pb::GetCollectionRequest { name: COLLECTION.into() }).await?.into_inner();
    for &ef in if flat { &[0][..] } else { &data.ef[..] } {
        for (&concurrency, &call) in
            options.concurrency.iter().flat_map(|c| options.call.iter().map(move |call| (c, call)))
        {
            ensure!(concurrency > 0, "--concurrency is at least 1");
            let once = searches(set, data.k, ef)?;
            let searches: Vec<_> = iter::repeat_n(&once, options.repeat.max(1)).flatten().cloned().collect();
            call.search(client, once.into_iter().take(WARM_UP).collect(), concurrency).await?;
            let begun = Instant::now();
            let answers = call.search(client, searches, concurrency).await?;
            let took = begun.elapsed();
            let (mut answers, mut times): (Vec<_>, Vec<_>) = answers.into_iter().unzip();
            answers.truncate(set.queries.rows());
            let (qps, p50_us, p99_us) = summary(&mut times, took);
            report.add(&Row {
                engine: format!("vecgridd {}", options.engine),
                ef,
                qps,
                p50_us,
                p99_us,
                recall: set.recall(data.k, &rows_of(&answers)?),
                build_s: round(build_s, 3),
                bytes_per_row: (info.index_bytes as f64 / set.base.rows() as f64).round(),
                place: call.place(),
                concurrency,
                k: data.k,
                rows: set.base.rows(),
                dimension: set.base.columns,
                metric: set.metric.name(),
                build_threads: data.build_threads,
                import_rows_per_s: Some((set.base.rows() as f64 / imported.as_secs_f64()).round()),
                version: None,
            })?;
        }
    }
    Ok(())
}

fn requests(set: &Set) -> Vec<pb::UpsertRequest> {
    let rows: Vec<usize> = (0..set.base.rows()).collect();
    let entry = |&row: &usize| pb::Entry {
        id: row.to_string(),
        vector: Some(grpc::vector(set.base.row(row))),
        ..Default::default()
    };
    let request = |rows: &[usize]| pb::UpsertRequest {
        collection: COLLECTION.into(),
        entries: rows.iter().map(entry).collect(),
        request_id: String::new(),
    };
    rows.chunks(load::BATCH).map(request).collect()
}

fn searches(set: &Set, k: usize, ef: usize) -> Result<Vec<pb::SearchRequest>> {
    let (k, ef) = (u32::try_from(k)?, u32::try_from(ef)?);
    let one = |query: usize| {
        let mut search = grpc::search(COLLECTION, set.queries.row(query), k);
        search.exact = ef == 0;
        search.ef = (ef > 0).then_some(ef);
        search
    };
    Ok((0..set.queries.rows()).map(one).collect())
}

fn rows_of(answers: &[pb::SearchResponse]) -> Result<Vec<Vec<usize>>> {
    let row = |hit: &pb::Hit| hit.id.parse().with_context(|| format!("{:?} is not one of the rows", hit.id));
    answers.iter().map(|answer| answer.hits.iter().map(row).collect()).collect()
}
