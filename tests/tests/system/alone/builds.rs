//! Several threads build as good a graph as one: the same recall at every breadth.
//!
//! Rows keep the order in which they come, where neighbours are often near each other: two of them that are linked at the same
//! time do not find each other, which is how several threads lose recall. Two graphs of the same rows are never the same, so recall
//! also differs by chance. So pairs of builds, each of other rows in a row, are averaged; the error of the mean is printed,
//! and a difference counts as too large when chance does not explain it (two such errors). On the full set
//! where it is, else on the sample.

use std::time::Instant;

use vecgridd::types::IndexOptions;
use vecgridd_tests::{
    bench::{
        data::Set,
        index::{self, PARTITIONS, Recipe, rows_of},
    },
    npy::Matrix,
    report,
    sample::{self, DataSet},
    truth::Metric,
};

const K: usize = 10;
const BREADTHS: [usize; 8] = [10, 16, 24, 32, 64, 96, 128, 256];
const THREADS: [usize; 2] = [1, 2];
/// The largest difference of recall that is allowed.
const BOUND: f64 = 0.001;
/// Pairs of builds.
const PAIRS: usize = 12;
/// Rows of each build.
const ROWS: usize = 25_000;
/// Queries, at most.
const QUERIES: usize = 1_000;

/// Recall at each breadth, of a graph that so many threads built.
fn recalls(set: &Set, build_threads: usize) -> [f64; BREADTHS.len()] {
    let index = IndexOptions::default();
    let recipe = Recipe { metric: set.metric, index, build_threads, partitions: PARTITIONS };
    let (local, _) = recipe.build(recipe.changes(&set.base, None).unwrap(), set.base.columns).unwrap();
    BREADTHS.map(|ef| {
        let queries = recipe.queries(&set.queries, K, Some(ef), None).unwrap();
        let answers: Vec<_> = queries.iter().map(|query| local.search(query).unwrap()).collect();
        set.recall(K, &rows_of(&answers).unwrap())
    })
}

/// Rows from a place on, round the end.
fn window(data: &DataSet, from: usize) -> Set {
    let rows =
        (from..from + ROWS.min(data.base.rows() * 3 / 4)).map(|row| data.base.row(row % data.base.rows()));
    let base = Matrix { columns: data.base.columns, data: rows.flatten().copied().collect() };
    let mut queries = data.queries.clone();
    queries.truncate(QUERIES.min(queries.rows()));
    let truth = index::exact(&base, &queries, Metric::Cosine, K).unwrap();
    Set { base, queries, truth, metric: Metric::Cosine }
}

#[test]
fn two_threads_build_as_good_a_graph_as_one() {
    let data = sample::wordnet().unwrap_or_else(|| {
        report!("the full set is not here: builders are compared on the sample");
        sample::sample()
    });
    let begun = Instant::now();
    let pairs: Vec<[[f64; BREADTHS.len()]; 2]> = (0..PAIRS)
        .map(|pair| window(&data, pair * data.base.rows() / PAIRS))
        .map(|set| THREADS.map(|threads| recalls(&set, threads)))
        .collect();
    report!("{PAIRS} pairs of builds, {:.0} s", begun.elapsed().as_secs_f64());
    report!("{:>5} {:>9} {:>9} {:>11} {:>9}", "ef", "1 thread", "2 threads", "difference", "error");
    let count = PAIRS as f64;
    let mut too_large = Vec::new();
    for (at, ef) in BREADTHS.iter().enumerate() {
        let mean =
            |of: &dyn Fn(&[[f64; BREADTHS.len()]; 2]) -> f64| pairs.iter().map(of).sum::<f64>() / count;
        let (one, two) = (mean(&|pair| pair[0][at]), mean(&|pair| pair[1][at]));
        let difference = two - one;
        let variance = mean(&|pair| (pair[1][at] - pair[0][at] - difference).powi(2)) * count / (count - 1.0);
        let error = (variance / count).sqrt();
        report!("{ef:>5} {one:>9.5} {two:>9.5} {difference:>+11.5} {error:>9.5}");
        if difference.abs() > BOUND + 2.0 * error {
            too_large.push(*ef);
        }
    }
    assert!(too_large.is_empty(), "recall differs by more than {BOUND} at ef {too_large:?}");
}
