//! `bench index`: the collection index inside this process, without a wire, one search thread.
//!
//! [`Recipe`] is how an index is made and [`Local`] a made one: the one place of the benchmark
//! that knows the library's types.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, ensure};
use clap::Args;
use serde_json::Value;
use vecgridd::{
    index::{Change, CollectionIndex, IndexLimits, PartitionSet},
    types::{
        CollectionConfig, CollectionName, Durability, EngineKind, Entry, EntryId, Explain, Filter,
        IndexOptions, Metadata, Metric as IndexMetric, PartitionId, Quantization, Query, Vector, Version,
    },
};

use super::{
    data::{Data, Set},
    report::{Clock, Report, Row},
};
use crate::{npy::Matrix, sample, truth::Metric};

/// Rows per call of `apply`.
const BATCH: usize = 1_000;
/// As in a grid with the usual settings.
pub const PARTITIONS: u16 = 271;
/// Queries run before the clock starts.
const WARM_UP: usize = 50;

/// An engine by its name in the contract; the error lists the names.
///
/// # Errors
/// When there is no such engine.
pub fn engine(name: &str) -> Result<EngineKind, String> {
    serde_json::from_value(Value::String(name.to_owned())).map_err(|error| error.to_string())
}

/// The name in the contract.
pub fn engine_name(kind: EngineKind) -> String {
    let value = serde_json::to_value(kind).unwrap_or_default();
    value.as_str().unwrap_or_default().to_owned()
}

/// Index options by their names in the contract, over the defaults.
///
/// # Errors
/// When an option is unknown or its value is none.
pub fn index_options(given: &Value) -> Result<IndexOptions> {
    let mut whole = serde_json::to_value(IndexOptions::default())?;
    let fields = given.as_object().context("index options are a JSON object")?;
    for (name, value) in fields {
        let place = whole.get_mut(name).with_context(|| format!("there is no index option `{name}`"))?;
        *place = value.clone();
    }
    Ok(serde_json::from_value(whole)?)
}

/// Which engine of ours, with which options.
#[derive(Debug, Clone, Args)]
pub struct Ours {
    /// Engine of ours, by its name in the contract; without it, the default one
    #[arg(long, value_parser = engine)]
    pub engine: Option<EngineKind>,
    /// Index options of ours over the defaults, as JSON: '{"m":24}'
    #[arg(long, value_parser = parse_json, default_value = "{}", value_name = "JSON")]
    pub index: Value,
}

impl Ours {
    /// All options, and those that were given, as a daemon is told.
    ///
    /// # Errors
    /// When an option is unknown or its value is none.
    pub fn options(&self) -> Result<(IndexOptions, Value)> {
        let mut body = self.index.clone();
        let fields = body.as_object_mut().context("--index is a JSON object")?;
        fields.insert("engine".into(), engine_name(self.engine.unwrap_or_default()).into());
        Ok((index_options(&body)?, body))
    }
}

fn parse_json(text: &str) -> Result<Value, serde_json::Error> {
    serde_json::from_str(text)
}

/// Options of `bench index`.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// Shared ones.
    #[command(flatten)]
    pub data: Data,
    /// Which engine, with which options; `m` and `ef_construction` of the shared ones count first.
    #[command(flatten)]
    pub ours: Ours,
}

