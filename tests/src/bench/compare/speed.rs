//! Rows 1, 2 and 5: the index inside this process, one search thread.
//!
//! Ours is built before all peers and once more after them, and the slower build counts. The rates
//! are of rounds in which ours and all peers take turns. Ours answers ids and distances of hits, as a
//! search of the daemon does before it goes over the wire; peers answer row numbers and distances.

use std::{collections::HashMap, time::Instant};

use anyhow::Result;
use serde_json::json;

use super::{
    BOUNDS, Bench, K,
    sweep::{self, Contender, Curve, Sample},
    verdict::{Figure, Verdict, Wanted, best},
};
use crate::{
    bench::{
        index::{Local, PARTITIONS, Recipe, rows_of},
        report::round,
    },
    npy::Matrix,
    truth::Metric,
};

/// What row 1 wants at which recall.
const RATES: [(f64, f64); 3] = [(0.95, 2.0), (0.995, 2.0), (0.999, 1.5)];
/// Breadths at which the recall of builds is compared.
const BUILD_BREADTHS: [usize; 3] = [32, 64, 128];
/// By so much a recall may be below the peer's and the build still count as good.
const SAME_RECALL: f64 = 0.001;
/// By so much a peer's recall may be below ours and its build still be held against ours.
const SIMILAR_RECALL: f64 = 0.005;
/// Pairs of measurements of row 5.
const PARTITION_ROUNDS: usize = 15;

/// Measures those of the rows 1, 2 and 5 that are wanted.
///
/// # Errors
/// When ours cannot be built or asked.
pub fn measure(bench: &mut Bench) -> Result<()> {
    bench.progress.say("rows 1, 2, 5: in this process, one thread");
    let recipe = recipe(bench, PARTITIONS);
    let (local, first) = build(bench, &recipe)?;
    let judge_data = bench.data.clone();
    let judge = |answers: &[Vec<usize>]| {
        super::recall(&judge_data.base, &judge_data.queries, &judge_data.truth, answers)
    };
    let mut ours = LocalContender::new(&local, &recipe, &judge_data.queries, &judge);

    if bench.rows.contains(&5) {
        partitions(bench, &mut ours)?;
    }
    if !bench.rows.contains(&1) && !bench.rows.contains(&2) {
        return Ok(());
    }
    bench.progress.now("ours: every breadth");
    let curve = sweep::explore(&mut ours, &BOUNDS)?;
    let mut depths = Vec::new();
    for ef in BUILD_BREADTHS {
        depths.push((ef, ours.measure(ef)?.recall));
    }
    let peers = bench.options.peers.clone();
    let peers: Vec<(String, Curve)> =
        peers.into_iter().filter_map(|name| bench.peer_curve(&name).map(|curve| (name, curve))).collect();

    if bench.rows.contains(&1) {
        let all = rounds(bench, Some((ours, curve)), &peers, &judge)?;
        rates(bench, &all);
    }
    if bench.rows.contains(&2) {
        // The first one's memory goes back before the second is built.
        drop(local);
        let (_, second) = build(bench, &recipe)?;
        builds(bench, &depths, [first, second], &judge)?;
    }
    Ok(())
}

fn recipe(bench: &Bench, partitions: u16) -> Recipe {
    let (index, build_threads) = (bench.index.clone(), bench.options.build_threads);
    Recipe { metric: Metric::Cosine, index, build_threads, partitions }
}

fn build(bench: &Bench, recipe: &Recipe) -> Result<(Local, f64)> {
    bench.progress.now("ours builds");
    let (local, took) = recipe.build(recipe.changes(&bench.data.base, None)?, bench.data.base.columns)?;
    bench.progress.say(&format!("ours: built in {:.1} s", took.as_secs_f64()));
    Ok((local, took.as_secs_f64()))
}

/// What rows 1 and 2 ask peers, without ours; prints their rates.
///
/// # Errors
/// When a peer fails after it was built and measured once.
pub fn peers_only(bench: &mut Bench) -> Result<()> {
    let data = bench.data.clone();
    let judge = |answers: &[Vec<usize>]| super::recall(&data.base, &data.queries, &data.truth, answers);
    let peers = bench.options.peers.clone();
    let peers: Vec<(String, Curve)> =
        peers.into_iter().filter_map(|name| bench.peer_curve(&name).map(|curve| (name, curve))).collect();
    let all = rounds(bench, None, &peers, &judge)?;
    for (name, _) in &all {
        let mut contender = bench.contender(name, &judge);
        for ef in BUILD_BREADTHS {
            contender.measure(ef)?;
        }
    }
    print(bench, &all);
    bench.note(2, "peers", json!(bench.built));
    Ok(())
}

