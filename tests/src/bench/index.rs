//! `bench index`: the collection index inside this process, without a wire, one search thread.

use std::time::Instant;

use anyhow::{Context, Result, anyhow, bail, ensure};
use clap::{Args, ValueEnum};
use vecgridd::{
    index::{Change, CollectionIndex, IndexLimits, PartitionSet},
    types::{
        CollectionConfig, CollectionName, Durability, EngineKind, Entry, EntryId, IndexOptions, Metadata,
        Metric as IndexMetric, PartitionId, Query, Vector, Version,
    },
};

use super::{
    data::{Data, Set},
    report::{Clock, Report, Row},
};
use crate::{npy::Matrix, truth::Metric};

/// Rows per call of `apply`.
const BATCH: usize = 1_000;
/// As in a grid with the usual settings.
const PARTITIONS: u16 = 271;
/// Queries run before the clock starts.
const WARM_UP: usize = 50;

/// Engines of this project.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Engine {
    /// Exact scan.
    #[value(name = "flat")]
    Flat,
    /// The `hnsw_rs` crate.
    #[value(name = "hnsw_rs")]
    HnswRs,
    /// Our own graph.
    #[value(name = "native")]
    Native,
}

impl Engine {
    /// As in a collection's configuration.
    ///
    /// # Errors
    /// When there is no such engine yet.
    pub fn kind(self) -> Result<EngineKind> {
        match self {
            Self::Flat => Ok(EngineKind::Flat),
            Self::HnswRs => Ok(EngineKind::HnswRs),
            Self::Native => {
                bail!("the engine `native` comes with issue 3; today there are `flat` and `hnsw_rs`")
            }
        }
    }

    /// As in the contract.
    pub fn name(self) -> &'static str {
        match self {
            Self::Flat => "flat",
            Self::HnswRs => "hnsw_rs",
            Self::Native => "native",
        }
    }
}

/// Options of `bench index`.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// Shared ones.
    #[command(flatten)]
    pub data: Data,
    /// Which engine
    #[arg(long, value_enum)]
    pub engine: Engine,
}

/// Measures one engine at every `ef`.
///
/// # Errors
/// When the engine cannot be built or asked.
pub fn run(options: &Options, set: &Set, report: &mut Report) -> Result<()> {
    let Options { data, engine } = options;
    let begun = Instant::now();
    let index = build(&set.base, set.metric, engine.kind()?, data)?;
    let build_s = begun.elapsed().as_secs_f64();
    let bytes = index.stats().bytes.total() as f64 / set.base.rows() as f64;
    let queries = checked(&set.queries, set.metric)?;
    // An exact scan has no breadth: once is enough.
    let breadths = if *engine == Engine::Flat { vec![0] } else { data.ef.clone() };
    for ef in breadths {
        let ask = |vector: &Vector| search(&index, vector, data.k, (ef > 0).then_some(ef), ef == 0);
        for vector in queries.iter().take(WARM_UP) {
            ask(vector)?;
        }
        let mut clock = Clock::default();
        let mut answers = Vec::with_capacity(queries.len());
        for vector in &queries {
            answers.push(clock.time(|| ask(vector))?);
        }
        let (qps, p50_us, p99_us) = clock.summary();
        report.add(&Row {
            engine: engine.name().to_owned(),
            ef,
            qps,
            p50_us,
            p99_us,
            recall: set.recall(data.k, &rows_of(&answers)?),
            build_s: super::report::round(build_s, 3),
            bytes_per_row: bytes.round(),
            place: "in-process",
            concurrency: 1,
            k: data.k,
            rows: set.base.rows(),
            dimension: set.base.columns,
            metric: set.metric.name(),
            build_threads: data.build_threads,
            import_rows_per_s: None,
            version: None,
        })?;
    }
    Ok(())
}