/// Measures one engine at every `ef`.
///
/// # Errors
/// When the engine cannot be built or asked.
pub fn run(options: &Options, set: &Set, report: &mut Report) -> Result<()> {
    let data = &options.data;
    let (index, _) = options.ours.options()?;
    let index = IndexOptions { m: data.m, ef_construction: data.ef_construction, ..index };
    let engine = index.engine;
    let name = match index.quantization {
        Quantization::Int8 => engine_name(engine),
        other => format!("{} {}", engine_name(engine), other.name()),
    };
    let recipe =
        Recipe { metric: set.metric, index, build_threads: data.build_threads, partitions: PARTITIONS };
    let (local, build) = recipe.build(recipe.changes(&set.base, None)?, set.base.columns)?;
    let bytes = local.bytes() as f64 / set.base.rows() as f64;
    // An exact scan has no breadth: once is enough.
    let breadths =
        if engine == EngineKind::Flat { vec![None] } else { data.ef.iter().copied().map(Some).collect() };
    for ef in breadths {
        let queries = recipe.queries(&set.queries, data.k, ef, None)?;
        for query in queries.iter().take(WARM_UP) {
            local.search(query)?;
        }
        let mut clock = Clock::default();
        let mut answers = Vec::with_capacity(queries.len());
        for query in &queries {
            answers.push(clock.time(|| local.search(query))?);
        }
        let (qps, p50_us, p99_us) = clock.summary();
        report.add(&Row {
            engine: name.clone(),
            ef: ef.unwrap_or(0),
            qps,
            p50_us,
            p99_us,
            recall: set.recall(data.k, &rows_of(&answers)?),
            build_s: super::report::round(build.as_secs_f64(), 3),
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
    let index = IndexOptions { engine: EngineKind::Flat, ..IndexOptions::default() };
    let recipe = Recipe { metric, index, build_threads: 1, partitions: PARTITIONS };
    let (local, _) = recipe.build(recipe.changes(base, None)?, base.columns)?;
    let truth = local.exact(&recipe, queries, k.min(base.rows()))?;
    eprintln!("exact answers of {} queries: {:.1} s", queries.rows(), begun.elapsed().as_secs_f64());
    Ok(truth)
}

/// How an index is made.
#[derive(Debug, Clone)]
pub struct Recipe {
    /// How distances are measured.
    pub metric: Metric,
    /// Engine and its options.
    pub index: IndexOptions,
    /// Threads that build.
    pub build_threads: usize,
    /// Partitions that the rows are spread over.
    pub partitions: u16,
}

impl Recipe {
    /// The changes that put all rows, in batches, ready to be applied. Ids are row numbers.
    ///
    /// # Errors
    /// When a vector is not valid under the metric, or metadata is not.
    pub fn changes(&self, base: &Matrix<f32>, texts: Option<&[sample::Row]>) -> Result<Vec<Vec<Change>>> {
        let change = |&row: &usize| -> Result<Change> {
            let vector = Vector::new(base.row(row).to_vec(), base.columns, index_metric(self.metric));
            let metadata = match texts {
                Some(texts) => Metadata::new(Value::Object(texts[row].metadata.clone()))?,
                None => Metadata::default(),
            };
            let vector = Some(vector.with_context(|| format!("row {row}"))?);
            Ok(Change::Put {
                partition: PartitionId((row % usize::from(self.partitions)) as u16),
                entry: Entry { id: EntryId::new(&row.to_string())?, vector, metadata },
                version: Version { epoch: 1, sequence: row as u64 + 1 },
            })
        };
        let rows: Vec<usize> = (0..base.rows()).collect();
        rows.chunks(BATCH).map(|batch| batch.iter().map(change).collect()).collect()
    }

    /// Applies the changes and builds the graph; with the time both took.
    ///
    /// # Errors
    /// When it cannot be built.
    pub fn build(&self, changes: Vec<Vec<Change>>, dimension: usize) -> Result<(Local, Duration)> {
        let config = CollectionConfig {
            name: CollectionName::new("bench")?,
            dimension: u32::try_from(dimension)?,
            metric: index_metric(self.metric),
            index: self.index.clone(),
            durability: Durability::None,
        };
        let rows: usize = changes.iter().map(Vec::len).sum();
        let limits = IndexLimits::default();
        let limits = IndexLimits {
            build_threads: self.build_threads,
            // A daemon's graph begins when its collection is no longer small, and takes its centre from the rows
            // that are there then; so does this one. Where all rows together are few, the engine is still what
            // is measured.
            small_rows: limits.small_rows.min(rows.saturating_sub(1)),
            ..limits
        };
        let begun = Instant::now();
        let index = CollectionIndex::new(&config.checked()?, limits)?;
        for batch in changes {
            index.apply(batch);
        }
        ensure!(index.wait_built(), "the graph could not be built; the log says why");
        let took = begun.elapsed();
        // Nothing goes on beside what is measured next.
        index.wait_calibrated();
        Ok((Local { index: Arc::new(index), answer_set: PartitionSet::all(self.partitions) }, took))
    }

    /// Checked searches. No `ef` means: scan.
    ///
    /// # Errors
    /// When a query is not valid under the metric.
    pub fn queries(
        &self,
        queries: &Matrix<f32>,
        k: usize,
        ef: Option<usize>,
        filter: Option<&Filter>,
    ) -> Result<Vec<Query>> {
        let one = |row: usize| -> Result<Query> {
            let vector = Vector::new(queries.row(row).to_vec(), queries.columns, index_metric(self.metric));
            let query = Query {
                vector: vector.with_context(|| format!("query {row}"))?,
                k,
                ef,
                target_recall: None,
                filter: filter.cloned(),
                exact: ef.is_none(),
                max_distance: None,
                include_metadata: false,
                include_vector: false,
                allow_partial: false,
                explain: false,
            };
            Ok(query.checked()?)
        };
        (0..queries.rows()).map(one).collect()
    }
}

/// An index in this process.
pub struct Local {
    index: Arc<CollectionIndex>,
    answer_set: PartitionSet,
}

impl Local {
    /// As the daemon searches: takes the current view, answers ids.
    ///
    /// # Errors
    /// When the query has another dimension.
    pub fn search(&self, query: &Query) -> Result<Vec<EntryId>> {
        let hits = self.index.view().search(query, &self.answer_set)?;
        Ok(hits.into_iter().map(|hit| hit.id).collect())
    }

    /// The nearest `k` rows of every query, by a scan of all.
    ///
    /// # Errors
    /// When a query is not valid under the metric, or there are fewer rows.
    pub fn exact(&self, recipe: &Recipe, queries: &Matrix<f32>, k: usize) -> Result<Matrix<i32>> {
        let mut data = Vec::with_capacity(k * queries.rows());
        for query in &recipe.queries(queries, k, None, None)? {
            let answer = self.search(query)?;
            ensure!(answer.len() == k, "an exact search found {} of {k} rows", answer.len());
            for row in rows_of(&[answer])?.concat() {
                data.push(i32::try_from(row)?);
            }
        }
        Ok(Matrix { columns: k, data })
    }

    /// As [`search`](Self::search), and how it was done.
    ///
    /// # Errors
    /// When the query has another dimension.
    pub fn explained(&self, query: &Query) -> Result<(Vec<EntryId>, Explain)> {
        let (hits, explain) = self.index.view().search_explained(query, &self.answer_set)?;
        Ok((hits.into_iter().map(|hit| hit.id).collect(), explain))
    }

    /// The index itself.
    pub fn index(&self) -> &Arc<CollectionIndex> {
        &self.index
    }

    /// The partitions that are searched: all.
    pub fn answer_set(&self) -> &PartitionSet {
        &self.answer_set
    }

    /// Memory by its own count.
    pub fn bytes(&self) -> u64 {
        self.index.stats().bytes.total()
    }
}

/// Row numbers of found ids.
///
/// # Errors
/// When an id is not a row number.
pub fn rows_of(answers: &[Vec<EntryId>]) -> Result<Vec<Vec<usize>>> {
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn engines_and_options_have_the_names_of_the_contract() {
        assert_eq!(engine("flat"), Ok(EngineKind::Flat));
        assert_eq!(engine_name(EngineKind::HnswRs), "hnsw_rs");
        let unknown = engine("quick").unwrap_err();
        assert!(unknown.contains("hnsw_rs"), "{unknown}");
        let options = index_options(&json!({"engine": "flat", "m": 8})).unwrap();
        assert_eq!((options.engine, options.m), (EngineKind::Flat, 8));
        index_options(&json!({"breadth": 8})).unwrap_err();
        index_options(&json!({"m": "wide"})).unwrap_err();
    }
}
