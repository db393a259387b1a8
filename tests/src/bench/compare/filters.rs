//! Row 6: searches with a filter, in this process, one thread, beside Qdrant's engine.
//!
//! Both sides hold the same rows with the same metadata. Qdrant's engine has an index on each field
//! that a filter names, made before the rows, so that its graph knows of them; ours makes its own.
//! Both are asked at every breadth; Qdrant also with its ACORN walk. Answers of ours must have
//! min(k, matches) rows, every one of them.

use std::{cell::Cell, collections::HashMap, time::Instant};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use vecgridd::types::Filter;

use super::{
    Bench, K,
    sweep::{self, Contender, Curve, Sample},
    verdict::{Verdict, Wanted, best},
};
use crate::{
    bench::index::{Local, PARTITIONS, Recipe, rows_of},
    npy::Matrix,
    truth::Metric,
};

/// Recall that must be reached.
const RECALL: [f64; 1] = [0.99];
/// What is wanted.
const RATIO: f64 = 1.5;
/// Qdrant's engine in two element types.
const PEERS: [&str; 2] = ["qdrant_edge_f32", "qdrant_edge_int8"];

/// Measures row 6.
///
/// # Errors
/// When ours cannot be measured.
pub fn measure(bench: &mut Bench) -> Result<()> {
    bench.progress.say("row 6: filters, in this process, one thread");
    let (index, build_threads) = (bench.index.clone(), bench.options.build_threads);
    let recipe = Recipe { metric: Metric::Cosine, index, build_threads, partitions: PARTITIONS };
    bench.progress.now("ours builds, with metadata");
    let changes = recipe.changes(&bench.data.base, Some(&bench.data.rows))?;
    let (local, _) = recipe.build(changes, bench.data.base.columns)?;
    let peers: Vec<&str> =
        PEERS.into_iter().filter(|engine| bench.qdrant_import(engine, true).is_some()).collect();
    for at in 0..bench.data.filters.len() {
        filter(bench, at, Some((&recipe, &local)), &peers)?;
    }
    Ok(())
}

/// What row 6 asks peers, without ours.
///
/// # Errors
/// When a peer fails after it was measured once.
pub fn peers_only(bench: &mut Bench) -> Result<()> {
    let peers: Vec<&str> =
        PEERS.into_iter().filter(|engine| bench.qdrant_import(engine, true).is_some()).collect();
    for at in 0..bench.data.filters.len() {
        filter(bench, at, None, &peers)?;
    }
    Ok(())
}

