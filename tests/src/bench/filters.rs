//! `bench filters`: the eight filters of the WordNet sets, inside this process, one search thread.
//!
//! For every filter: how long the index takes to find the matching rows, how searches with it are
//! answered and how fast, and the recall against the set's own truth.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use clap::Args;
use vecgridd::{
    index::{Change, CollectionIndex, IndexLimits, PartitionSet, View},
    types::{
        CollectionConfig, CollectionName, Durability, Entry, EntryId, Filter, IndexOptions, Metadata, Metric,
        PartitionId, Query, Vector, Version,
    },
};

use super::{index::Engine, report};
use crate::{
    sample::{self, DataSet, FilterCase},
    truth::{self, Judge},
};

/// Rows per call of `apply`.
const BATCH: usize = 1_000;
/// As in a grid with the usual settings.
const PARTITIONS: u16 = 271;
/// Times each filter is evaluated alone.
const EVALUATIONS: usize = 101;

/// Options of `bench filters`.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// Which engine
    #[arg(long, value_enum)]
    pub engine: Engine,
    /// The 8,000 rows that ship with the project instead of the full set
    #[arg(long)]
    pub sample: bool,
    /// Hits per query
    #[arg(long, default_value_t = 10)]
    pub k: usize,
    /// Breadth of the walk
    #[arg(long)]
    pub ef: Option<usize>,
    /// Threads that build
    #[arg(long, default_value_t = 2)]
    pub build_threads: usize,
    /// Memory for field indexes, bytes per row; 0 = every filter row by row
    #[arg(long, default_value_t = IndexLimits::default().field_bytes)]
    pub field_bytes: usize,
}

/// Measures every filter of the set.
///
/// # Errors
/// When the set is not there, or the index cannot be built.
pub fn run(options: &Options) -> Result<()> {
    let set = if options.sample {
        sample::sample()
    } else {
        sample::wordnet().context("the full set is not here: VECGRID_DATA, or --sample")?
    };
    let index = fill(options, &set)?;
    println!(
        "{:>8} {:>9} {:>9} {:>8} {:>9} {:>8}  plans, filter",
        "matches", "select_us", "held", "qps", "p50_us", "recall"
    );
    for case in &set.filters {
        measure(options, &set, &index.view(), case)?;
    }
    let stats = index.stats();
    for (kind, bytes) in stats.bytes.by_kind() {
        println!("{kind:>9} {:>8.1} bytes per row", bytes as f64 / stats.live as f64);
    }
    println!("{:>9} {:>8.1} bytes per row", "total", stats.bytes.total() as f64 / stats.live as f64);
    Ok(())
}

fn measure(options: &Options, set: &DataSet, view: &View, case: &FilterCase) -> Result<()> {
    let (filter, all) = (Filter::parse(&case.filter)?, PartitionSet::all(PARTITIONS));
    let mut times: Vec<Duration> = Vec::new();
    for _ in 0..EVALUATIONS {
        let begun = Instant::now();
        let count = view.count(Some(&filter), &all);
        times.push(begun.elapsed());
        ensure!(count == case.matches, "{count} rows match {}, not {}", case.filter, case.matches);
    }
    times.sort_unstable();
    let select = times[EVALUATIONS / 2].as_secs_f64() * 1e6;

    let mut times = Vec::new();
    let mut plans: BTreeMap<&str, usize> = BTreeMap::new();
    let (mut recall, mut held, queries) = (0.0, 0, case.truth.rows());
    for query in 0..queries {
        let vector = Vector::new(set.queries.row(query).to_vec(), set.base.columns, Metric::Cosine)?;
        let asked = Query {
            vector,
            k: options.k,
            ef: options.ef,
            filter: Some(filter.clone()),
            exact: false,
            max_distance: None,
            include_metadata: false,
            include_vector: false,
            allow_partial: false,
        };
        let begun = Instant::now();
        let (hits, explain) = view.search_explained(&asked, &all)?;
        times.push(begun.elapsed());
        ensure!(hits.len() == options.k.min(case.matches as usize), "min(k, matches)");
        let rows: Vec<usize> = hits.iter().map(|hit| set.row_of(hit.id.as_str())).collect();
        let (metric, truth) = (truth::Metric::Cosine, case.truth.row(query));
        recall +=
            Judge { base: &set.base, metric, query: set.queries.row(query), truth }.recall(options.k, &rows);
        *plans.entry(explain.plan.name()).or_default() += 1;
        held = explain.filtered;
    }
    // Judging takes long too: only the searches count.
    let took = times.iter().sum();
    let (qps, p50, _) = report::summary(&mut times, took);
    println!(
        "{:>8} {select:>9.1} {held:>9} {qps:>8.0} {p50:>9.1} {:>8.4}  {plans:?} {}",
        case.matches,
        recall / queries as f64,
        case.filter
    );
    Ok(())
}

fn fill(options: &Options, set: &DataSet) -> Result<CollectionIndex> {
    let config = CollectionConfig {
        name: CollectionName::new("bench")?,
        dimension: u32::try_from(set.base.columns)?,
        metric: Metric::Cosine,
        index: IndexOptions { engine: options.engine.kind()?, ..IndexOptions::default() },
        durability: Durability::None,
    };
    let limits = IndexLimits {
        build_threads: options.build_threads,
        small_rows: 0,
        tail_rows: set.rows.len(),
        field_bytes: options.field_bytes,
    };
    let index = CollectionIndex::new(&config.checked()?, limits)?;
    let mut applies: Vec<Duration> = Vec::new();
    for (at, batch) in set.rows.chunks(BATCH).enumerate() {
        let mut changes = Vec::with_capacity(BATCH);
        for (row, entry) in (at * BATCH..).zip(batch) {
            let vector = Vector::new(set.base.row(row).to_vec(), set.base.columns, Metric::Cosine)?;
            let metadata = Metadata::new(entry.metadata.clone().into())?;
            changes.push(Change::Put {
                partition: PartitionId((row % usize::from(PARTITIONS)) as u16),
                entry: Entry { id: EntryId::new(&entry.id)?, vector: Some(vector), metadata },
                version: Version { epoch: 1, sequence: row as u64 + 1 },
            });
        }
        let begun = Instant::now();
        index.apply(changes);
        applies.push(begun.elapsed());
    }
    applies.sort_unstable();
    let ms = |time: &Duration| time.as_secs_f64() * 1e3;
    println!(
        "{} rows, {BATCH} at a time: applied in {:.1} ms (median), {:.1} ms (longest)",
        set.rows.len(),
        applies.get(applies.len() / 2).map_or(0.0, ms),
        applies.last().map_or(0.0, ms)
    );
    ensure!(index.wait_built(), "the graph could not be built; the log says why");
    Ok(index)
}
