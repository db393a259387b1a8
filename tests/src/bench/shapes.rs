//! `bench shapes`: other dimensions and metrics, beside the best peers.
//!
//! For each dimension and metric all engines get the same rows ([`vectors::shaped`], with lengths of their own where the
//! metric sees lengths) and take turns as in `bench compare`. Truth is an exact search of our index. A line for each rate at a recall
//! and one for the build, each with the ratio of ours to the best peer.

use std::{cell::RefCell, path::PathBuf};

use anyhow::{Result, ensure};
use clap::Args;
use serde_json::{Value, json};

use super::{
    compare::{
        self, K,
        peer::{self, PeerContender, Peers, Settings},
        speed::LocalContender,
        sweep::{self, Contender, Curve},
        verdict::{self, Figure, Verdict, Wanted, best},
    },
    data::Set,
    index::{Ours, PARTITIONS, Recipe},
    progress::Progress,
    vectors,
};
use crate::{npy::Matrix, sample::DataSet, truth::Metric};

/// Recall that rates are compared at.
const BOUNDS: [f64; 2] = [0.95, 0.995];
const SEED: u64 = 1;
/// What `bench compare` wants of the same rows.
const WANTED: Wanted = Wanted::AtLeast(2.0);

/// Options of `bench shapes`.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// Dimensions, comma-separated
    #[arg(long, value_delimiter = ',', default_value = "96,384,768,1536")]
    pub dimensions: Vec<usize>,
    /// Metrics, comma-separated
    #[arg(long, value_delimiter = ',', default_value = "cosine,euclidean,dot")]
    pub metrics: Vec<Metric>,
    /// Rows of each set: with 30,000 a dimension and metric takes about a minute
    #[arg(long, default_value_t = 30_000)]
    pub rows_count: usize,
    /// Queries of each set
    #[arg(long, default_value_t = 500)]
    pub queries: usize,
    /// Which peers, comma-separated
    #[arg(
        long,
        value_delimiter = ',',
        value_name = "NAMES",
        default_value = "hnswlib,faiss_hnsw,qdrant_edge_int8"
    )]
    pub peers: Vec<String>,
    /// Rounds in which all engines are measured in turn; the best one counts
    #[arg(long, default_value_t = 5)]
    pub rounds: usize,
    /// Ours.
    #[command(flatten)]
    pub ours: Ours,
    /// Threads that build
    #[arg(long, default_value_t = 2)]
    pub build_threads: usize,
    /// Measure on the sample that ships, also where the full set is
    #[arg(long)]
    pub sample: bool,
    /// Write verdicts and curves as one JSON document
    #[arg(long, value_name = "OUT")]
    pub json: Option<PathBuf>,
}

/// Measures all shapes and prints the table.
///
/// # Errors
/// When ours cannot be measured. A peer that cannot be is named in the output.
pub fn run(options: &Options) -> Result<()> {
    for name in &options.peers {
        ensure!(peer::ALL.contains(&name.as_str()), "there is no peer {name}: there are {:?}", peer::ALL);
    }
    ensure!(
        options.rounds > 0 && options.queries > 0 && options.rows_count > K,
        "--rounds and --queries are at least 1, --rows-count more than {K}"
    );
    let data = compare::load(options.sample).0;
    let shapes: Vec<(usize, Metric)> = options
        .dimensions
        .iter()
        .flat_map(|dimension| options.metrics.iter().map(|metric| (*dimension, *metric)))
        .collect();
    let progress = Progress::of(shapes.len() * (options.peers.len() + 2));
    let mut run = Run { options, progress, verdicts: Vec::new(), curves: json!({}), problems: Vec::new() };
    for (at, (dimension, metric)) in shapes.into_iter().enumerate() {
        run.measure(at as u8 + 1, &set(&data, dimension, metric, options))?;
    }
    run.finish()
}

fn set(data: &DataSet, dimension: usize, metric: Metric, options: &Options) -> Set {
    let mut base = vectors::shaped(&data.base, options.rows_count, dimension, SEED);
    let queries = vectors::shaped(&data.queries, options.queries, dimension, SEED);
    if metric != Metric::Cosine {
        vectors::lengthen(&mut base, SEED);
    }
    Set { base, queries, truth: Matrix { columns: K, data: Vec::new() }, metric }
}

