//! `bench growth`: what a query, a build and a row cost as rows become more.
//!
//! Each size is built anew and asked until it reaches a recall; truth is an exact search of the same index. Beyond the
//! real rows, they are repeated with noise ([`vectors::grown`]). At the end each column is held against two laws:
//! `a + b log n`, which a graph promises, and a power of `n`.

use std::{
    fs::{self, OpenOptions},
    io::Write,
    path::PathBuf,
};

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde::{Deserialize, Serialize};

use super::{
    compare::{
        self, K,
        speed::LocalContender,
        sweep::{self, Contender, Curve},
    },
    data::Set,
    index::{Local, Ours, PARTITIONS, Recipe},
    progress::Progress,
    report::round,
    vectors,
};
use crate::truth::Metric;

/// Recall that the time of a query is given at.
const BOUNDS: [f64; 2] = [0.95, 0.99];
/// Times that all queries are asked at each breadth; the best one counts.
const ROUNDS: usize = 7;
const SEED: u64 = 1;
/// Vectors, truth, build, breadths, rounds.
const STEPS: usize = 5;

/// Options of `bench growth`.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// Numbers of rows, comma-separated
    #[arg(
        long,
        value_delimiter = ',',
        value_name = "ROWS",
        default_value = "10000,30000,100000,300000,1000000"
    )]
    pub sizes: Vec<usize>,
    /// Leave out what is larger: 100,000 rows take twenty seconds, a million three minutes
    #[arg(long, value_name = "ROWS")]
    pub max_rows: Option<usize>,
    /// Queries that recall is measured with; time is measured with all there are
    #[arg(long, default_value_t = 200)]
    pub queries: usize,
    /// Length of the noise on repeated rows, against the row's own
    #[arg(long, default_value_t = 0.3)]
    pub noise: f32,
    /// Ours.
    #[command(flatten)]
    pub ours: Ours,
    /// Threads that build
    #[arg(long, default_value_t = 2)]
    pub build_threads: usize,
    /// Measure on the sample that ships, also where the full set is
    #[arg(long)]
    pub sample: bool,
    /// Add each size to this file, one JSON object per line. Sizes that are in it already are taken from it, not
    /// measured: so a long run can be made of short ones
    #[arg(long, value_name = "OUT")]
    pub json: Option<PathBuf>,
}

/// One size.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Line {
    rows: usize,
    /// At each of [`BOUNDS`]: breadth, recall, microseconds; `None` where it is never reached.
    at: [Option<(usize, f64, f64)>; BOUNDS.len()],
    build_us_per_row: f64,
    bytes_per_row: f64,
    /// Rows that are repeated ones with noise.
    repeated: usize,
}

/// Measures all sizes and prints them with their laws.
///
/// # Errors
/// When an index cannot be built or asked.
pub fn run(options: &Options) -> Result<()> {
    ensure!(options.queries > 0 && options.build_threads > 0, "--queries and --build-threads are at least 1");
    let mut known = read(options)?;
    let data = compare::load(options.sample).0;
    let (index, _) = options.ours.options()?;
    let most = options.max_rows.unwrap_or(usize::MAX);
    let mut sizes: Vec<usize> = options.sizes.iter().copied().filter(|size| *size <= most).collect();
    sizes.sort_unstable();
    sizes.dedup();
    ensure!(
        sizes.first().is_some_and(|size| *size > K),
        "there is nothing to measure: look at --sizes and --max-rows"
    );
    let open: Vec<usize> =
        sizes.iter().copied().filter(|size| !known.iter().any(|line| line.rows == *size)).collect();
    let progress = Progress::of(open.len() * STEPS);
    for rows in open {
        progress.now(&format!("{rows} rows: vectors"));
        let set = Set {
            base: vectors::grown(&data.base, rows, options.noise, SEED),
            queries: data.queries.clone(),
            truth: crate::npy::Matrix { columns: K, data: Vec::new() },
            metric: Metric::Cosine,
        };
        let recipe = Recipe {
            metric: set.metric,
            index: index.clone(),
            build_threads: options.build_threads,
            partitions: PARTITIONS,
        };
        let line = measure(set, &recipe, options, rows.saturating_sub(data.base.rows()), &progress)?;
        progress.say(&text(&line));
        write(options, &line)?;
        known.push(line);
    }
    progress.end();
    known.retain(|line| sizes.contains(&line.rows));
    known.sort_by_key(|line| line.rows);
    print(&known, options, data.base.rows());
    Ok(())
}