/// The nearest rows of every query, by the `flat` engine.
///
/// # Errors
/// When a vector is not valid under the metric.
pub fn exact(base: &Matrix<f32>, queries: &Matrix<f32>, metric: Metric, k: usize) -> Result<Matrix<i32>> {
    let begun = Instant::now();
    let index = fill(base, metric, EngineKind::Flat, IndexOptions::default(), IndexLimits::default())?;
    let columns = k.min(base.rows());
    let mut data = Vec::with_capacity(columns * queries.rows());
    for vector in &checked(queries, metric)? {
        let answer = search(&index, vector, columns, None, true)?;
        ensure!(answer.len() == columns, "an exact search found {} of {columns} rows", answer.len());
        for row in rows_of(&[answer])?.concat() {
            data.push(i32::try_from(row)?);
        }
    }
    eprintln!("exact answers of {} queries: {:.1} s", queries.rows(), begun.elapsed().as_secs_f64());
    Ok(Matrix { columns, data })
}

fn build(base: &Matrix<f32>, metric: Metric, kind: EngineKind, data: &Data) -> Result<CollectionIndex> {
    let options =
        IndexOptions { m: data.m, ef_construction: data.ef_construction, ..IndexOptions::default() };
    let limits = IndexLimits {
        build_threads: data.build_threads,
        // However few rows there are, the engine is what is measured.
        small_rows: 0,
        tail_rows: base.rows().max(1),
        ..IndexLimits::default()
    };
    let index = fill(base, metric, kind, options, limits)?;
    ensure!(index.wait_built(), "the graph could not be built; the log says why");
    Ok(index)
}

fn fill(
    base: &Matrix<f32>,
    metric: Metric,
    engine: EngineKind,
    options: IndexOptions,
    limits: IndexLimits,
) -> Result<CollectionIndex> {
    let config = CollectionConfig {
        name: CollectionName::new("bench")?,
        dimension: u32::try_from(base.columns)?,
        metric: index_metric(metric),
        index: IndexOptions { engine, ..options },
        durability: Durability::None,
    };
    let index = CollectionIndex::new(&config.checked()?, limits)?;
    let rows: Vec<usize> = (0..base.rows()).collect();
    for batch in rows.chunks(BATCH) {
        let change = |&row: &usize| -> Result<Change> {
            let vector = Vector::new(base.row(row).to_vec(), base.columns, index_metric(metric));
            let vector = vector.with_context(|| format!("row {row}"))?;
            Ok(Change::Put {
                partition: PartitionId((row % usize::from(PARTITIONS)) as u16),
                entry: Entry {
                    id: EntryId::new(&row.to_string())?,
                    vector: Some(vector),
                    metadata: Metadata::default(),
                },
                version: Version { epoch: 1, sequence: row as u64 + 1 },
            })
        };
        index.apply(batch.iter().map(change).collect::<Result<_>>()?);
    }
    Ok(index)
}

fn checked(queries: &Matrix<f32>, metric: Metric) -> Result<Vec<Vector>> {
    let one = |row: usize| Vector::new(queries.row(row).to_vec(), queries.columns, index_metric(metric));
    (0..queries.rows()).map(|row| one(row).with_context(|| format!("query {row}"))).collect()
}

/// As the daemon searches: checks the query, answers ids.
fn search(
    index: &CollectionIndex,
    vector: &Vector,
    k: usize,
    ef: Option<usize>,
    exact: bool,
) -> Result<Vec<EntryId>> {
    let query = Query {
        vector: vector.clone(),
        k,
        ef,
        filter: None,
        exact,
        max_distance: None,
        include_metadata: false,
        include_vector: false,
        allow_partial: false,
    };
    let hits = index.view().search(&query.checked()?, &PartitionSet::all(PARTITIONS))?;
    Ok(hits.into_iter().map(|hit| hit.id).collect())
}

fn rows_of(answers: &[Vec<EntryId>]) -> Result<Vec<Vec<usize>>> {
    let row = |id: &EntryId| id.as_str().parse().map_err(|e| anyhow!("{}: {e}", id.as_str()));
    answers.iter().map(|answer| answer.iter().map(row).collect()).collect()
}

fn index_metric(metric: Metric) -> IndexMetric {
    match metric {
        Metric::Cosine => IndexMetric::Cosine,
        Metric::Euclidean => IndexMetric::Euclidean,
        Metric::Dot => IndexMetric::Dot,
    }
}
