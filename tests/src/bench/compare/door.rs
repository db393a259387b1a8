//! Rows 8, 3, 4, 11 and 7: the whole path, over the Unix socket of one daemon with 271 partitions.
//!
//! The rows come in this order because each leaves what the next one needs: the import is measured
//! while the collection is filled, searches run on it, restarts find it as it is, and the writes of
//! row 7 come last because they change it.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use vecgrid_proto::v1 as pb;
use vecgridd::types::EngineKind;

use super::{
    Bench,
    served::{self, Door, Served},
    sweep::{self, Contender, Curve, Sample},
    verdict::{Figure, Verdict, Wanted, best},
};
use crate::{bench::index::PARTITIONS, grpc, load};

/// Recall that searches through the daemon must reach.
const RECALL: f64 = 0.99;
/// Searches in flight in row 4.
const FLIGHT: usize = 16;
/// Restarts of each sort; the slowest counts.
const RESTARTS: usize = 2;
/// Row 7: rows per second, rows per write, and how long each phase lasts, twice.
const WRITE_RATE: usize = 2_000;
const WRITE_BATCH: usize = 40;
const IDLE_PHASE: Duration = Duration::from_secs(4);
const WRITE_PHASE: Duration = Duration::from_secs(10);
const PHASES: usize = 2;

/// Measures those of the rows 8, 3, 4, 11 and 7 that are wanted.
///
/// # Errors
/// When ours cannot be measured.
pub fn measure(bench: &mut Bench) -> Result<()> {
    bench.progress.say("rows 8, 3, 4, 11, 7: through the daemon");
    let args = vec!["--build-threads".to_owned(), bench.options.build_threads.to_string()];
    let mut served = Served::start(PARTITIONS, args)?;
    served.create(bench.data.base.columns, &bench.index_body)?;
    bench.progress.now("the daemon imports");
    let took = served.import(served::all_rows(&bench.data), flat(bench))?;
    let (acknowledged, complete) = (took.acknowledged.as_secs_f64(), took.complete.as_secs_f64());
    bench.progress.say(&format!("imported in {acknowledged:.1} s, graph whole after {complete:.1} s"));
    if bench.rows.contains(&8) {
        import(bench, acknowledged, complete)?;
    }
    if bench.rows.contains(&3) {
        one_in_flight(bench, &served)?;
    }
    if bench.rows.contains(&4) {
        many_in_flight(bench, &served)?;
    }
    if bench.rows.contains(&11) {
        restarts(bench, &mut served)?;
    }
    if bench.rows.contains(&7) {
        beside_writes(bench, &served)?;
    }
    Ok(())
}

/// Has the engine no graph to wait for?
pub fn flat(bench: &Bench) -> bool {
    bench.index.engine == EngineKind::Flat
}

fn import(bench: &mut Bench, acknowledged: f64, complete: f64) -> Result<()> {
    let mut peers = Vec::new();
    let mut parts = json!({});
    for (engine, links) in qdrant_imports(bench) {
        let Some(answer) = bench.qdrant_import(engine, links) else { continue };
        let total = answer["total_s"].as_f64().context("an import without its time")?;
        let name = if links { format!("{engine} with filter links") } else { engine.to_owned() };
        parts[&name] = answer;
        peers.push(Figure::new(total, name));
    }
    let name = format!("durable import of {} rows, graph whole", bench.data.base.rows());
    let figures = (Some(Figure::new(complete, "")), best(peers, false));
    let verdict = Verdict::time(8, name, "s", figures, Wanted::AtLeast(1.5))
        .note(format!("all rows acknowledged after {acknowledged:.1} s"));
    bench.verdicts.push(verdict);
    bench.note(8, "ours", json!({"acknowledged_s": acknowledged, "complete_s": complete}));
    bench.note(8, "peers", parts);
    Ok(())
}