/// All engines in turn; their curves with the best rates, ours first.
fn rounds(
    bench: &mut Bench,
    ours: Option<(LocalContender<'_>, Curve)>,
    peers: &[(String, Curve)],
    judge: &dyn Fn(&[Vec<usize>]) -> f64,
) -> Result<Vec<(String, Curve)>> {
    let mut all: Vec<(Box<dyn Contender + '_>, Curve)> = Vec::new();
    if let Some((ours, curve)) = ours {
        all.push((Box::new(ours), curve));
    }
    for (name, curve) in peers {
        all.push((Box::new(bench.contender(name, judge)), curve.clone()));
    }
    sweep::rounds(&mut all, &BOUNDS, bench.options.rounds, |text| bench.progress.now(text))?;
    let curves: Vec<(String, Curve)> =
        all.into_iter().map(|(contender, curve)| (contender.name(), curve)).collect();
    bench.curves.extend(curves.iter().filter(|(name, _)| name != "ours").cloned());
    Ok(curves)
}

fn rates(bench: &mut Bench, all: &[(String, Curve)]) {
    for (bound, wanted) in RATES {
        let ours = all.first().and_then(|(_, curve)| curve.figure(bound, ""));
        let peers = all.iter().skip(1).filter_map(|(name, curve)| curve.figure(bound, name)).collect();
        let name = format!("in-process, 1 thread, recall >= {bound}");
        bench.verdicts.push(Verdict::rate(1, name, ours, best(peers, true), Wanted::AtLeast(wanted)));
    }
    print(bench, all);
}

/// Rates at the bounds, for people, and whole curves, for the file.
fn print(bench: &mut Bench, all: &[(String, Curve)]) {
    let curves: HashMap<&String, &Curve> = all.iter().map(|(name, curve)| (name, curve)).collect();
    bench.note(1, "curves", json!(curves));
    for (name, curve) in all {
        let at = |bound: &f64| match curve.best(*bound) {
            Some((ef, sample)) => format!("{:.0} @ {bound} (ef {ef})", sample.qps),
            None => format!("never {bound}"),
        };
        bench.progress.say(&format!("{name}: {}", BOUNDS.iter().map(at).collect::<Vec<_>>().join(", ")));
    }
}

fn builds(
    bench: &mut Bench,
    depths: &[(usize, f64)],
    took: [f64; 2],
    judge: &dyn Fn(&[Vec<usize>]) -> f64,
) -> Result<()> {
    let mut peers = Vec::new();
    let mut recalls: HashMap<String, Vec<f64>> = HashMap::new();
    for (name, built) in bench.built.iter().filter(|(name, _)| !name.contains('+')) {
        let Some(seconds) = built.as_ref().and_then(|built| built["build_s"].as_f64()) else { continue };
        let mut contender = bench.contender(name, judge);
        let measured: Result<Vec<f64>> =
            BUILD_BREADTHS.iter().map(|&ef| contender.measure(ef).map(|sample| sample.recall)).collect();
        let Some(measured) = bench.or_problem(measured) else { continue };
        recalls.insert(name.clone(), measured);
        peers.push(Figure::new(seconds, name));
    }
    let own: Vec<f64> = depths.iter().map(|(_, recall)| *recall).collect();
    let list = |recalls: &[f64]| recalls.iter().map(|r| format!("{r:.4}")).collect::<Vec<_>>().join(" ");
    // A quick build of a poor graph is no feat: the peers that reach our recall are a line of their own, if there are any.
    let as_good = |figure: &Figure| {
        let theirs = recalls.get(&figure.of).into_iter().flatten();
        own.iter().zip(theirs).all(|(own, theirs)| theirs + SIMILAR_RECALL >= *own)
    };
    let similar: Vec<Figure> = peers.iter().filter(|figure| as_good(figure)).cloned().collect();
    let name = format!("build, {} threads", bench.options.build_threads);
    let similar = (!similar.is_empty()).then(|| (format!("{name}, peers of similar recall"), similar));
    for (name, peers) in std::iter::once((format!("{name}, any peer"), peers)).chain(similar) {
        let fastest = best(peers, false);
        let theirs =
            fastest.as_ref().and_then(|fastest| recalls.get(&fastest.of)).cloned().unwrap_or_default();
        let good = own.iter().zip(&theirs).all(|(own, theirs)| own + SAME_RECALL >= *theirs);
        let figure = Figure::new(took[0].max(took[1]), "slower of two");
        let verdict = Verdict::time(2, name, "s", (Some(figure), fastest), Wanted::AtLeast(2.0))
            .note(format!("builds {:.1} s and {:.1} s", took[0], took[1]))
            .note(format!(
                "recall at ef {BUILD_BREADTHS:?}: ours {}, that peer {}",
                list(&own),
                list(&theirs)
            ))
            .and(good, "recall at the same ef is below that peer's");
        bench.verdicts.push(verdict);
    }
    recalls.insert("ours".into(), own);
    bench.note(2, "recall", json!({"ef": BUILD_BREADTHS, "engines": recalls}));
    bench.note(2, "ours_build_s", json!(took));
    bench.note(2, "peers", json!(bench.built));
    Ok(())
}

/// The same rows in one partition and in many, asked in turn.
fn partitions(bench: &mut Bench, many: &mut LocalContender<'_>) -> Result<()> {
    let recipe = recipe(bench, 1);
    let (local, _) = build(bench, &recipe)?;
    let mut one = LocalContender::new(&local, &recipe, many.queries, many.judge);
    let curve = sweep::explore(many, &[0.99])?;
    let Some(ef) = curve.breadth(0.99) else {
        let verdict = Verdict::bound(5, "271 partitions", "", None, Wanted::AtMost(1.05));
        bench.verdicts.push(verdict.note("recall 0.99 is never reached"));
        return Ok(());
    };
    bench.progress.now(&format!("{PARTITIONS} partitions and 1, in turn"));
    let mut rates = [0.0f64; 2];
    let mut recalls = [0.0; 2];
    for _ in 0..PARTITION_ROUNDS {
        for at in [0, 1] {
            let sample = if at == 0 { many.measure(ef)? } else { one.measure(ef)? };
            rates[at] = rates[at].max(sample.qps);
            recalls[at] = sample.recall;
        }
    }
    let us = |qps: f64, of: &str| Some(Figure::new(1e6 / qps, of));
    let name = format!("{PARTITIONS} partitions against 1, ef={ef}");
    let figures = (us(rates[0], "271"), us(rates[1], "1"));
    let verdict = Verdict::time(5, name, "us/query", figures, Wanted::AtMost(1.05));
    bench.verdicts.push(verdict.note(format!("recall {:.4} and {:.4}", recalls[0], recalls[1])));
    bench.note(5, "qps", json!({"many": round(rates[0], 1), "one": round(rates[1], 1), "ef": ef}));
    Ok(())
}

/// Ours, one thread.
pub struct LocalContender<'a> {
    local: &'a Local,
    recipe: &'a Recipe,
    queries: &'a Matrix<f32>,
    judge: &'a dyn Fn(&[Vec<usize>]) -> f64,
    known: HashMap<usize, f64>,
}

impl<'a> LocalContender<'a> {
    /// Asks all of `queries`.
    pub fn new(
        local: &'a Local,
        recipe: &'a Recipe,
        queries: &'a Matrix<f32>,
        judge: &'a dyn Fn(&[Vec<usize>]) -> f64,
    ) -> Self {
        Self { local, recipe, queries, judge, known: HashMap::new() }
    }
}

impl Contender for LocalContender<'_> {
    fn name(&self) -> String {
        "ours".into()
    }

    fn measure(&mut self, ef: usize) -> Result<Sample> {
        let queries = self.recipe.queries(self.queries, K, Some(ef), None)?;
        let mut answers = Vec::with_capacity(queries.len());
        let begun = Instant::now();
        for query in &queries {
            answers.push(self.local.search(query)?);
        }
        let qps = queries.len() as f64 / begun.elapsed().as_secs_f64();
        let recall = match self.known.get(&ef) {
            Some(&known) => known,
            None => (self.judge)(&rows_of(&answers)?),
        };
        self.known.insert(ef, recall);
        Ok(Sample { qps: round(qps, 1), recall })
    }
}
