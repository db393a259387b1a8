//! Measuring which breadth of a walk reaches which recall.
//!
//! ```text
//! real queries, or rows by lot ─▶ exact scan: their nearest rows ─▶ walks, ever wider ─▶ Calibration
//! ```
//!
//! The questions are the latest real queries, once there are enough (`asked`). Until then they are rows
//! of the collection, and a row is an easy question: its own links lead to
//! its neighbours. Leaving it out of its answers is not enough; of 115,659 rows those asked so missed a third
//! of what queries from outside missed at the same breadth. So the walk must not see the row at all, neither
//! as an answer nor as a way. Then they miss up to twice as much as queries from outside, since the links that
//! led through the row are gone: the breadth is on the safe side (decision 10 has the numbers). With an
//! engine that cannot hide a row nothing is measured, and the guess stays. Real queries have no such margin, so
//! what they missed counts with a standard error more.
//!
//! The builder does this when it has nothing else to do, in slices of [`SLICE`] with rests between them, so
//! writes never wait for more than a slice, and searches keep most of the core. The scan reads each row
//! once for all questions. All is about the view at its start; rows that come meanwhile are left out, and
//! if many do, the next measurement is due anyway.
//!
//! What it leaves out: filters. A filtered walk is made wider in proportion (`plan`), whoever chose the
//! breadth.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    asked::Asked,
    calibration::{Calibration, Curve},
    chunk::CHUNK,
    collection_index::Core,
    draw::Draw,
    engine::{Aim, EngineError},
    view::{Linked, View},
};

/// Rows that are asked: 2,560 of their nearest ten, so a recall of 0.99 is known to a quarter of a percent.
const QUESTIONS: u64 = 256;
/// Distances of one measurement, at most: about five seconds of one core with 384 components. Beyond
/// 260,000 rows there are fewer questions.
const DISTANCES: u64 = 1 << 26;
/// Fewer questions say nothing.
const FEW_QUESTIONS: u64 = 64;
/// Numbers of hits that get a curve of their own. Fewer than ten are missed about as much as ten.
const HITS: [usize; 2] = [10, MOST_HITS];
const MOST_HITS: usize = 100;
/// Breadths that are tried, each half an octave above the last.
const BREADTHS: [usize; 15] = [10, 14, 20, 28, 40, 56, 80, 112, 160, 224, 320, 448, 640, 896, 1_280];
/// When no more than this is missed, nothing wider is tried.
const ENOUGH: f64 = 0.0003;
/// Time at work, at once.
const SLICE: Duration = Duration::from_millis(5);
/// A rest is so many times as long as the work before it.
const REST: u32 = 3;

/// Measures, a slice at a time.
#[derive(Default)]
pub(super) struct Calibrator {
    job: Option<Job>,
}

impl Calibrator {
    /// One slice; the last one hands the result in.
    pub fn advance(&mut self, core: &Core) -> Result<(), EngineError> {
        let started = Instant::now();
        let (linked, asked) = core.with_owner(|owner| (owner.linked(), owner.asked.clone()));
        let Some(linked) = linked else { return Ok(()) };
        let mut job = match self.job.take() {
            Some(job) if Arc::ptr_eq(&job.linked.engine, &linked.engine) => job,
            _ => Job::new(core.view(), linked, &asked),
        };
        let measured = match job.advance(started + SLICE) {
            Ok(measured) => measured,
            Err(error) => {
                tracing::debug!(%error, "breadths cannot be measured: a guess has to do");
                Some(job.nothing())
            }
        };
        let rest = started.elapsed() * REST;
        match measured {
            Some(calibration) => {
                core.publish(|owner| owner.calibrate(calibration));
            }
            None => {
                self.job = Some(job);
                core.with_owner(|owner| owner.calibrate_at = Instant::now() + rest);
            }
        }
        Ok(())
    }
}

struct Question {
    /// Of a row that is asked; `None` = a query.
    slot: Option<u32>,
    vector: Arc<[f32]>,
    /// Distances of the nearest rows, nearest first.
    near: Vec<f32>,
}