struct Run<'a> {
    options: &'a Options,
    progress: Progress,
    verdicts: Vec<Verdict>,
    curves: Value,
    problems: Vec<String>,
}

impl Run<'_> {
    fn measure(&mut self, number: u8, set: &Set) -> Result<()> {
        let options = self.options;
        let shape = format!("{} {}", set.base.columns, set.metric.name());
        let (index, _) = options.ours.options()?;
        let settings = Settings {
            metric: set.metric,
            m: index.m,
            ef_construction: index.ef_construction,
            build_threads: options.build_threads,
            k: K,
            metadata: None,
        };
        let build_threads = options.build_threads;
        let recipe = Recipe { metric: set.metric, index, build_threads, partitions: PARTITIONS };
        self.progress.now(&format!("{shape}: ours builds"));
        let (local, took) = recipe.build(recipe.changes(&set.base, None)?, set.base.columns)?;
        let truth = local.exact(&recipe, &set.queries, K)?;
        let set = Set { truth, base: set.base.clone(), queries: set.queries.clone(), metric: set.metric };
        let judge = |answers: &[Vec<usize>]| set.recall(K, answers);
        let mut ours = LocalContender::new(&local, &recipe, &set.queries, &judge);
        let curve = sweep::explore(&mut ours, &BOUNDS)?;
        self.progress.step();

        let peers = RefCell::new(Peers::new(&set.base, &set.queries, settings, None, None)?);
        let mut all: Vec<(Box<dyn Contender + '_>, Curve)> = vec![(Box::new(ours), curve)];
        let mut builds = Vec::new();
        for name in &options.peers {
            self.progress.now(&format!("{shape}: {name}"));
            match explore(&peers, name, &judge) {
                Ok((contender, curve, build_s)) => {
                    builds.push(Figure::new(build_s, name));
                    all.push((Box::new(contender), curve));
                }
                Err(error) => self.problems.push(format!("{shape}: {error:#}")),
            }
            self.progress.step();
        }
        sweep::rounds(&mut all, &BOUNDS, options.rounds, |text| {
            self.progress.now(&format!("{shape}: {text}"))
        })?;
        let curves: Vec<(String, Curve)> = all.into_iter().map(|(who, curve)| (who.name(), curve)).collect();
        for bound in BOUNDS {
            let ours = curves.first().and_then(|(_, curve)| curve.figure(bound, ""));
            let peers = curves.iter().skip(1).filter_map(|(name, curve)| curve.figure(bound, name)).collect();
            let name = format!("{shape}, recall >= {bound}");
            self.verdicts.push(Verdict::rate(number, name, ours, best(peers, true), WANTED));
        }
        let figures = (Some(Figure::new(took.as_secs_f64(), "")), best(builds.clone(), false));
        self.verdicts.push(Verdict::time(number, format!("{shape}, build"), "s", figures, WANTED));
        self.curves[&shape] = json!({"builds": builds, "curves": curves});
        self.progress.step();
        Ok(())
    }

    fn finish(self) -> Result<()> {
        self.progress.end();
        println!("{}", verdict::table(&self.verdicts));
        let machine = compare::machine();
        println!("{} rows, {} queries, k={K}; {machine}", self.options.rows_count, self.options.queries);
        for problem in &self.problems {
            println!("not measured: {problem}");
        }
        let Some(path) = &self.options.json else { return Ok(()) };
        let document = json!({
            "verdicts": self.verdicts, "measured": self.curves, "problems": self.problems,
            "rows": self.options.rows_count, "machine": machine,
        });
        verdict::write(path, &document)
    }
}

/// A peer, built and asked at every breadth; with the seconds that its build took.
fn explore<'a>(
    peers: &'a RefCell<Peers>,
    name: &str,
    judge: &'a dyn Fn(&[Vec<usize>]) -> f64,
) -> Result<(PeerContender<'a>, Curve, f64)> {
    let built = peers.borrow_mut().ask(name, &json!({"do": "build"}), &|_| Value::Null)?;
    let mut contender =
        PeerContender { peers, engine: name.to_owned(), judge, known: std::collections::HashMap::new() };
    let curve = sweep::explore(&mut contender, &BOUNDS)?;
    Ok((contender, curve, built["build_s"].as_f64().unwrap_or_default()))
}