fn measure(
    mut set: Set,
    recipe: &Recipe,
    options: &Options,
    repeated: usize,
    progress: &Progress,
) -> Result<Line> {
    let rows = set.base.rows();
    progress.step();
    progress.now(&format!("{rows} rows: build"));
    let (local, took) = recipe.build(recipe.changes(&set.base, None)?, set.base.columns)?;
    progress.step();
    progress.now(&format!("{rows} rows: truth"));
    let mut few = set.queries.clone();
    few.truncate(options.queries.min(few.rows()));
    set.truth = local.exact(recipe, &few, K)?;
    progress.step();
    progress.now(&format!("{rows} rows: every breadth"));
    let curve = curve(&set, &local, recipe, progress)?;
    let at = BOUNDS.map(|bound| {
        let (ef, sample) = curve.best(bound)?;
        Some((ef, round(sample.recall, 4), round(1e6 / sample.qps, 1)))
    });
    let per_row = |value: f64, digits| round(value / rows as f64, digits);
    Ok(Line {
        rows,
        at,
        build_us_per_row: per_row(took.as_secs_f64() * 1e6, 2),
        bytes_per_row: per_row(local.bytes() as f64, 1),
        repeated,
    })
}

/// Time is of all queries, recall of those that have a truth.
fn curve(set: &Set, local: &Local, recipe: &Recipe, progress: &Progress) -> Result<Curve> {
    let judge = |answers: &[Vec<usize>]| set.recall(K, &answers[..set.truth.rows()]);
    let mut ours = LocalContender::new(local, recipe, &set.queries, &judge);
    let curve = sweep::explore(&mut ours, &BOUNDS)?;
    progress.step();
    let mut all: Vec<(Box<dyn Contender + '_>, Curve)> = vec![(Box::new(ours), curve)];
    sweep::rounds(&mut all, &BOUNDS, ROUNDS, |text| progress.now(text))?;
    progress.step();
    Ok(all.pop().map(|(_, curve)| curve).unwrap_or_default())
}

fn read(options: &Options) -> Result<Vec<Line>> {
    let Some(path) = options.json.as_ref().filter(|path| path.exists()) else { return Ok(Vec::new()) };
    let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let lines = text.lines().map(serde_json::from_str).collect::<Result<_, _>>();
    lines.with_context(|| format!("{} is not what this command writes", path.display()))
}

fn write(options: &Options, line: &Line) -> Result<()> {
    let Some(path) = &options.json else { return Ok(()) };
    let file = OpenOptions::new().create(true).append(true).open(path);
    let mut file = file.with_context(|| path.display().to_string())?;
    writeln!(file, "{}", serde_json::to_string(line)?).with_context(|| path.display().to_string())
}

fn text(line: &Line) -> String {
    let at = |at: &Option<(usize, f64, f64)>| match at {
        Some((ef, recall, us)) => format!("{us:>8.1} (ef {ef:>3}, {recall:.4})"),
        None => format!("{:>25}", "never"),
    };
    format!(
        "{:>9}  {}  {}  {:>9.2}  {:>9.1}",
        line.rows,
        at(&line.at[0]),
        at(&line.at[1]),
        line.build_us_per_row,
        line.bytes_per_row
    )
}

fn print(lines: &[Line], options: &Options, real: usize) {
    println!(
        "{:>9}  {:<25}  {:<25}  {:>9}  {:>9}",
        "rows", "us/query @ 0.95", "us/query @ 0.99", "build us", "bytes"
    );
    println!("{:>9}  {:<25}  {:<25}  {:>9}  {:>9}", "", "", "", "per row", "per row");
    for line in lines {
        println!("{}", text(line));
    }
    let columns: [(&str, Vec<(f64, f64)>); 3] = [
        ("us/query @ 0.95", points(lines, |line| line.at[0].map(|(_, _, us)| us))),
        ("us/query @ 0.99", points(lines, |line| line.at[1].map(|(_, _, us)| us))),
        ("build us per row", points(lines, |line| Some(line.build_us_per_row))),
    ];
    for (name, points) in columns {
        match (Fit::of(&points, |x| x.log2()), Fit::of_logs(&points)) {
            (Some(log), Some(power)) => println!(
                "{name}: {:.1} + {:.2} log2(n), R2 {:.3}, farthest {:.0} % off; as a power: n^{:.2}, R2 {:.3}",
                log.at_zero,
                log.slope,
                log.r2,
                100.0 * log.farthest,
                power.slope,
                power.r2
            ),
            _ => println!("{name}: too few sizes for a law"),
        }
    }
    let most = lines.iter().map(|line| line.rows).max().unwrap_or(0);
    if most > real {
        println!("beyond {real} rows: the same again, with noise of {} of a row's length", options.noise);
    }
    println!(
        "k={K}, cosine, {} build threads, one search thread; recall of {} queries; {}",
        options.build_threads,
        options.queries,
        compare::machine()
    );
}

fn points(lines: &[Line], y: impl Fn(&Line) -> Option<f64>) -> Vec<(f64, f64)> {
    lines.iter().filter_map(|line| Some((line.rows as f64, y(line)?))).collect()
}

/// A straight line by least squares.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Fit {
    at_zero: f64,
    slope: f64,
    /// Share of the variance that the line explains.
    r2: f64,
    /// Largest distance of a point from the line, against the point.
    farthest: f64,
}