/// Qdrant's quickest import, without the links that its graph has for filters; and those with them,
/// where row 6 needs them anyway.
fn qdrant_imports(bench: &Bench) -> Vec<(&'static str, bool)> {
    let mut imports = vec![("qdrant_edge_int8", false)];
    if bench.rows.contains(&6) {
        imports.extend([("qdrant_edge_f32", true), ("qdrant_edge_int8", true)]);
    }
    imports
}

fn one_in_flight(bench: &mut Bench, served: &Served) -> Result<()> {
    let doors = [Door::Unary(1), Door::Stream(1), Door::Client(1)];
    let curve = explore(bench, served, doors[0])?;
    let ef = curve.breadth(RECALL);
    let peer = bench.peer_curve("hnswlib").and_then(|curve| curve.breadth(RECALL));
    let (mut ours, mut batch, mut single) = ([f64::INFINITY; 3], f64::INFINITY, f64::INFINITY);
    for round in 1..=bench.options.rounds {
        bench.progress.now(&format!("round {round}: one in flight, and hnswlib"));
        if let Some(ef) = ef {
            for (door, best) in doors.iter().zip(&mut ours) {
                let answers = served.ask(*door, served::searches(&bench.data, ef)?)?;
                *best = best.min(answers.median_us());
            }
        }
        if let Some(ef) = peer {
            let times = bench.hnswlib_us(ef);
            (single, batch) = (single.min(times.0), batch.min(times.1));
        }
    }
    // A single call goes through Python; a batch does not, but hides nothing else. The lower one counts.
    let other = peer.map(|ef| Figure::new(single.min(batch), format!("hnswlib ef={ef}")));
    for (door, p50) in doors.into_iter().zip(ours) {
        let figure = ef.map(|ef| Figure::new(p50, format!("ef={ef}")));
        let name = format!("daemon, 1 in flight ({}), p50", door.name());
        let verdict = Verdict::time(3, name, "us", (figure, other.clone()), Wanted::AtMost(1.0));
        bench.verdicts.push(
            verdict.note(format!("hnswlib: single calls p50 {single:.0} us, batch {batch:.0} us a query")),
        );
    }
    bench.note(3, "curve", json!(curve));
    bench.note(
        3,
        "p50_us",
        json!({"unary": ours[0], "stream": ours[1], "client": ours[2], "hnswlib_single": single, "hnswlib_batch": batch}),
    );
    Ok(())
}

fn many_in_flight(bench: &mut Bench, served: &Served) -> Result<()> {
    let doors = [Door::Unary(FLIGHT), Door::Stream(FLIGHT), Door::Client(FLIGHT)];
    let curve = explore(bench, served, doors[0])?;
    let ef = curve.breadth(RECALL);
    let mut peers = pairs(bench);
    let mut ours = [0.0f64; 3];
    for round in 1..=bench.options.rounds {
        bench.progress.now(&format!("round {round}: {FLIGHT} in flight, and peers on two cores"));
        if let Some(ef) = ef {
            for (door, best) in doors.iter().zip(&mut ours) {
                *best = best.max(served.ask(*door, served::searches(&bench.data, ef)?)?.rate());
            }
        }
        peers.iter_mut().for_each(|pair| pair.measure(bench));
    }
    let list: HashMap<&String, f64> = peers.iter().map(|pair| (&pair.engine, pair.rate)).collect();
    bench.note(4, "peers", json!(list));
    bench.note(4, "ours", json!({"unary": ours[0], "stream": ours[1], "client": ours[2], "ef": ef}));
    let figure = |pair: &Pair| Figure::new(pair.rate, format!("{} ef={}", pair.engine, pair.ef));
    let other = best(peers.iter().map(figure).collect(), true);
    for (door, rate) in doors.into_iter().zip(ours) {
        let figure = ef.map(|ef| Figure::new(rate, format!("ef={ef}")));
        let name = format!("daemon, {FLIGHT} in flight ({})", door.name());
        bench.verdicts.push(Verdict::rate(4, name, figure, other.clone(), Wanted::AtLeast(1.0)));
    }
    Ok(())
}