fn filter(bench: &mut Bench, at: usize, ours: Option<(&Recipe, &Local)>, peers: &[&str]) -> Result<()> {
    let case = bench.data.filters[at].clone();
    let text = case.filter.to_string();
    bench.progress.now(&format!("filter {text}"));
    let mut queries = bench.data.queries.clone();
    queries.truncate(case.truth.rows());
    let judge = |answers: &[Vec<usize>]| super::recall(&bench.data.base, &queries, &case.truth, answers);
    let shortest = Cell::new(usize::MAX);
    let mut all: Vec<(Box<dyn Contender + '_>, Curve)> = Vec::new();
    if let Some((recipe, local)) = ours {
        let (filter, known) = (Filter::parse(&case.filter)?, HashMap::new());
        let (queries, judge, shortest) = (&queries, &judge, &shortest);
        let ours = FilteredLocal { local, recipe, queries, filter, judge, known, shortest };
        all.push((Box::new(ours), Curve::default()));
    }
    for (engine, acorn) in peers.iter().flat_map(|engine| [(engine, false), (engine, true)]) {
        let known = HashMap::new();
        let (filter, queries) = (&case.filter, case.truth.rows());
        let peer = FilteredPeer { bench, engine, acorn, filter, queries, judge: &judge, known };
        all.push((Box::new(peer), Curve::default()));
    }
    let mut explored = Vec::new();
    for (contender, _) in all {
        explored.push(explore(bench, contender)?);
    }
    let mut all: Vec<(Box<dyn Contender + '_>, Curve)> = explored.into_iter().flatten().collect();
    sweep::rounds(&mut all, &RECALL, bench.options.rounds, |_| ())?;
    let figures: Vec<(String, Curve)> = all.into_iter().map(|(who, curve)| (who.name(), curve)).collect();

    let of = |wanted: bool| {
        let some = figures.iter().filter(|(name, _)| (name == "ours") == wanted);
        let figure =
            |(name, curve): &(String, Curve)| curve.figure(RECALL[0], if name == "ours" { "" } else { name });
        best(some.filter_map(figure).collect(), true)
    };
    let whole = K.min(usize::try_from(case.matches)?);
    let short = shortest.get();
    let name = format!("filter {text} ({} match)", case.matches);
    let verdict = Verdict::rate(6, name, of(true), of(false), Wanted::AtLeast(RATIO))
        .and(short >= whole, format!("an answer had {short} of {whole} rows"));
    let curves: HashMap<&String, &Curve> = figures.iter().map(|(name, curve)| (name, curve)).collect();
    let curves = json!(curves);
    match (ours, of(false)) {
        (Some(_), _) => bench.verdicts.push(verdict),
        (None, Some(best)) => {
            bench.progress.say(&format!("{text}: {:.0} queries/s, {}", best.value, best.of))
        }
        (None, None) => bench.progress.say(&format!("{text}: nobody reaches recall {}", RECALL[0])),
    }
    bench.note(6, &text, curves);
    Ok(())
}

/// Ours must answer; a peer that does not is named and left out.
fn explore<'a>(
    bench: &Bench,
    mut contender: Box<dyn Contender + 'a>,
) -> Result<Option<(Box<dyn Contender + 'a>, Curve)>> {
    let curve = sweep::explore(&mut *contender, &RECALL);
    let curve = if contender.name() == "ours" { Some(curve?) } else { bench.or_problem(curve) };
    Ok(curve.map(|curve| (contender, curve)))
}

struct FilteredLocal<'a> {
    local: &'a Local,
    recipe: &'a Recipe,
    queries: &'a Matrix<f32>,
    filter: Filter,
    judge: &'a dyn Fn(&[Vec<usize>]) -> f64,
    known: HashMap<usize, f64>,
    /// The fewest rows that any answer had.
    shortest: &'a Cell<usize>,
}

impl Contender for FilteredLocal<'_> {
    fn name(&self) -> String {
        "ours".into()
    }

    fn measure(&mut self, ef: usize) -> Result<Sample> {
        let queries = self.recipe.queries(self.queries, K, Some(ef), Some(&self.filter))?;
        let mut answers = Vec::with_capacity(queries.len());
        let begun = Instant::now();
        for query in &queries {
            answers.push(self.local.search(query)?);
        }
        let qps = queries.len() as f64 / begun.elapsed().as_secs_f64();
        let fewest = answers.iter().map(Vec::len).min().unwrap_or(0);
        self.shortest.set(self.shortest.get().min(fewest));
        let recall = match self.known.get(&ef) {
            Some(&known) => known,
            None => (self.judge)(&rows_of(&answers)?),
        };
        self.known.insert(ef, recall);
        Ok(Sample { qps, recall })
    }
}

struct FilteredPeer<'a> {
    bench: &'a Bench,
    engine: &'a str,
    acorn: bool,
    filter: &'a Value,
    queries: usize,
    judge: &'a dyn Fn(&[Vec<usize>]) -> f64,
    known: HashMap<usize, f64>,
}

impl Contender for FilteredPeer<'_> {
    fn name(&self) -> String {
        format!("{}{}", self.engine, if self.acorn { " acorn" } else { "" })
    }

    fn measure(&mut self, ef: usize) -> Result<Sample> {
        let known = self.known.get(&ef).copied();
        let question = json!({
            "do": "filter", "filter": self.filter, "queries": self.queries, "ef": ef, "acorn": self.acorn,
            "rows": known.is_none(),
        });
        let judge = |rows: &[Vec<usize>]| json!((self.judge)(rows));
        let answer =
            self.bench.peers.borrow_mut().ask(&format!("{}+metadata", self.engine), &question, &judge)?;
        let recall = known.or(answer["judged"].as_f64()).context("no recall")?;
        self.known.insert(ef, recall);
        Ok(Sample { qps: answer["qps"].as_f64().context("no qps")?, recall })
    }
}
