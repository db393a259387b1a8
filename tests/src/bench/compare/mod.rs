//! `bench compare`: everything this project promises about speed, beside peers, in one run.
//!
//! ```text
//!  speed    1 queries/s at a recall   2 build   5 many partitions against one      in this process
//!  filters  6 eight filters                                                       in this process
//!  door     8 import   3 one in flight   4 sixteen in flight   11 restart   7 beside writes   one daemon
//!  memory   9 bytes per row   10 every row replaced                               daemons of its own
//! ```
//!
//! Rows are numbered as `--rows` takes them. Each ends as one or more [`Verdict`]s: ours, the best
//! peer, the ratio, what is wanted, met or not. All peers are measured in the same run, in turn with
//! ours; one that cannot be is named. Everything is judged by the same code ([`crate::truth`]).
//! `tests/BENCHMARKS.md` says how each number is made and what is not equal between engines.

pub mod door;
pub mod filters;
pub mod memory;
pub mod peer;
pub mod served;
pub mod speed;
pub mod sweep;
pub mod verdict;

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet, HashMap},
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde_json::{Value, json};
use vecgridd::types::IndexOptions;

use self::{
    peer::{PeerContender, Peers, Settings},
    sweep::Curve,
    verdict::Verdict,
};
use super::{index::Ours, progress::Progress};
use crate::{
    npy::Matrix,
    sample::{self, DataSet},
    truth::{Judge, Metric},
};

/// Hits per query.
pub const K: usize = 10;
/// Recall that rates are compared at.
pub const BOUNDS: [f64; 4] = [0.95, 0.99, 0.995, 0.999];
/// All rows, in the order in which they are measured.
const ROWS: [u8; 11] = [1, 2, 5, 6, 8, 3, 4, 11, 7, 9, 10];

/// Options of `bench compare`.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// Which rows, comma-separated; default: all
    #[arg(long, value_delimiter = ',', value_name = "ROWS")]
    pub rows: Vec<u8>,
    /// Ours.
    #[command(flatten)]
    pub ours: Ours,
    /// Measure on the sample that ships, also where the full set is there
    #[arg(long)]
    pub sample: bool,
    /// Which peers, comma-separated; default: all
    #[arg(long, value_delimiter = ',', value_name = "NAMES", default_values_t = peer::ALL.map(str::to_owned))]
    pub peers: Vec<String>,
    /// Rounds in which all engines are measured in turn; the best one counts
    #[arg(long, default_value_t = 5)]
    pub rounds: usize,
    /// Threads that build
    #[arg(long, default_value_t = 2)]
    pub build_threads: usize,
    /// Measure only the peers, for --save-peers: an engine in the making is measured often, they once
    #[arg(long, conflicts_with = "reuse_peers")]
    pub peers_only: bool,
    /// Keep what the peers answered
    #[arg(long, value_name = "FILE")]
    pub save_peers: Option<PathBuf>,
    /// Take the peers' answers from an earlier run instead of measuring them
    #[arg(long, value_name = "FILE")]
    pub reuse_peers: Option<PathBuf>,
    /// Write verdicts and measurements as one JSON document
    #[arg(long, value_name = "OUT")]
    pub json: Option<PathBuf>,
}

/// One run.
pub struct Bench {
    options: Options,
    rows: BTreeSet<u8>,
    data: DataSet,
    index: IndexOptions,
    /// `index`, as the daemon is told: only what was given.
    index_body: Value,
    peers: RefCell<Peers>,
    /// What each built peer said of its build; `None` when it cannot be built.
    built: BTreeMap<String, Option<Value>>,
    curves: BTreeMap<String, Curve>,
    verdicts: Vec<Verdict>,
    /// Everything that was measured, by row.
    measured: BTreeMap<String, Value>,
    problems: RefCell<Vec<String>>,
    progress: Progress,
}

/// Measures and prints the table.
///
/// # Errors
/// When ours cannot be measured. A peer that cannot be is named in the output.
pub fn run(options: Options) -> Result<()> {
    let begun = Instant::now();
    let mut bench = Bench::new(options)?;
    if bench.options.peers_only {
        bench.measure_peers()?;
        return bench.finish(begun.elapsed());
    }
    for row in ROWS {
        if bench.rows.contains(&row) && !bench.done(row) {
            bench.measure(row).with_context(|| format!("row {row}"))?;
        }
    }
    bench.finish(begun.elapsed())
}