/// A peer on two cores: two threads, or two processes where one cannot use both.
struct Pair {
    engine: String,
    ef: usize,
    twin: Option<String>,
    rate: f64,
}

impl Pair {
    /// One more measurement; the best one stays.
    fn measure(&mut self, bench: &Bench) {
        let rate = bench.two_cores(&self.engine, self.twin.as_deref(), self.ef);
        self.rate = self.rate.max(bench.or_problem(rate).unwrap_or(0.0));
    }
}

fn pairs(bench: &mut Bench) -> Vec<Pair> {
    let mut pairs = Vec::new();
    for engine in bench.options.peers.clone() {
        let Some(ef) = bench.peer_curve(&engine).and_then(|curve| curve.breadth(RECALL)) else { continue };
        let threads = bench.built.get(&engine).and_then(|built| built.as_ref()?["threads"].as_bool());
        let twin = (threads == Some(false)).then(|| format!("{engine}+twin"));
        if twin.as_ref().is_none_or(|twin| bench.build_peer(twin).is_some()) {
            pairs.push(Pair { engine, ef, twin, rate: 0.0 });
        }
    }
    pairs
}

/// What rows 8, 3 and 4 ask peers, without ours.
pub fn peers_only(bench: &mut Bench) {
    for (engine, links) in qdrant_imports(bench) {
        bench.qdrant_import(engine, links);
    }
    let wanted = bench.options.peers.iter().any(|name| name == "hnswlib");
    let hnswlib = if wanted { bench.peer_curve("hnswlib") } else { None };
    let mut pairs = pairs(bench);
    for round in 1..=bench.options.rounds {
        bench.progress.now(&format!("round {round}: peers on two cores"));
        if let Some(ef) = hnswlib.as_ref().and_then(|curve| curve.breadth(RECALL)) {
            let (single, batch) = bench.hnswlib_us(ef);
            bench.progress.say(&format!(
                "hnswlib ef {ef}: single calls p50 {single:.0} us, batch {batch:.0} us a query"
            ));
        }
        pairs.iter_mut().for_each(|pair| pair.measure(bench));
    }
    for Pair { engine, ef, rate, .. } in pairs {
        bench.progress.say(&format!("{engine} on two cores: {rate:.0} queries/s at ef {ef}"));
    }
}

fn restarts(bench: &mut Bench, served: &mut Served) -> Result<()> {
    for (kill, how) in [(false, "graceful stop"), (true, "kill -9")] {
        let mut slowest = 0.0f64;
        let mut whole = true;
        for _ in 0..RESTARTS {
            bench.progress.now(&format!("restart after a {how}"));
            slowest = slowest.max(served.restart(kill)?.as_secs_f64());
            // At this very moment: a rebuild would show as rows outside the graph.
            whole &= served.complete(flat(bench))?;
        }
        let name = format!("restart with {} rows after a {how}", bench.data.base.rows());
        let verdict =
            Verdict::bound(11, name, "s", Some(Figure::new(slowest, "slowest")), Wanted::AtMost(1.0))
                .and(whole, "the graph was not whole when ready: it is built again");
        bench.verdicts.push(verdict);
        bench.note(11, how, json!({"ready_s": slowest, "whole": whole}));
    }
    bench.progress.now("the graph becomes whole again");
    served.wait_complete(flat(bench))
}

fn beside_writes(bench: &mut Bench, served: &Served) -> Result<()> {
    let curve = explore(bench, served, Door::Unary(1))?;
    let Some(ef) = curve.breadth(RECALL) else {
        let verdict = Verdict::bound(7, "searches beside writes", "us", None, Wanted::AtMost(2.0));
        bench.verdicts.push(verdict.note("recall 0.99 is never reached"));
        return Ok(());
    };
    for (number, door) in [Door::Unary(1), Door::Client(1)].into_iter().enumerate() {
        beside_writes_through(bench, served, door, (ef, number * PHASES))?;
    }
    Ok(())
}

