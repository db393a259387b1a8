//! `bench recall`: does a search with a target reach it, and does the daemon know?
//!
//! Builds the index in this process, waits until its breadths are measured, then asks queries at every
//! target and holds the answers against the truth; and has a [`Checker`] look at each answer, which knows only
//! a part of the rows. One line per target and number of hits.
//!
//! Breadths are measured on the index's own rows, which never sees the queries; or, with `--asked N`, on
//! the first N queries, and then only the others are asked here.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use clap::Args;
use vecgridd::{
    index::{CheckOptions, Checker, RecallStats, Searched},
    types::{CollectionId, EngineKind, IndexOptions, Query, TargetRecall},
};

use super::{
    data::{Data, Set},
    index::{Local, PARTITIONS, Recipe, engine},
    report::Clock,
};
use crate::truth::Judge;

/// How often one looks whether a check has come.
const POLL: Duration = Duration::from_micros(100);
/// How long a check may take.
const LIMIT: Duration = Duration::from_secs(10);

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
    /// So many queries are known before breadths are measured; at least 256 make a difference
    #[arg(long, default_value_t = 0, value_name = "QUERIES")]
    pub asked: usize,
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
        build.as_secs_f64(),
        rest.as_secs_f64()
    );
    for query in recipe.queries(&set.queries, 1, None, None)?.iter().take(options.asked) {
        local.index().asked(&query.vector);
    }
    local.index().wait_calibrated();
    println!("target  hits     ef   recall       off  us/query  as checked (95 % between)");
    for &k in &options.hits {
        ensure!(k <= set.truth.columns, "the truth has {} hits per query, not {k}", set.truth.columns);
        for &target in &options.target {
            let target = TargetRecall::new(target)?;
            let asked = |query| Query { exact: false, target_recall: Some(target), ..query };
            let queries: Vec<Query> =
                recipe.queries(&set.queries, k, None, None)?.into_iter().map(asked).collect();
            let found = ask(set, &local, &queries, options.asked)?;
            let share = target.share();
            println!(
                "{share:>6} {k:>5} {:>6} {:>8.4} {:>+9.4} {:>9.1}  {:.4} ({:.4} to {:.4})",
                found.ef,
                found.recall,
                found.recall - share,
                found.p50_us,
                1.0 - found.checked.missed / found.checked.checks.max(1) as f64,
                found.checked.lower,
                found.checked.upper
            );
        }
    }
    Ok(())
}

/// What came of some queries.
#[derive(Debug)]
pub struct Found {
    /// Breadth of the walks.
    pub ef: usize,
    /// Against the truth.
    pub recall: f64,
    /// Median time.
    pub p50_us: f64,
    /// What a checker says that was given every answer.
    pub checked: RecallStats,
}

/// Asks all queries from one on, which are those of the set, in order.
///
/// # Errors
/// When the index cannot be asked, or a check does not come.
pub fn ask(set: &Set, local: &Local, queries: &[Query], from: usize) -> Result<Found> {
    let (checker, thread) = Checker::start(CheckOptions { share: 1.0, cpu: 1.0 })?;
    // What it asks here must not change how wide it walks.
    let (collection, index, view) = (CollectionId(1), None, local.index().view());
    let (mut clock, mut sum, mut ef) = (Clock::default(), 0.0, 0);
    let mut asked = 0;
    for (number, query) in queries.iter().enumerate().skip(from) {
        let (hits, explain) = clock.time(|| view.search_explained(query, local.answer_set()))?;
        let rows = hits.iter().map(|hit| hit.id.as_str().parse()).collect::<Result<Vec<usize>, _>>()?;
        let (row, truth) = (set.queries.row(number), set.truth.row(number));
        let judge = Judge { base: &set.base, metric: set.metric, query: row, truth };
        sum += judge.recall(query.k, &rows);
        ef = explain.ef;
        asked += 1;
        let (view, answer_set) = (&view, local.answer_set());
        checker.offer(Searched {
            collection,
            index,
            view,
            query,
            answer_set,
            hits: &hits,
            explain: &explain,
        });
        wait_checked(&checker, collection, asked)?;
    }
    let checked = checker.stats(collection).first().context("nothing was checked")?.1;
    drop(checker);
    // It ends by itself; a panic in it would have kept checks from coming.
    let _ = thread.join();
    Ok(Found { ef, recall: sum / asked.max(1) as f64, p50_us: clock.summary().1, checked })
}

/// One at a time, so that none is dropped.
fn wait_checked(checker: &Checker, collection: CollectionId, checks: u64) -> Result<()> {
    let begun = Instant::now();
    while checker.stats(collection).first().is_none_or(|(_, stats)| stats.checks < checks) {
        ensure!(begun.elapsed() < LIMIT, "check {checks} does not come: did the search scan?");
        thread::sleep(POLL);
    }
    Ok(())
}
