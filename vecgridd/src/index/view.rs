//! One moment of an index, to look at for as long as one likes.
//!
//! A [`View`] never changes: everything in it is as of one operation. It is cheap to get, holds no
//! lock, and keeps the memory of rows that died since. Searches, counts and filters all work on one
//! view each, so an answer never mixes two moments.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    calibration::Calibration,
    distance::{Measure, prefetch},
    engine::{Engine, Walked},
    error::IndexError,
    partition_set::PartitionSet,
    plan::{Plan, Situation},
    rows::Rows,
    scan::{Eligible, Wanted},
    top_k::{Ranked, TopK},
};
use crate::types::{
    Breadth, EntryId, Explain, Filter, Hit, PartitionId, Quantization, Query, SearchPlan, Version,
};

/// What never changes in a collection's index.
#[derive(Clone, Copy)]
pub(super) struct Shape {
    pub measure: Measure,
    pub dimension: usize,
    /// Of the graph.
    pub quantization: Quantization,
    pub m: usize,
    /// Of searches that name none.
    pub breadth: Breadth,
    /// Up to here rows are scanned.
    pub small_rows: usize,
    /// Memory for indexes of metadata, per row.
    pub field_bytes: usize,
    /// Vectors and texts are in mapped files, where there is a folder for them.
    pub mapped: bool,
}

impl Shape {
    /// Where rows of this shape go.
    pub fn no_rows(&self) -> Rows {
        Rows::new(self.dimension, self.field_bytes)
    }
}

/// A graph, and which slots it speaks for.
#[derive(Clone)]
pub(super) struct Linked {
    pub engine: Arc<dyn Engine>,
    /// Slots below are in the graph, or dead, or without a vector. The graph may have more of them
    /// already; those are scanned.
    pub until: u32,
    /// Rows in the graph that live.
    pub live: u64,
}

/// An unchanging view of one index.
pub struct View {
    pub(super) shape: Shape,
    pub(super) rows: Rows,
    /// Operations so far.
    pub(super) at: u64,
    pub(super) live: u64,
    pub(super) with_vector: u64,
    pub(super) linked: Option<Linked>,
    pub(super) calibration: Arc<Calibration>,
    /// All partitions with live rows, and maybe some without.
    pub(super) hosted: Arc<PartitionSet>,
}

impl View {
    /// The nearest `min(k, matches)` rows within `max_distance`, nearest first, ties by id. Hits have
    /// no vectors, whatever the query says: whoever wants them as written reads the row store.
    ///
    /// # Errors
    /// When the query has another dimension than the collection.
    pub fn search(&self, query: &Query, answer_set: &PartitionSet) -> Result<Vec<Hit>, IndexError> {
        self.search_explained(query, answer_set).map(|(hits, _)| hits)
    }

    /// As [`search`](Self::search), and how it was done.
    ///
    /// # Errors
    /// When the query has another dimension than the collection.
    pub fn search_explained(
        &self,
        query: &Query,
        answer_set: &PartitionSet,
    ) -> Result<(Vec<Hit>, Explain), IndexError> {
        let Shape { measure, dimension, .. } = self.shape;
        let found = query.vector.as_slice().len();
        if found != dimension {
            return Err(IndexError::WrongDimension { expected: dimension, found });
        }
        let (mut explain, mut lap) = (Explain::default(), Lap::start());
        let vector = measure.prepare(&query.vector);
        let eligible = self.wanted(true, query.filter.as_ref(), answer_set).select();
        explain.eligible = if eligible.is_plain() { self.with_vector } else { eligible.count() as u64 };
        explain.filtered = eligible.held() as u64;
        explain.times.select = lap.take();
        let nearest = match self.walk(query, &vector, &eligible, &mut explain) {
            Some(nearest) => nearest,
            None => self.scan(query.k, &vector, &eligible, &mut explain),
        };
        lap.take();
        let near_enough = |row: &Ranked<'_>| query.max_distance.is_none_or(|max| row.distance <= max);
        let rows = nearest.into_sorted().into_iter().take_while(near_enough);
        let hits = rows.map(|row| self.hit(row, query.include_metadata)).collect();
        explain.times.answer = lap.take();
        Ok((hits, explain))
    }