/// Each phase writes rows that no other one writes, from `first` on.
fn beside_writes_through(
    bench: &mut Bench,
    served: &Served,
    door: Door,
    (ef, first): (usize, usize),
) -> Result<()> {
    let (mut idle, mut busy, mut rates) = (Vec::new(), Vec::new(), Vec::new());
    for phase in first..first + PHASES {
        bench.progress.now(&format!("phase {phase}: idle"));
        idle.extend(search_for(bench, served, (door, ef), &|begun| begun.elapsed() < IDLE_PHASE)?);
        bench.progress.now(&format!("phase {phase}: {WRITE_RATE} rows/s"));
        let writes = writes(bench, phase);
        let socket = served.daemon.ports().socket.clone();
        let over = AtomicBool::new(false);
        let (searched, written) = std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                let written = write_paced(&socket, writes);
                over.store(true, Relaxed);
                written
            });
            let searched = search_for(bench, served, (door, ef), &|_| !over.load(Relaxed));
            (searched, writer.join())
        });
        busy.extend(searched?);
        rates.push(written.map_err(|_| anyhow::anyhow!("the writer panicked"))??);
        served.wait_complete(flat(bench))?;
    }
    let slowest = rates.iter().copied().fold(f64::INFINITY, f64::min);
    let p99 = |times: &mut Vec<Duration>| load::percentile(times, 0.99).as_secs_f64() * 1e6;
    let (p99_idle, p99_busy) = (p99(&mut idle), p99(&mut busy));
    let name = format!("p99 beside {WRITE_RATE} rows/s, 1 in flight ({})", door.name());
    let figures = (Some(Figure::new(p99_busy, format!("ef={ef}"))), Some(Figure::new(p99_idle, "idle p99")));
    let verdict = Verdict::time(7, name, "us", figures, Wanted::AtMost(2.0))
        .note(format!("{} idle and {} busy searches, {slowest:.0} rows/s written", idle.len(), busy.len()))
        .and(slowest >= 0.95 * WRITE_RATE as f64, "the rate was not kept");
    bench.verdicts.push(verdict);
    let p50 = |times: &mut Vec<Duration>| load::percentile(times, 0.5).as_secs_f64() * 1e6;
    let medians = json!({"idle": p50(&mut idle), "busy": p50(&mut busy)});
    bench.note(
        7,
        door.name(),
        json!({"p99_idle": p99_idle, "p99_busy": p99_busy, "p50": medians, "ef": ef, "rows_per_s": rates}),
    );
    Ok(())
}

/// Times of searches, one after the other over one connection, as long as `go_on`.
fn search_for(
    bench: &Bench,
    served: &Served,
    (door, ef): (Door, usize),
    go_on: &dyn Fn(Instant) -> bool,
) -> Result<Vec<Duration>> {
    let searches = served::searches(&bench.data, ef)?;
    let line = served.connect(door)?;
    let begun = Instant::now();
    let mut times = Vec::new();
    // A hundred at a time, so that the end of a phase is seen soon.
    for part in searches.chunks(100).cycle() {
        if !go_on(begun) {
            break;
        }
        times.extend(served.ask_over(&line, part.to_vec())?.times);
    }
    Ok(times)
}

/// New rows for one phase: the vectors and metadata of known ones under new ids.
fn writes(bench: &Bench, phase: usize) -> Vec<pb::UpsertRequest> {
    let count = WRITE_RATE * WRITE_PHASE.as_secs() as usize;
    let rows = bench.data.base.rows();
    let order = phase * count..(phase + 1) * count;
    served::upserts(&bench.data, order, |i| format!("written-{i}"), |i| i % rows, WRITE_BATCH)
}

