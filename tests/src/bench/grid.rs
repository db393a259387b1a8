//! `bench grid`: what it costs to ask every member of a grid instead of one that holds everything.
//!
//! ```text
//!                 ┌▶ one member, all rows                                    ─▶ p50 ─┐
//! one search ─────┤                                                                  ├─ the difference
//! (unary, stream) └▶ a member of the grid ═▶ itself and all others, at once  ─▶ p50 ─┘
//! ```
//!
//! All run on this machine, with the same rows in as many partitions. Members find each other by seeds; they are
//! measured once each holds its share and every graph is built. Rounds take turns, so that what else the machine does
//! hits both sides alike, and each round asks the next member of the grid. One search is in flight: on a grid of
//! machines its parts are searched at the same time, here the members share the cores, so the difference is an upper
//! bound. Beside it stands how long members searched themselves, which is not the cost of scattering and gathering; and
//! all is measured a second time with so few rows that searching is next to nothing.

use std::{
    fmt::Write as _,
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use serde::Serialize;
use serde_json::{Value, json};
use vecgrid_proto::v1 as pb;

use super::{
    compare::{
        self, K,
        verdict::{self, Figure, Verdict, Wanted, median},
    },
    daemon::Call,
    progress::Progress,
    report::round,
};
use crate::{
    cluster::{ClusterOptions, Finding, TestCluster},
    daemon::{Daemon, Options as DaemonOptions},
    grpc::{self, Client},
    load::{self, percentile},
    rest::Rest,
    sample::{self, DataSet},
    wait,
};

/// The collections: all rows, and the first few.
pub(super) const COLLECTION: &str = "vecgrid-bench";
const FEW: (&str, usize) = ("vecgrid-bench-few", 300);
pub(super) const PARTITIONS: u16 = 271;
/// Until a grid is one and balanced.
pub(super) const GRID_LIMIT: Duration = Duration::from_secs(120);
/// Until all rows are in graphs, and breadths are measured.
const BUILD_LIMIT: Duration = Duration::from_secs(900);
/// Searches of a round that are asked before the clock starts.
const WARM_UP: usize = 30;
/// What asking all members may cost, microseconds.
const WANTED_US: f64 = 300.0;
pub(super) const CALLS: [Call; 2] = [Call::Unary, Call::Stream];

/// Options of `bench grid`.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// Measure on the full set in this folder, or where VECGRID_DATA says; without it, on the sample
    #[arg(long, value_name = "FOLDER", num_args = 0..=1)]
    pub data: Option<Option<PathBuf>>,
    /// Members of the grid
    #[arg(long, default_value_t = 3)]
    pub members: usize,
    /// Engine of the collection; without it, the default one
    #[arg(long, default_value = "")]
    pub engine: String,
    /// Breadth of the walk; without it, each member chooses by its own measurements, as for an app that names none
    #[arg(long)]
    pub ef: Option<u32>,
    /// Rounds in which both sides are measured in turn
    #[arg(long, default_value_t = 12)]
    pub rounds: usize,
    /// Searches of each side in a round, unary and over a stream each
    #[arg(long, default_value_t = 400)]
    pub searches: usize,
    /// Threads that build, in each member
    #[arg(long, default_value_t = 2)]
    pub build_threads: usize,
    /// Write verdicts and measurements as one JSON document
    #[arg(long, value_name = "OUT")]
    pub json: Option<PathBuf>,
}

/// Measures and prints the table.
///
/// # Errors
/// When something cannot be measured, or an answer is not whole.
pub fn run(options: &Options) -> Result<()> {
    ensure!(
        options.members > 1 && options.rounds > 0 && options.searches > 0,
        "--members is at least 2, --rounds and --searches at least 1"
    );
    let data = match &options.data {
        None => sample::sample(),
        Some(folder) => {
            let folder = folder.clone().unwrap_or_else(sample::wordnet_folder);
            sample::wordnet_in(&folder)
                .with_context(|| format!("the full data set is not in {}", folder.display()))?
        }
    };
    let progress = Progress::spinner();
    progress.now("members start");
    let args = vec!["--build-threads".to_owned(), options.build_threads.to_string()];
    let single = DaemonOptions { partitions: PARTITIONS, args: args.clone(), ..DaemonOptions::default() };
    let single = Daemon::start_with(single);
    let members = ClusterOptions { partitions: PARTITIONS, args, ..ClusterOptions::new(Finding::Seeds) };
    let mut cluster = TestCluster::launch(options.members, members);
    cluster.wait_one_grid(GRID_LIMIT);
    cluster.wait_balanced(GRID_LIMIT);

    // One thread: with more, its own wake-ups between threads would be measured.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let measured = runtime.block_on(async {
        let one = vec![Door::of(&single).await];
        let mut grid = Vec::with_capacity(options.members);
        for number in 0..options.members {
            grid.push(Door::of(cluster.daemon(number)).await);
        }
        let name = format!("grid of {}", options.members);
        let pair = |collection, rows| {
            let side =
                |name: &str, doors: &[Door]| Side::new(name.to_owned(), (collection, rows), doors.to_vec());
            [side("one member", &one), side(&name, &grid)]
        };
        let mut pairs = [pair(COLLECTION, data.base.rows()), pair(FEW.0, FEW.1.min(data.base.rows()))];
        let bench = Bench { options, data: &data, progress: &progress };
        for side in pairs.iter().flatten() {
            bench.fill(side).await?;
        }
        for side in pairs.iter_mut().flatten() {
            bench.judge(side).await?;
        }
        for number in 0..options.rounds {
            for pair in &mut pairs {
                bench.round(pair, number).await?;
            }
        }
        Ok::<_, anyhow::Error>(pairs)
    })?;
    progress.end();
    finish(options, &data, measured)
}