impl Question {
    fn offer(&mut self, slot: u32, distance: f32) {
        let full = self.near.len() == MOST_HITS;
        if Some(slot) == self.slot || (full && self.near.last().is_some_and(|last| distance >= *last)) {
            return;
        }
        if full {
            self.near.pop();
        }
        let at = self.near.partition_point(|near| *near <= distance);
        self.near.insert(at, distance);
    }
}

/// What walks of one breadth missed, for one number of hits.
#[derive(Clone, Copy, Default)]
struct Missed {
    questions: u32,
    sum: f64,
    squares: f64,
}

impl Missed {
    fn add(&mut self, share: f64) {
        self.questions += 1;
        self.sum += share;
        self.squares += share * share;
    }

    fn mean(self) -> f64 {
        self.sum / f64::from(self.questions.max(1))
    }

    /// Of the mean.
    fn standard_error(self) -> f64 {
        let count = f64::from(self.questions.max(1));
        ((self.squares / count - self.mean().powi(2)).max(0.0) / count).sqrt()
    }
}

/// One measurement.
struct Job {
    view: Arc<View>,
    /// As of the view.
    linked: Linked,
    questions: Vec<Question>,
    /// Real queries so far; zero = the questions are rows.
    asked: u64,
    /// The next chunk to scan.
    chunk: usize,
    /// The next walk: which breadth, which question.
    breadth: usize,
    question: usize,
    /// Per breadth so far, per number of hits.
    missed: Vec<[Missed; HITS.len()]>,
}

impl Job {
    /// `linked` is the current one; the view's own, maybe a moment older, is used.
    fn new(view: Arc<View>, linked: Linked, asked: &Asked) -> Self {
        let linked = view.linked.clone().unwrap_or(linked);
        let until = u64::from(linked.until.min(view.rows.len()));
        let wanted = (DISTANCES / linked.live.max(1)).clamp(FEW_QUESTIONS, QUESTIONS);
        let queries = asked.enough();
        let total = if queries.is_some() { asked.total() } else { 0 };
        let questions = match queries {
            Some(queries) => {
                let question = |vector| Question { slot: None, vector, near: Vec::new() };
                queries.into_iter().take(wanted as usize).map(question).collect()
            }
            None => rows_by_lot(&view, until, wanted),
        };
        Self { view, linked, questions, asked: total, chunk: 0, breadth: 0, question: 0, missed: Vec::new() }
    }

    /// Works until the deadline, or until all is measured.
    fn advance(&mut self, deadline: Instant) -> Result<Option<Calibration>, EngineError> {
        let chunks = (self.linked.until.min(self.view.rows.len()) as usize).div_ceil(CHUNK);
        while self.chunk < chunks {
            self.scan(self.chunk);
            self.chunk += 1;
            if Instant::now() >= deadline {
                return Ok(None);
            }
        }
        while self.breadth < BREADTHS.len() {
            if self.question == self.questions.len() {
                self.question = 0;
                self.breadth += 1;
                let enough = |missed: &[Missed; HITS.len()]| missed.iter().all(|m| m.mean() <= ENOUGH);
                if BREADTHS[self.breadth - 1] >= MOST_HITS && self.missed.last().is_some_and(enough) {
                    break;
                }
                continue;
            }
            if !self.walk()? {
                return Ok(Some(self.nothing()));
            }
            self.question += 1;
            if Instant::now() >= deadline {
                return Ok(None);
            }
        }
        Ok(Some(self.result()))
    }

    /// Offers all rows of a chunk to all questions: the rows are read from memory once.
    fn scan(&mut self, index: usize) {
        let (shape, chunk) = (self.view.shape, self.view.rows.chunk(index));
        let bits = chunk.alive(self.view.at) & chunk.with_vector();
        let first = (index * CHUNK) as u32;
        let rows: Vec<(u32, &[f32])> = (0..CHUNK)
            .filter(|at| bits >> at & 1 == 1 && first + (*at as u32) < self.linked.until)
            .map(|at| (first + at as u32, chunk.vector(at, shape.dimension)))
            .collect();
        for question in &mut self.questions {
            let mut fours = rows.chunks_exact(4);
            for four in fours.by_ref() {
                let vectors = [four[0].1, four[1].1, four[2].1, four[3].1];
                let distances = shape.measure.distances(&question.vector, vectors);
                four.iter().zip(distances).for_each(|((slot, _), distance)| question.offer(*slot, distance));
            }
            for (slot, row) in fours.remainder() {
                question.offer(*slot, shape.measure.distance(&question.vector, row));
            }
        }
    }

