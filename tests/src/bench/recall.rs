//! `bench recall`: does a search with a target reach it?
//!
//! Builds the index in this process, waits until its breadths are measured (on its own rows; it
//! never sees these queries), then asks every query at every target and holds the answers against the
//! truth. One line per target and number of hits, and how long the measurement took.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use clap::Args;
use vecgridd::types::{EngineKind, IndexOptions, Query, TargetRecall};

use super::{
    data::{Data, Set},
    index::{PARTITIONS, Recipe, engine, rows_of},
    report::Clock,
};

/// Options of `bench recall`.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// Shared ones; `--k` and `--ef` are not used.
    #[command(flatten)]
    pub data: Data,
    /// Which engine, by its name in the contract; without it, the default one
    #[arg(long, value_parser = engine)]
    pub engine: Option<EngineKind>,
    /// Targets, comma-separated
    #[arg(long, value_delimiter = ',', default_value = "0.9,0.95,0.98,0.99,0.995,0.999")]
    pub target: Vec<f64>,
    /// Numbers of hits, comma-separated
    #[arg(long, value_delimiter = ',', default_value = "1,10,30,100")]
    pub hits: Vec<usize>,
}

/// Prints a line per target and number of hits.
///
/// # Errors
/// When the index cannot be built or asked, or a target is none.
pub fn run(options: &Options, set: &Set) -> Result<()> {
    let data = &options.data;
    let index = IndexOptions {
        engine: options.engine.unwrap_or_default(),
        m: data.m,
        ef_construction: data.ef_construction,
        ..IndexOptions::default()
    };
    let recipe =
        Recipe { metric: set.metric, index, build_threads: data.build_threads, partitions: PARTITIONS };
    let begun = Instant::now();
    let (local, build) = recipe.build(recipe.changes(&set.base, None)?, set.base.columns)?;
    let rest = begun.elapsed().saturating_sub(build);
    println!(
        "{} rows, built in {:.1} s; measured in the {:.1} s after",
        set.base.rows(),
        seconds(build),
        seconds(rest)
    );
    println!("{:>6} {:>5} {:>6} {:>8} {:>9} {:>10}", "target", "hits", "ef", "recall", "off", "us/query");
    for &k in &options.hits {
        ensure!(k <= set.truth.columns, "the truth has {} hits per query, not {k}", set.truth.columns);
        for &target in &options.target {
            let target = TargetRecall::new(target)?;
            let asked = |query| Query { exact: false, target_recall: Some(target), ..query };
            let queries: Vec<Query> =
                recipe.queries(&set.queries, k, None, None)?.into_iter().map(asked).collect();
            let (mut clock, mut answers, mut ef) = (Clock::default(), Vec::new(), 0);
            for query in &queries {
                let (answer, explain) = clock.time(|| local.explained(query))?;
                ef = explain.ef;
                answers.push(answer);
            }
            let recall = set.recall(k, &rows_of(&answers)?);
            let (_, p50_us, _) = clock.summary();
            let off = recall - target.share();
            println!("{:>6} {k:>5} {ef:>6} {recall:>8.4} {off:>+9.4} {p50_us:>10.1}", target.share());
        }
    }
    Ok(())
}

fn seconds(time: Duration) -> f64 {
    time.as_secs_f64()
}