/// A member, as the app beside it asks it.
#[derive(Clone)]
pub(super) struct Door {
    pub(super) client: Client,
    pub(super) rest: Rest,
}

impl Door {
    pub(super) async fn of(daemon: &Daemon) -> Self {
        Self { client: daemon.grpc_socket().await, rest: daemon.admin() }
    }
}

/// What is measured against the other: its members, and what was seen so far.
pub(super) struct Side {
    pub(super) name: String,
    collection: &'static str,
    rows: usize,
    pub(super) doors: Vec<Door>,
    /// Times of all searches, and the median of each round; by call.
    pub(super) times: [Vec<Duration>; 2],
    pub(super) rounds: [Vec<f64>; 2],
    judged: Judged,
}

/// What was seen while the clock did not run.
#[derive(Debug, Clone, Default, Serialize)]
struct Judged {
    /// Where the truth is known: of all rows.
    recall: Option<f64>,
    /// How members search, as the one with the most rows tells it.
    plan: String,
    /// Median of the time that a search took where it took longest, microseconds.
    search_us: f64,
}

impl Side {
    pub(super) fn new(name: String, (collection, rows): (&'static str, usize), doors: Vec<Door>) -> Self {
        let (times, rounds, judged) = (Default::default(), Default::default(), Judged::default());
        Self { name, collection, rows, doors, times, rounds, judged }
    }
}

/// Where in a side's figures a call is.
fn at(call: Call) -> usize {
    CALLS.iter().position(|one| *one == call).unwrap_or_default()
}

pub(super) fn us(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

pub(super) struct Bench<'a> {
    pub(super) options: &'a Options,
    pub(super) data: &'a DataSet,
    pub(super) progress: &'a Progress,
}

impl Bench<'_> {
    /// Imports, and waits until nothing is left to be built or measured by the members.
    pub(super) async fn fill(&self, side: &Side) -> Result<()> {
        self.progress.now(&format!("{}: import", side.name));
        let mut client = side.doors[0].client.clone();
        let columns = u32::try_from(self.data.base.columns)?;
        let mut config = grpc::config(side.collection, columns, pb::Metric::Cosine);
        config.index = Some(pb::IndexOptions { engine: self.options.engine.clone(), ..Default::default() });
        let request = pb::CreateCollectionRequest { config: Some(config) };
        client.create_collection(request).await.context("create")?;
        let took = load::upsert_stream(&mut client, self.upserts(side)).await;
        let begun = Instant::now();
        self.progress.now(&format!("{}: graphs are built", side.name));
        wait::until_async(&format!("{}: every graph is built", side.name), BUILD_LIMIT, || {
            let mut client = client.clone();
            // A member with few rows has no graph, and nothing that is to go into it.
            let tail: f64 =
                side.doors.iter().map(|door| door.rest.metric("vecgrid_index_tail_rows", "")).sum();
            async move {
                let request = pb::GetCollectionRequest { name: side.collection.into() };
                let info = client.get_collection(request).await;
                let info = info.unwrap_or_else(|e| panic!("get_collection: {e:?}")).into_inner();
                // Breadths are measured again when a quarter of the graph is new.
                (tail == 0.0 && info.calibrated_rows * 5 >= info.indexed * 4).then_some(())
            }
        })
        .await;
        self.progress.say(&format!(
            "{}: {} rows in {:.1} s, graphs whole and breadths measured {:.1} s later",
            side.name,
            side.rows,
            took.as_secs_f64(),
            begun.elapsed().as_secs_f64()
        ));
        Ok(())
    }

