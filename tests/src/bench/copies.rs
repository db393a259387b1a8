//! `bench copies`: what backups cost writes, and what a search costs where every member has a copy of everything.
//!
//! ```text
//!          ┌▶ grid of 3, backups 0: the primary's disk          ─┐
//! a write ─┼▶ grid of 3, backups 1: and one more, meanwhile      ├─ rate, p50, fsyncs per 1,000 rows
//!          └▶ grid of 3, backups 2: and two more, meanwhile     ─┘
//! a search ─▶ one member │ a member of two, backups 1             ─ p50, wanted within 5 %
//! ```
//!
//! All grids run at the same time on this machine and are measured in turn, each round through the next member, so
//! that what else the machine does hits all alike. Members share the cores and the disk: on machines of their own the
//! copies cost the time on the network instead. Rows are those of the data set, in a collection without a graph, so
//! that nothing is built meanwhile; every write is on the disks that count before it is acknowledged.

use std::{
    fmt::Write as _,
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Result, bail, ensure};
use clap::Args;
use futures::stream::{self, StreamExt, TryStreamExt};
use serde::Serialize;
use serde_json::{Value, json};
use tonic::Status;
use vecgrid_proto::v1 as pb;

use super::{
    compare::{
        self,
        verdict::{self, Figure, Verdict, Wanted, median},
    },
    grid::{self, Bench, CALLS, Door, GRID_LIMIT, PARTITIONS, Side, us},
    progress::Progress,
    report::round,
};
use crate::{
    cluster::{ClusterOptions, Finding, TestCluster},
    daemon::{Daemon, Options as DaemonOptions},
    grpc::{self, Client},
    load::percentile,
    sample::{self, DataSet},
};

const COLLECTION: &str = "vecgrid-bench-writes";
const MEMBERS: usize = 3;
const BACKUPS: [u8; 3] = [0, 1, 2];
/// Writes before the clock starts, of each grid.
const WARM_UP: usize = 50;
/// What a search may cost at one of two members over a single one.
const WANTED: f64 = 1.05;

/// Options of `bench copies`.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// Rounds in which all are measured in turn
    #[arg(long, default_value_t = 6)]
    pub rounds: usize,
    /// Rows that are written in each round of each way: twice as many where several are in flight
    #[arg(long, default_value_t = 300)]
    pub writes: usize,
    /// Searches of each side in a round, unary and over a stream each; 0 = searches are left out
    #[arg(long, default_value_t = 400)]
    pub searches: usize,
    /// Write verdicts and measurements as one JSON document
    #[arg(long, value_name = "OUT")]
    pub json: Option<PathBuf>,
}

/// A way to write.
struct Way {
    name: &'static str,
    /// Rows of a request.
    rows: usize,
    in_flight: usize,
}

const WAYS: [Way; 4] = [
    Way { name: "single, 1 in flight", rows: 1, in_flight: 1 },
    Way { name: "single, 32 in flight", rows: 1, in_flight: 32 },
    Way { name: "100 rows, 1 in flight", rows: 100, in_flight: 1 },
    Way { name: "100 rows, 8 in flight", rows: 100, in_flight: 8 },
];

/// What was seen of a way to write to a grid.
#[derive(Default)]
struct Seen {
    times: Vec<Duration>,
    rows: usize,
    took: Duration,
    fsyncs: f64,
    sent: f64,
}

/// A line of the table.
#[derive(Debug, Serialize)]
struct Line {
    way: &'static str,
    backups: u8,
    rows_per_s: f64,
    p50_us: f64,
    p99_us: f64,
    fsyncs_per_1000: f64,
    sent_bytes_per_row: f64,
}

/// Measures and prints the tables.
///
/// # Errors
/// When something cannot be measured.
pub fn run(options: &Options) -> Result<()> {
    ensure!(options.rounds > 0 && options.writes > 0, "--rounds and --writes are at least 1");
    let (data, progress) = (sample::sample(), Progress::spinner());
    // One thread: with more, its own wake-ups between threads would be measured.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let lines = measure_writes(options, &data, &progress, &runtime)?;
    let verdicts = match options.searches {
        0 => Vec::new(),
        _ => measure_searches(options, &data, &progress, &runtime)?,
    };
    progress.end();
    println!("{}", table(&lines));
    if !verdicts.is_empty() {
        println!("{}", verdict::table(&verdicts));
    }
    let (machine, columns) = (compare::machine(), data.base.columns);
    println!("{MEMBERS} members, {PARTITIONS} partitions, rows of {columns} components; {machine}");
    let Some(path) = &options.json else { return Ok(()) };
    let document = json!({
        "verdicts": verdicts, "writes": lines, "members": MEMBERS, "partitions": PARTITIONS, "dimension": columns,
        "rounds": options.rounds, "machine": machine,
    });
    verdict::write(path, &document)
}