    /// How many rows match.
    pub fn count(&self, filter: Option<&Filter>, answer_set: &PartitionSet) -> u64 {
        let wanted = self.wanted(false, filter, answer_set);
        if wanted.is_plain() { self.live } else { wanted.select().count() as u64 }
    }

    /// Ids of the rows that match, in no particular order.
    pub fn matching(
        &self,
        filter: Option<&Filter>,
        answer_set: &PartitionSet,
    ) -> Vec<(PartitionId, EntryId)> {
        let eligible = self.wanted(false, filter, answer_set).select();
        let id = |slot| {
            let row = self.rows.row(slot);
            (row.partition, EntryId::of_valid(row.id))
        };
        eligible.slots().map(id).collect()
    }

    /// The live rows of some partitions, in no particular order.
    pub fn versions(&self, partitions: &PartitionSet) -> Vec<(PartitionId, EntryId, Version)> {
        let eligible = self.wanted(false, None, partitions).select();
        let row = |slot| {
            let row = self.rows.row(slot);
            (row.partition, EntryId::of_valid(row.id), row.version)
        };
        eligible.slots().map(row).collect()
    }

    pub(super) fn wanted<'a>(
        &'a self,
        vectors: bool,
        filter: Option<&'a Filter>,
        answer_set: &'a PartitionSet,
    ) -> Wanted<'a> {
        let partitions = (!answer_set.covers(&self.hosted)).then_some(answer_set);
        Wanted { rows: &self.rows, now: self.at, vectors, partitions, filter }
    }

    fn scan<'a>(&self, k: usize, vector: &[f32], eligible: &Eligible<'a>, explain: &mut Explain) -> TopK<'a> {
        let (mut top, mut lap) = (TopK::new(k), Lap::start());
        eligible.scan(self.shape.measure, vector, 0, &mut top);
        explain.distances += explain.eligible;
        explain.times.scan += lap.take();
        top
    }

    /// `None` when there is no graph, when a scan is cheaper, and when the walk brought too little.
    fn walk<'a>(
        &'a self,
        query: &Query,
        vector: &[f32],
        eligible: &Eligible<'a>,
        explain: &mut Explain,
    ) -> Option<TopK<'a>> {
        let linked = self.linked.as_ref()?;
        if query.exact || self.with_vector <= self.shape.small_rows as u64 {
            return None;
        }
        let matches = explain.eligible as usize;
        let eligible_points =
            if eligible.is_plain() { linked.live as usize } else { eligible.count_below(linked.until) };
        let (ef, target_recall) = self.breadth(query);
        let plan = Plan::choose(Situation {
            k: query.k,
            ef,
            m: self.shape.m,
            points: linked.engine.len(),
            eligible_points,
            beside: eligible.vectors_until().map_or(0, |until| eligible.count_below(until)),
            rows_per_link: linked.engine.rows_per_link(),
            filtered: linked.engine.walks_filtered() && !eligible.is_plain(),
            rows_per_look: match eligible.is_plain() {
                true => None,
                false => {
                    let gathered =
                        eligible.codes_until(linked.until).map(|until| eligible.count_below(until));
                    linked.engine.rows_per_look(gathered)
                }
            },
        });
        let (ef, mut done) = match plan {
            Plan::Scan => return None,
            Plan::Walk(aim) => (aim.ef, SearchPlan::Walk),
            Plan::FilteredWalk(aim) => (aim.ef, SearchPlan::FilteredWalk),
            Plan::Sift { ef } => (ef, SearchPlan::Sift),
        };
        (explain.ef, explain.target_recall) = (ef, target_recall);
        // Until it turns out that the walk was enough.
        explain.plan = SearchPlan::WalkThenScan;
        let mut lap = Lap::start();
        let sift = |ef| {
            let codes = eligible.codes(&linked.engine, linked.until);
            let gathered = codes.as_ref().map(|codes| (&codes.gathered, codes.until));
            linked.engine.sift(vector, ef, eligible.words()?, linked.until, gathered).transpose()
        };
        let mut walked = match plan {
            Plan::Scan => return None,
            Plan::Walk(aim) => linked.engine.walk(vector, aim, None),
            Plan::FilteredWalk(aim) => linked.engine.walk(vector, aim, eligible.words()),
            Plan::Sift { ef } => sift(ef)?,
        };
        // Where nothing near the query is eligible a walk finds no way to what is.
        if let Ok(brought) = &walked
            && done != SearchPlan::Sift
            && Self::ours(linked, brought, eligible).take(query.k).count() < query.k.min(eligible_points)
            && let Some(sifted) = sift(Plan::sifted(query.k))
        {
            (walked, done) = (sifted, SearchPlan::Sift);
        }
        explain.times.walk = lap.take();
        let walked = match walked {
            Ok(walked) => walked,
            Err(error) => {
                tracing::debug!(%error, "the graph cannot be walked: this search scans");
                return None;
            }
        };
        explain.visited = walked.work.expanded.into();
        explain.estimated = u64::from(walked.work.estimated) + u64::from(walked.work.ranked);
        let mut top = TopK::new(query.k);
        explain.reranked = self.rerank(linked, &walked, query.k, vector, eligible, &mut top);
        explain.times.rerank = lap.take();
        eligible.scan(self.shape.measure, vector, linked.until, &mut top);
        explain.times.scan = lap.take();
        explain.tail = matches.saturating_sub(eligible_points) as u64;
        explain.distances = explain.reranked + explain.tail;
        if top.len() < query.k.min(matches) {
            return None;
        }
        explain.plan = done;
        Some(top)
    }

    /// What a walk found for this view: the graph may have points that it scans.
    fn ours<'a>(
        linked: &Linked,
        walked: &'a Walked,
        eligible: &'a Eligible<'_>,
    ) -> impl Iterator<Item = (u32, f32)> + use<'a> {
        let until = linked.until;
        walked.near.iter().copied().filter(move |(slot, _)| *slot < until && eligible.contains(*slot))
    }

    /// Offers the nearest of what a walk found, with their exact distances: those that rounding may
    /// have put behind the first `k`, too. Gives how many those were.
    fn rerank<'a>(
        &'a self,
        linked: &Linked,
        walked: &Walked,
        k: usize,
        vector: &[f32],
        eligible: &Eligible<'a>,
        top: &mut TopK<'a>,
    ) -> u64 {
        let near = nearest(Self::ours(linked, walked, eligible), k, walked.slack);
        near.iter().take(k).for_each(|(slot, _)| self.rows.prefetch_chunk(*slot));
        // All vectors are on their way before the first is waited for.
        let rows: Vec<_> = near.iter().map(|(slot, _)| self.rows.vector(*slot)).collect();
        rows.iter().flatten().for_each(|row| prefetch(row));
        near.iter().take(k).for_each(|(slot, _)| self.rows.prefetch_head(*slot));
        let mut reranked = 0;
        for ((slot, _), row) in near.iter().zip(rows) {
            if let Some(row) = row {
                reranked += 1;
                top.offer(self.shape.measure.distance(vector, row), *slot, || self.rows.id(*slot));
            }
        }
        reranked
    }

    /// Whether a search would be answered by the graph.
    #[cfg(test)]
    pub(super) fn is_walked(&self, query: &Query, answer_set: &PartitionSet) -> bool {
        let plan = self.search_explained(query, answer_set).unwrap().1.plan;
        matches!(plan, SearchPlan::Walk | SearchPlan::FilteredWalk | SearchPlan::Sift)
    }

    fn hit(&self, row: Ranked<'_>, with_metadata: bool) -> Hit {
        let metadata = with_metadata.then(|| self.rows.row(row.slot).metadata.metadata());
        Hit { id: EntryId::of_valid(row.id), distance: row.distance, metadata, vector: None }
    }
}

/// The first `k` by rank, and those that may belong among them.
fn nearest(ranked: impl Iterator<Item = (u32, f32)>, k: usize, slack: f32) -> Vec<(u32, f32)> {
    let mut near: Vec<(u32, f32)> = Vec::with_capacity(2 * k);
    for (slot, rank) in ranked {
        if let Some((_, last)) = k.checked_sub(1).and_then(|last| near.get(last))
            && rank > last + slack
        {
            break;
        }
        near.push((slot, rank));
    }
    near
}

/// Time since it was last asked.
struct Lap(Instant);

impl Lap {
    fn start() -> Self {
        Self(Instant::now())
    }

    fn take(&mut self) -> Duration {
        let now = Instant::now();
        now.duration_since(std::mem::replace(&mut self.0, now))
    }
}