    fn upserts(&self, side: &Side) -> Vec<pb::UpsertRequest> {
        let entry = |row: usize| {
            let text = &self.data.rows[row];
            grpc::entry(&text.id, self.data.base.row(row), &Value::Object(text.metadata.clone()))
        };
        let request = |from: usize| pb::UpsertRequest {
            collection: side.collection.into(),
            entries: (from..side.rows.min(from + load::BATCH)).map(entry).collect(),
            request_id: String::new(),
        };
        (0..side.rows).step_by(load::BATCH).map(request).collect()
    }

    fn search(&self, side: &Side, query: usize) -> Result<pb::SearchRequest> {
        let query = self.data.queries.row(query % self.data.queries.rows());
        let search = grpc::search(side.collection, query, u32::try_from(K)?);
        Ok(pb::SearchRequest { ef: self.options.ef, ..search })
    }

    /// Asks every query once, explained: recall, and how long members search.
    async fn judge(&self, side: &mut Side) -> Result<()> {
        self.progress.now(&format!("{}: recall", side.name));
        let explained = |query| Ok(pb::SearchRequest { explain: true, ..self.search(side, query)? });
        let searches = (0..self.data.queries.rows()).map(explained).collect::<Result<Vec<_>>>()?;
        let answers = Call::Unary.search(&side.doors[0].client, searches, 1).await?;
        let (mut found, mut times) = (Vec::with_capacity(answers.len()), Vec::with_capacity(answers.len()));
        for (answer, _) in answers {
            whole(&answer)?;
            found.push(answer.hits.iter().map(|hit| self.data.row_of(&hit.id)).collect());
            let explain = answer.explain.context("a search that is not explained")?;
            times.push(explain.steps.iter().map(|step| step.took_ns as f64 / 1e3).sum());
            side.judged.plan = explain.plan;
        }
        if side.rows == self.data.base.rows() {
            let recall = compare::recall(&self.data.base, &self.data.queries, &self.data.truth, &found);
            side.judged.recall = Some(round(recall, 4));
        }
        side.judged.search_us = round(median(times).unwrap_or_default(), 1);
        Ok(())
    }

    /// Both sides, with the same searches; the one that is first is second in the next round.
    pub(super) async fn round(&self, sides: &mut [Side; 2], number: usize) -> Result<()> {
        self.progress.now(&format!("round {} of {}", number + 1, self.options.rounds));
        let first = number * self.options.searches;
        let searches = (first..first + self.options.searches)
            .map(|query| self.search(&sides[0], query))
            .collect::<Result<Vec<_>>>()?;
        for call in CALLS {
            for turn in 0..2 {
                let side = &mut sides[(number + turn) % 2];
                let client = &side.doors[number % side.doors.len()].client;
                let warm_up = searches.iter().take(WARM_UP).cloned().collect();
                call.search(client, warm_up, 1).await?;
                let answers = call.search(client, searches.clone(), 1).await?;
                answers.iter().try_for_each(|(answer, _)| whole(answer))?;
                let mut times: Vec<Duration> = answers.into_iter().map(|(_, time)| time).collect();
                side.rounds[at(call)].push(us(percentile(&mut times, 0.5)));
                side.times[at(call)].extend(times);
            }
        }
        Ok(())
    }
}

fn whole(answer: &pb::SearchResponse) -> Result<()> {
    let coverage = answer.coverage.unwrap_or_default();
    if coverage.answered != coverage.partitions || answer.hits.len() != K {
        let (found, answered, all) = (answer.hits.len(), coverage.answered, coverage.partitions);
        bail!("an answer with {found} hits covers {answered} of {all} partitions");
    }
    Ok(())
}

/// A line of the table.
#[derive(Debug, Clone, Serialize)]
struct Line {
    who: String,
    rows: usize,
    call: &'static str,
    p50_us: f64,
    p99_us: f64,
    #[serde(flatten)]
    judged: Judged,
}