fn grid(members: usize, backups: u8) -> TestCluster {
    let options = ClusterOptions { partitions: PARTITIONS, backups, ..ClusterOptions::new(Finding::Seeds) };
    let mut cluster = TestCluster::launch(members, options);
    cluster.wait_one_grid(GRID_LIMIT);
    cluster.wait_copies(usize::from(backups) + 1, GRID_LIMIT);
    cluster
}

fn measure_writes(
    options: &Options,
    data: &DataSet,
    progress: &Progress,
    runtime: &tokio::runtime::Runtime,
) -> Result<Vec<Line>> {
    progress.now("grids start");
    let mut grids = BACKUPS.map(|backups| grid(MEMBERS, backups));
    runtime.block_on(async {
        let mut doors = Vec::new();
        for cluster in &mut grids {
            let mut of = Vec::with_capacity(MEMBERS);
            for number in 0..MEMBERS {
                of.push(Door::of(cluster.daemon(number)).await);
            }
            let columns = u32::try_from(data.base.columns)?;
            let mut config = grpc::config(COLLECTION, columns, pb::Metric::Cosine);
            config.durability = pb::Durability::Sync.into();
            config.index = Some(pb::IndexOptions { engine: "flat".to_owned(), ..Default::default() });
            grpc::create(&mut of[0].client.clone(), config).await;
            for door in &of {
                upsert_all(&door.client, requests(data, 0, WARM_UP, 1), 1).await?;
            }
            doors.push(of);
        }
        let mut seen: Vec<[Seen; BACKUPS.len()]> = WAYS.iter().map(|_| Default::default()).collect();
        let mut next = 0;
        for number in 0..options.rounds {
            progress.now(&format!("writes, round {} of {}", number + 1, options.rounds));
            for (way, seen) in WAYS.iter().zip(&mut seen) {
                let rows = options.writes * if way.in_flight > 1 { 2 } else { 1 };
                next += rows;
                for turn in 0..BACKUPS.len() {
                    let at = (number + turn) % BACKUPS.len();
                    let writes = requests(data, next, rows, way.rows);
                    seen[at].add(&doors[at], number, writes, way.in_flight).await?;
                }
            }
        }
        let line = |(way, seen): (&Way, [Seen; BACKUPS.len()])| {
            BACKUPS
                .into_iter()
                .zip(seen)
                .map(|(backups, seen)| seen.line(way.name, backups))
                .collect::<Vec<_>>()
        };
        Ok(WAYS.iter().zip(seen).flat_map(line).collect())
    })
}

impl Seen {
    async fn add(
        &mut self,
        doors: &[Door],
        number: usize,
        writes: Vec<pb::UpsertRequest>,
        in_flight: usize,
    ) -> Result<()> {
        let sum = |name: &str| doors.iter().map(|door| door.rest.metric(name, "")).sum::<f64>();
        let count =
            || (sum("vecgrid_wal_fsync_duration_seconds_count"), sum("vecgrid_copy_sent_bytes_total"));
        let before = count();
        self.rows += writes.iter().map(|request| request.entries.len()).sum::<usize>();
        let begun = Instant::now();
        self.times.extend(upsert_all(&doors[number % doors.len()].client, writes, in_flight).await?);
        self.took += begun.elapsed();
        let after = count();
        self.fsyncs += after.0 - before.0;
        self.sent += after.1 - before.1;
        Ok(())
    }

    fn line(mut self, way: &'static str, backups: u8) -> Line {
        let rows = self.rows as f64;
        let mut p = |share| round(us(percentile(&mut self.times, share)), 0);
        let (p50_us, p99_us) = (p(0.5), p(0.99));
        Line {
            way,
            backups,
            rows_per_s: round(rows / self.took.as_secs_f64(), 0),
            p50_us,
            p99_us,
            fsyncs_per_1000: round(self.fsyncs / rows * 1000.0, 0),
            sent_bytes_per_row: round(self.sent / rows, 0),
        }
    }
}