impl Bench {
    fn new(options: Options) -> Result<Self> {
        let rows: BTreeSet<u8> = match &options.rows[..] {
            [] => ROWS.into(),
            some => some.iter().copied().collect(),
        };
        for row in &rows {
            ensure!(ROWS.contains(row), "there is no row {row}: rows are 1 to {}", ROWS.len());
        }
        for name in &options.peers {
            ensure!(peer::ALL.contains(&name.as_str()), "there is no peer {name}: there are {:?}", peer::ALL);
        }
        ensure!(options.rounds > 0, "--rounds is at least 1");
        let (index, index_body) = options.ours.options()?;
        let (data, metadata) = load(options.sample);
        let settings = Settings {
            metric: Metric::Cosine,
            m: index.m,
            ef_construction: index.ef_construction,
            build_threads: options.build_threads,
            k: K,
            metadata: Some(metadata),
        };
        let (save, reuse) = (options.save_peers.clone(), options.reuse_peers.as_deref());
        let peers = Peers::new(&data.base, &data.queries, settings, save, reuse)?;
        let progress = Progress::spinner();
        if options.reuse_peers.is_some() {
            progress.say("peers are NOT measured in this run: their numbers come from --reuse-peers");
        }
        Ok(Self {
            options,
            rows,
            data,
            index,
            index_body,
            peers: RefCell::new(peers),
            built: BTreeMap::new(),
            curves: BTreeMap::new(),
            verdicts: Vec::new(),
            measured: BTreeMap::new(),
            problems: RefCell::default(),
            progress,
        })
    }

    fn done(&self, row: u8) -> bool {
        self.verdicts.iter().any(|verdict| verdict.row == row)
    }

    fn measure(&mut self, row: u8) -> Result<()> {
        match row {
            1 | 2 | 5 => speed::measure(self),
            6 => filters::measure(self),
            9 | 10 => memory::measure(self),
            _ => door::measure(self),
        }
    }

    /// Everything that the wanted rows ask peers.
    fn measure_peers(&mut self) -> Result<()> {
        let wants = |rows: &[u8]| rows.iter().any(|row| self.rows.contains(row));
        let (speed, door, filters) = (wants(&[1, 2]), wants(&[3, 4, 8]), wants(&[6]));
        if speed {
            speed::peers_only(self)?;
        }
        if door {
            door::peers_only(self);
        }
        if filters {
            filters::peers_only(self)?;
        }
        Ok(())
    }

    /// Recall of answers to the queries, one for each.
    fn recall(&self, answers: &[Vec<usize>]) -> f64 {
        recall(&self.data.base, &self.data.queries, &self.data.truth, answers)
    }

    /// Builds a peer unless it is built; `None` when it cannot be.
    fn build_peer(&mut self, engine: &str) -> Option<Value> {
        if let Some(known) = self.built.get(engine) {
            return known.clone();
        }
        self.progress.now(&format!("{engine} builds"));
        let answer = self.peers.borrow_mut().ask(engine, &json!({"do": "build"}), &|_| Value::Null);
        let built = self.or_problem(answer);
        if let Some(built) = &built {
            self.progress.say(&format!("{engine}: {}, built in {} s", built["version"], built["build_s"]));
        }
        self.built.insert(engine.to_owned(), built.clone());
        built
    }

    /// A peer's rates and recalls at all bounds; `None` when it cannot be measured.
    fn peer_curve(&mut self, engine: &str) -> Option<Curve> {
        if let Some(curve) = self.curves.get(engine) {
            return Some(curve.clone());
        }
        self.build_peer(engine)?;
        self.progress.now(&format!("{engine}: every breadth"));
        let judge = |answers: &[Vec<usize>]| self.recall(answers);
        let mut contender = self.contender(engine, &judge);
        let curve = sweep::explore(&mut contender, &BOUNDS);
        let curve = self.or_problem(curve)?;
        self.curves.insert(engine.to_owned(), curve.clone());
        Some(curve)
    }