impl Fit {
    /// `y = at_zero + slope · x(n)`; `None` of fewer than three points.
    fn of(points: &[(f64, f64)], x: impl Fn(f64) -> f64) -> Option<Self> {
        if points.len() < 3 {
            return None;
        }
        let points: Vec<(f64, f64)> = points.iter().map(|(n, y)| (x(*n), *y)).collect();
        let count = points.len() as f64;
        let mean = |of: &dyn Fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
        let (x, y) = (mean(&|p| p.0), mean(&|p| p.1));
        let slope = mean(&|p| (p.0 - x) * (p.1 - y)) / mean(&|p| (p.0 - x).powi(2));
        let at_zero = y - slope * x;
        let off = |p: &(f64, f64)| p.1 - at_zero - slope * p.0;
        let r2 = 1.0 - mean(&|p| off(p).powi(2)) / mean(&|p| (p.1 - y).powi(2)).max(f64::MIN_POSITIVE);
        let farthest = points.iter().map(|p| (off(p) / p.1).abs()).fold(0.0, f64::max);
        Some(Self { at_zero, slope, r2, farthest })
    }

    /// `y = c · n^slope`.
    fn of_logs(points: &[(f64, f64)]) -> Option<Self> {
        let logs: Vec<(f64, f64)> = points.iter().map(|(n, y)| (*n, y.ln())).collect();
        Self::of(&logs, f64::ln)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn laws_are_told_apart() {
        let sizes = [1e4, 3e4, 1e5, 3e5, 1e6];
        let log: Vec<(f64, f64)> = sizes.iter().map(|n: &f64| (*n, 20.0 + 3.0 * n.log2())).collect();
        let fit = Fit::of(&log, f64::log2).unwrap();
        assert!((fit.at_zero - 20.0).abs() < 1e-9 && (fit.slope - 3.0).abs() < 1e-9, "{fit:?}");
        assert!(fit.r2 > 0.999_999 && fit.farthest < 1e-9);
        let root: Vec<(f64, f64)> = sizes.iter().map(|n: &f64| (*n, 2.0 * n.sqrt())).collect();
        let power = Fit::of_logs(&root).unwrap();
        assert!((power.slope - 0.5).abs() < 1e-9 && power.r2 > 0.999_999, "{power:?}");
        let log = Fit::of(&root, f64::log2).unwrap();
        assert!(log.r2 < power.r2 && log.farthest > 0.2, "{log:?}");
        assert_eq!(Fit::of(&root[..2], f64::log2), None);
    }

    #[test]
    fn what_is_written_is_read_again() {
        let line = Line {
            rows: 10_000,
            at: [Some((12, 0.951, 20.5)), None],
            build_us_per_row: 30.25,
            bytes_per_row: 2_000.0,
            repeated: 0,
        };
        let text = serde_json::to_string(&line).unwrap();
        assert_eq!(serde_json::from_str::<Line>(&text).unwrap(), line);
    }
}