fn finish(options: &Options, data: &DataSet, mut pairs: [[Side; 2]; 2]) -> Result<()> {
    let mut lines = Vec::new();
    let mut verdicts = Vec::new();
    for (number, (pair, call)) in (1..).zip([(0, CALLS[0]), (0, CALLS[1]), (1, CALLS[0]), (1, CALLS[1])]) {
        let sides = &mut pairs[pair];
        for side in &mut *sides {
            let times = &mut side.times[at(call)];
            let mut p = |share| round(us(percentile(times, share)), 1);
            let (p50_us, p99_us) = (p(0.5), p(0.99));
            let judged = side.judged.clone();
            let (who, rows) = (side.name.clone(), side.rows);
            lines.push(Line { who, rows, call: call.place(), p50_us, p99_us, judged });
        }
        let [.., one, grid] = &lines[..] else { bail!("there are two sides") };
        verdicts.push(verdict_of(number, call, (one, grid), sides));
    }
    // Searches that were put together, and who took part, over all members of the grid.
    let sum = |end: &str| -> f64 {
        let name = format!("vecgrid_search_members_{end}");
        pairs[0].iter().flat_map(|side| &side.doors).map(|door| door.rest.metric(&name, "")).sum()
    };
    let asked = round(sum("sum") / sum("count").max(1.0), 3);
    println!("{}{}", table(&lines), verdict::table(&verdicts));
    let machine = compare::machine();
    let (rows, dimension) = (data.base.rows(), data.base.columns);
    println!(
        "{rows} rows of {dimension} components, k={K}, cosine; {} rounds of {} searches; {asked} members per \
         search of the grid; {machine}",
        options.rounds, options.searches
    );
    let Some(path) = &options.json else { return Ok(()) };
    let document = json!({
        "verdicts": verdicts, "measured": lines, "members_per_search": asked, "rows": rows,
        "dimension": dimension, "k": K, "rounds": options.rounds, "searches": options.searches,
        "machine": machine,
    });
    verdict::write(path, &document)
}

/// The grid's median less that of one member.
fn verdict_of(number: u8, call: Call, (one, grid): (&Line, &Line), sides: &[Side; 2]) -> Verdict {
    let how = format!("{} - {}", grid.p50_us, one.p50_us);
    let cost = Figure::new(round(grid.p50_us - one.p50_us, 1), how);
    let rounds = sides[1].rounds[at(call)].iter().zip(&sides[0].rounds[at(call)]);
    let by_round: Vec<f64> = rounds.map(|(grid, one)| grid - one).collect();
    let least = by_round.iter().copied().fold(f64::INFINITY, f64::min);
    let most = by_round.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let searching = grid.judged.search_us - one.judged.search_us;
    let name = format!("{} over {}, {} rows, {}: p50", grid.who, one.who, one.rows, call.place());
    Verdict::bound(number, name, "us", Some(cost), Wanted::AtMost(WANTED_US))
        .note(format!("by round {least:.0} to {most:.0} us; members search {searching:.0} us longer"))
}

fn table(lines: &[Line]) -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = writeln!(
        text,
        "{:<12}{:>8}  {:<8}{:>10}{:>10}{:>11}{:>9}  plan",
        "who", "rows", "call", "p50_us", "p99_us", "search_us", "recall"
    );
    for Line { who, rows, call, p50_us, p99_us, judged } in lines {
        let Judged { recall, plan, search_us } = judged;
        let recall = recall.map_or("-".to_owned(), |recall| format!("{recall:.4}"));
        let _ = writeln!(
            text,
            "{who:<12}{rows:>8}  {call:<8}{p50_us:>10.1}{p99_us:>10.1}{search_us:>11.1}{recall:>9}  {plan}"
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(who: &str, p50_us: f64) -> Line {
        Line { who: who.to_owned(), rows: 1, call: "socket", p50_us, p99_us: 0.0, judged: Judged::default() }
    }

    #[test]
    fn the_cost_is_the_difference_of_the_medians() {
        let mut sides = ["one", "grid"].map(|name| Side::new(name.to_owned(), (COLLECTION, 1), Vec::new()));
        sides[0].rounds[0] = vec![100.0, 120.0];
        sides[1].rounds[0] = vec![350.0, 460.0];
        let of = |grid| verdict_of(1, Call::Unary, (&line("one", 110.0), &line("grid", grid)), &sides);
        let kept = of(410.0);
        assert!(kept.met && kept.ratio == Some(300.0), "{kept:?}");
        assert!(kept.note.starts_with("by round 250 to 340 us"), "{}", kept.note);
        assert!(!of(410.2).met);
    }

    #[test]
    fn an_answer_that_is_not_whole_is_seen() {
        let hits = vec![pb::Hit::default(); K];
        let coverage = Some(pb::Coverage { answered: 271, partitions: 271 });
        let answer = pb::SearchResponse { hits, coverage, ..Default::default() };
        whole(&answer).unwrap();
        whole(&pb::SearchResponse { hits: Vec::new(), ..answer.clone() }).unwrap_err();
        let coverage = Some(pb::Coverage { answered: 270, partitions: 271 });
        whole(&pb::SearchResponse { coverage, ..answer }).unwrap_err();
    }
}