    fn contender<'a>(&'a self, engine: &str, judge: &'a dyn Fn(&[Vec<usize>]) -> f64) -> PeerContender<'a> {
        // What a curve says already need not be judged again.
        let known = self.curves.get(engine);
        let known = known.map(|curve| curve.0.iter().map(|(&ef, sample)| (ef, sample.recall)).collect());
        PeerContender {
            peers: &self.peers,
            engine: engine.to_owned(),
            judge,
            known: known.unwrap_or_default(),
        }
    }

    /// Notes a peer's failure and goes on.
    fn or_problem<T>(&self, result: Result<T>) -> Option<T> {
        let error = match result {
            Ok(value) => return Some(value),
            Err(error) => format!("{error:#}"),
        };
        self.progress.say(&format!("PROBLEM: {error}"));
        self.problems.borrow_mut().push(error);
        None
    }

    fn note(&mut self, row: u8, what: &str, value: Value) {
        let place = self.measured.entry(format!("row {row}")).or_insert_with(|| json!({}));
        place[what] = value;
    }

    fn finish(self, took: Duration) -> Result<()> {
        let mut verdicts = self.verdicts;
        verdicts.retain(|verdict| self.rows.contains(&verdict.row));
        verdicts.sort_by_key(|verdict| verdict.row);
        self.progress.end();
        let machine = machine();
        if !self.options.peers_only {
            println!("{}", verdict::table(&verdicts));
        }
        let (rows, dimension) = (self.data.base.rows(), self.data.base.columns);
        println!(
            "{rows} rows of {dimension} components, {} queries, k={K}, cosine; {machine}",
            self.data.queries.rows()
        );
        let peers = self.peers.borrow();
        if let Some(path) = &self.options.reuse_peers {
            println!("peers' numbers were reused from {}: they are of another time", path.display());
        }
        let problems = self.problems.borrow();
        for problem in problems.iter() {
            println!("not measured: {problem}");
        }
        println!("took {:.0} s", took.as_secs_f64());
        let Some(path) = &self.options.json else { return Ok(()) };
        let versions: HashMap<&String, &Value> = self
            .built
            .iter()
            .filter_map(|(name, built)| Some((name, built.as_ref()?.get("version")?)))
            .collect();
        let document = json!({
            "verdicts": verdicts, "measured": self.measured, "problems": *problems,
            "index": self.index_body, "rows": rows, "dimension": dimension, "k": K, "machine": machine,
            "versions": versions, "peers_reused": peers.reused(), "seconds": took.as_secs_f64(),
        });
        verdict::write(path, &document)
    }
}

/// The full set where it is, else the sample; with the file of its texts.
pub fn load(sample_only: bool) -> (DataSet, PathBuf) {
    let full = if sample_only { None } else { sample::wordnet() };
    match full {
        Some(data) => (data, sample::wordnet_folder().join("wordnet_base.jsonl")),
        None => {
            if !sample_only {
                eprintln!(
                    "the full data set is not in {}: measuring on the sample, whose ratios say little of larger sets",
                    sample::wordnet_folder().display()
                );
            }
            (sample::sample(), sample::sample_folder().join("wordnet_8k.jsonl"))
        }
    }
}

/// Mean recall of answers, one per query, in order.
pub fn recall(base: &Matrix<f32>, queries: &Matrix<f32>, truth: &Matrix<i32>, answers: &[Vec<usize>]) -> f64 {
    let one = |(query, found): (usize, &Vec<usize>)| {
        let (query, truth) = (queries.row(query), truth.row(query));
        Judge { base, metric: Metric::Cosine, query, truth }.recall(K, found)
    };
    answers.iter().enumerate().map(one).sum::<f64>() / answers.len().max(1) as f64
}

/// What the numbers belong to.
pub fn machine() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| {
        let line = info.lines().find(|line| line.starts_with(name))?;
        line.split_once(':').map(|(_, value)| value.trim().to_owned())
    };
    let flags = field("flags").unwrap_or_default();
    let widest = ["avx512_vnni", "avx512f", "avx2", "asimddp"]
        .into_iter()
        .find(|flag| flags.split(' ').any(|known| known == *flag))
        .unwrap_or("no wide registers known");
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    format!(
        "{cores} cores of {}, {widest}",
        field("model name").unwrap_or_else(|| "an unknown processor".into())
    )
}