/// Sends each request at its time, over a connection of its own; rows per second that were acknowledged.
fn write_paced(socket: &std::path::Path, requests: Vec<pb::UpsertRequest>) -> Result<f64> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut client = grpc::client(grpc::socket(socket).await);
        let pause = Duration::from_secs_f64(WRITE_BATCH as f64 / WRITE_RATE as f64);
        let mut clock = tokio::time::interval(pause);
        let rows: usize = requests.iter().map(|request| request.entries.len()).sum();
        let begun = Instant::now();
        for request in requests {
            clock.tick().await;
            client.upsert(request).await?;
        }
        Ok(rows as f64 / begun.elapsed().as_secs_f64())
    })
}

fn explore(bench: &Bench, served: &Served, door: Door) -> Result<Curve> {
    bench.progress.now("the daemon: every breadth");
    sweep::explore(&mut DoorContender { bench, served, door, known: HashMap::new() }, &[RECALL])
}

/// Ours behind its socket.
struct DoorContender<'a> {
    bench: &'a Bench,
    served: &'a Served,
    door: Door,
    known: HashMap<usize, f64>,
}

impl Contender for DoorContender<'_> {
    fn name(&self) -> String {
        "ours".into()
    }

    fn measure(&mut self, ef: usize) -> Result<Sample> {
        let answers = self.served.ask(self.door, served::searches(&self.bench.data, ef)?)?;
        let recall = match self.known.get(&ef) {
            Some(&known) => known,
            None => self.bench.recall(&answers.rows(&self.bench.data)?),
        };
        self.known.insert(ef, recall);
        Ok(Sample { qps: answers.rate(), recall })
    }
}

impl Bench {
    /// Upserts all rows with metadata and field indexes into Qdrant's engine, once a run, with or
    /// without the links that its graph has for filters; `None`
    /// when it cannot be done, or this peer is not wanted.
    pub(super) fn qdrant_import(&mut self, engine: &str, links: bool) -> Option<Value> {
        if !self.options.peers.iter().any(|wanted| wanted == engine) {
            return None;
        }
        let who = if links { format!("{engine}+metadata") } else { format!("{engine}+import") };
        if let Some(known) = self.built.get(&who) {
            return known.clone();
        }
        self.progress.now(&format!("{who}: imports"));
        let question = json!({"do": "import", "links": links});
        let answer = self.peers.borrow_mut().ask(&who, &question, &|_| Value::Null);
        let answer = self.or_problem(answer);
        if let Some(answer) = &answer {
            self.progress.say(&format!("{who}: imported in {} s", answer["total_s"]));
        }
        self.built.insert(who, answer.clone());
        answer
    }

    /// Microseconds of a search in hnswlib: the median of single calls from Python, and the mean in a batch.
    fn hnswlib_us(&self, ef: usize) -> (f64, f64) {
        let ask = |question: Value, field: &str| {
            let answer = self.peers.borrow_mut().ask("hnswlib", &question, &|_| Value::Null);
            self.or_problem(answer).and_then(|answer| answer[field].as_f64()).unwrap_or(f64::NAN)
        };
        let single = ask(json!({"do": "single", "ef": ef}), "p50_us");
        (single, 1e6 / ask(json!({"do": "batch", "ef": ef, "threads": 1, "rows": false}), "qps"))
    }

    /// A peer's queries per second on two cores: two threads, or two processes at the same time.
    fn two_cores(&self, engine: &str, twin: Option<&str>, ef: usize) -> Result<f64> {
        let question = json!({"do": "batch", "ef": ef, "threads": 2, "rows": false});
        let rate = |answer: &Value| answer["qps"].as_f64().context("no qps");
        match twin {
            None => rate(&self.peers.borrow_mut().ask(engine, &question, &|_| Value::Null)?),
            Some(twin) => {
                let answers = self.peers.borrow_mut().ask_both([engine, twin], &question)?;
                Ok(rate(&answers[0])? + rate(&answers[1])?)
            }
        }
    }
}