    /// Asks the graph one question, as searches do; `false` when it cannot hide the row.
    fn walk(&mut self) -> Result<bool, EngineError> {
        if self.missed.len() <= self.breadth {
            self.missed.push(Default::default());
        }
        for (at, k) in HITS.into_iter().enumerate().filter(|(_, k)| *k <= BREADTHS[self.breadth]) {
            // Where there are not as many rows nothing is to be learned.
            if let Some(last) = self.questions[self.question].near.get(k - 1) {
                let Some(miss) = self.miss(k, *last)? else { return Ok(false) };
                self.missed[self.breadth][at].add(miss);
            }
        }
        Ok(true)
    }

    /// The share of `k` hits, the last of which is so far away, that a walk misses; `None` when the graph cannot hide the row.
    fn miss(&self, k: usize, last: f32) -> Result<Option<f64>, EngineError> {
        let (view, aim) = (&self.view, Aim { k, ef: BREADTHS[self.breadth] });
        let question = &self.questions[self.question];
        let engine = &self.linked.engine;
        let walked = match question.slot {
            Some(slot) => engine.walk_without(&question.vector, aim, slot)?,
            None => Some(engine.walk(&question.vector, aim, None)?),
        };
        let Some(walked) = walked else { return Ok(None) };
        let counts = |slot: u32| {
            Some(slot) != question.slot && slot < self.linked.until && view.rows.is_alive(slot, view.at)
        };
        let distance = |slot| Some(view.shape.measure.distance(&question.vector, view.rows.vector(slot)?));
        let near = walked.near.iter().map(|(slot, _)| *slot).filter(|slot| counts(*slot));
        let mut found: Vec<f32> = near.take(MOST_HITS + MOST_HITS / 4).filter_map(distance).collect();
        found.sort_unstable_by(f32::total_cmp);
        let hits = found.iter().take(k).filter(|distance| **distance <= last).count();
        Ok(Some(1.0 - hits as f64 / k as f64))
    }

    /// What is missed, on the safe side: rows are already.
    fn at_most(&self, missed: Missed) -> f64 {
        missed.mean() + if self.asked > 0 { missed.standard_error() } else { 0.0 }
    }

    /// Nothing could be measured.
    fn nothing(&self) -> Calibration {
        Calibration::new(Vec::new(), self.linked.live, self.asked)
    }

    fn result(&self) -> Calibration {
        let curve = |at: usize, k| {
            let missed = self.missed.iter().zip(BREADTHS).map(|(missed, ef)| (ef, missed[at]));
            let measured = missed.filter(|(_, missed)| missed.questions > 0);
            Curve::new(k, measured.map(|(ef, missed)| (ef, self.at_most(missed))))
        };
        let curves =
            HITS.into_iter().enumerate().map(|(at, k)| curve(at, k)).filter(|curve| !curve.is_empty());
        Calibration::new(curves.collect(), self.linked.live, self.asked)
    }
}

/// Some live rows below a slot.
fn rows_by_lot(view: &View, until: u64, wanted: u64) -> Vec<Question> {
    let mut draw = Draw::new(view.at);
    let mut questions = Vec::new();
    // Dead rows and rows without vector are drawn in vain; at least a fifth of a graph is others.
    for _ in 0..8 * wanted {
        if questions.len() as u64 == wanted || until == 0 {
            break;
        }
        let slot = draw.below(until) as u32;
        if view.rows.is_alive(slot, view.at)
            && let Some(vector) = view.rows.vector(slot)
        {
            questions.push(Question { slot: Some(slot), vector: vector.into(), near: Vec::new() });
        }
    }
    questions
}