/// Rows under ids of their own, so many to a request.
fn requests(data: &DataSet, first: usize, rows: usize, each: usize) -> Vec<pb::UpsertRequest> {
    let entry = |number: usize| {
        let row = number % data.base.rows();
        let metadata = Value::Object(data.rows[row].metadata.clone());
        grpc::entry(&format!("{number}"), data.base.row(row), &metadata)
    };
    let request = |from: usize| pb::UpsertRequest {
        collection: COLLECTION.into(),
        entries: (from..(first + rows).min(from + each)).map(entry).collect(),
        request_id: String::new(),
    };
    (first..first + rows).step_by(each).map(request).collect()
}

/// How long each took.
async fn upsert_all(
    client: &Client,
    requests: Vec<pb::UpsertRequest>,
    in_flight: usize,
) -> Result<Vec<Duration>, Status> {
    let run = |request: pb::UpsertRequest| {
        let mut client = client.clone();
        async move {
            let begun = Instant::now();
            let answer = client.upsert(request).await?.into_inner();
            if answer.errors.is_empty() {
                Ok(begun.elapsed())
            } else {
                Err(Status::internal("entries refused"))
            }
        }
    };
    stream::iter(requests).map(run).buffer_unordered(in_flight).try_collect().await
}

fn measure_searches(
    options: &Options,
    data: &DataSet,
    progress: &Progress,
    runtime: &tokio::runtime::Runtime,
) -> Result<Vec<Verdict>> {
    progress.now("two members start");
    let single = Daemon::start_with(DaemonOptions { partitions: PARTITIONS, ..DaemonOptions::default() });
    let mut cluster = grid(2, 1);
    let (rounds, searches) = (options.rounds * 2, options.searches);
    let (members, engine, build_threads) = (2, String::new(), 1);
    let as_grid =
        grid::Options { data: None, members, engine, ef: None, rounds, searches, build_threads, json: None };
    let bench = Bench { options: &as_grid, data, progress };
    runtime.block_on(async {
        let side =
            |name: &str, doors| Side::new(name.to_owned(), (grid::COLLECTION, data.base.rows()), doors);
        let one = vec![Door::of(&single).await];
        let two = vec![Door::of(cluster.daemon(0)).await, Door::of(cluster.daemon(1)).await];
        let mut sides = [side("one member", one), side("one of two", two)];
        for side in &sides {
            bench.fill(side).await?;
        }
        for number in 0..rounds {
            bench.round(&mut sides, number).await?;
        }
        let asked = |door: &Door| door.rest.metric("vecgrid_members_asked_total", r#"verb="search""#);
        let asked: f64 = sides[1].doors.iter().map(asked).sum();
        (1..)
            .zip(CALLS)
            .enumerate()
            .map(|(at, (number, call))| verdict_of(at, number, call.place(), asked, &mut sides))
            .collect()
    })
}

fn verdict_of(at: usize, number: u8, call: &str, asked: f64, sides: &mut [Side; 2]) -> Result<Verdict> {
    let [one, two] = sides;
    let by_round: Vec<f64> = two.rounds[at].iter().zip(&one.rounds[at]).map(|(two, one)| two / one).collect();
    let Some(middle) = median(by_round) else { bail!("nothing was measured") };
    let figure = |side: &mut Side| {
        Some(Figure::new(round(us(percentile(&mut side.times[at], 0.5)), 1), side.name.clone()))
    };
    let (ours, other) = (figure(two), figure(one));
    let verdict =
        Verdict::time(number, format!("search p50, {call}"), "us", (ours, other), Wanted::AtMost(WANTED));
    Ok(verdict
        .note(format!("median of the rounds' ratios {middle:.3}"))
        .and(asked == 0.0, format!("another member was asked {asked} times")))
}

fn table(lines: &[Line]) -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = writeln!(
        text,
        "{:<24}{:>8}{:>10}{:>10}{:>10}{:>18}{:>16}",
        "writes", "backups", "rows/s", "p50_us", "p99_us", "fsyncs/1000 rows", "sent bytes/row"
    );
    for Line { way, backups, rows_per_s, p50_us, p99_us, fsyncs_per_1000, sent_bytes_per_row } in lines {
        let _ = writeln!(
            text,
            "{way:<24}{backups:>8}{rows_per_s:>10}{p50_us:>10}{p99_us:>10}{fsyncs_per_1000:>18}{sent_bytes_per_row:>16}"
        );
    }
    text
}
