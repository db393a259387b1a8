//! Find the nearest entries.
//!
//! The members asked must cover the grid. When this member answers for every partition, it is asked alone, and nothing
//! is planned. Otherwise each member searches its own part, all at once, and the nearest of all are the answer.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures::future::try_join_all;

use super::{
    Effort, MAX_SEARCHES, Parts, QueryDraft, RequestContext, Service, ServiceError,
    cover::{Holder, merge, merge_explained},
    scatter::{Part, Want, incomplete},
};
use crate::{
    index::{CollectionIndex, PartitionSet, Searched, View},
    placement::partition_of,
    storage::{Family, keys::row},
    types::{Collection, CollectionId, Coverage, Explain, Hit, Invalid, Query, SearchAnswer, Vector},
};

/// An answer of what is there is given this much before its deadline, or a tenth of the time if that is less.
const EARLY: Duration = Duration::from_millis(50);
/// Searches of a batch at once: one request must not take every place on the pool.
const AT_ONCE: usize = 8;

/// A search of which members are asked.
pub(super) struct Asking {
    /// In this collection.
    pub collection: Collection,
    /// What.
    pub query: Query,
    /// Its filter, for others.
    pub filter_json: String,
}

/// What one member found.
pub(super) struct Found {
    /// Nearest first, ties by id.
    pub hits: Vec<Hit>,
    /// When asked for, and there was an index.
    pub explain: Option<Explain>,
}

/// An index, and its state at one moment; `None` before the first write.
type At = Option<(Arc<CollectionIndex>, Arc<View>)>;

impl Service {
    /// The `k` nearest entries that match, nearest first, ties by id: min(k, matches) of them
    /// unless `max_distance` cuts the list.
    ///
    /// # Errors
    /// Any part of the query that is invalid; `collection_not_found`; `overloaded`; `incomplete`.
    pub async fn search(
        &self,
        ctx: &RequestContext,
        collection: &str,
        query: QueryDraft,
    ) -> Result<SearchAnswer, ServiceError> {
        let started = Instant::now();
        let collection = self.collection(ctx, collection).await?;
        let Some((set, at)) = self.alone(ctx, || self.at(&collection)) else {
            let asking = vec![asking(collection, query)?];
            let mut answers = Box::pin(self.scatter(ctx, asking, started)).await?;
            return answers.pop().ok_or_else(|| ServiceError::Internal("no search was answered".into()));
        };
        let query = query.check(&collection.config)?;
        let found = self.search_one(ctx, (collection, query), at, Arc::clone(&set), true).await?;
        Ok(answer(found, set.len(), set.len(), started))
    }

    /// Several searches in one request; every one is checked before the first is run.
    ///
    /// # Errors
    /// As [`Service::search`]; one failure fails all.
    pub async fn search_batch(
        &self,
        ctx: &RequestContext,
        searches: Vec<(String, QueryDraft)>,
    ) -> Result<Vec<SearchAnswer>, ServiceError> {
        let started = Instant::now();
        if searches.is_empty() || searches.len() > MAX_SEARCHES {
            let message =
                format!("a batch has 1 to {MAX_SEARCHES} searches, this one has {}", searches.len());
            return Err(Invalid::new("invalid_batch", "searches", message).into());
        }
        let mut checked = Vec::with_capacity(searches.len());
        for (at, (name, query)) in searches.into_iter().enumerate() {
            let collection = self.collection(ctx, &name).await?;
            checked.push(asking(collection, query).map_err(|p| p.within(&format!("searches/{at}")))?);
        }
        let views = || checked.iter().map(|asking| self.at(&asking.collection)).collect::<Vec<At>>();
        let Some((set, views)) = self.alone(ctx, views) else {
            return Box::pin(self.scatter(ctx, checked, started)).await;
        };
        let found = self.search_views(ctx, &checked, views, &set).await?;
        Ok(found.into_iter().map(|found| answer(found, set.len(), set.len(), started)).collect())
    }

    /// What `look` sees, and all partitions, if this member answers for all of them. What is seen has their rows:
    /// those of a partition that moves come before, and go after, this member answers for it.
    fn alone<T>(&self, ctx: &RequestContext, look: impl FnOnce() -> T) -> Option<(Arc<PartitionSet>, T)> {
        let before = self.readable(ctx);
        // Asked by every request: those held are some of the grid's, so the number of them tells.
        if before.len() != usize::from(self.view().partitions()) {
            return None;
        }
        if !self.shows_enough(ctx, &before) {
            return None;
        }
        let seen = look();
        Arc::ptr_eq(&before, &self.readable(ctx)).then_some((before, seen))
    }

    fn at(&self, collection: &Collection) -> At {
        self.index(collection).map(|index| {
            let view = index.view();
            (index, view)
        })
    }

    /// Asks every member for its part, and puts the answers together.
    async fn scatter(
        &self,
        ctx: &RequestContext,
        searches: Vec<Asking>,
        started: Instant,
    ) -> Result<Vec<SearchAnswer>, ServiceError> {
        let partitions = PartitionSet::all(self.view().partitions());
        let wanted = partitions.len();
        let partial = searches.iter().all(|asking| asking.query.allow_partial);
        let early = if partial { EARLY.min(ctx.left() / 10) } else { Duration::ZERO };
        let want = Want { partitions, by: ctx.deadline - early, all: !partial, who: ctx.who() };
        let searches = &searches;
        let ask = |holder, set: PartitionSet| async move {
            match holder {
                Holder::Here => Ok(self.search_here(ctx, searches, &set).await?),
                Holder::There(member) => self.search_there(ctx, &member, searches, &set).await,
            }
        };
        let gathered = self.gather_read(ctx, want, ask).await?;
        self.parts.metrics.search_asked(gathered.members, !gathered.missing.is_empty());
        if !partial && !gathered.missing.is_empty() {
            return Err(incomplete(wanted, &gathered.missing));
        }
        let mut parts: Vec<_> = gathered.answers.into_iter().map(Vec::into_iter).collect();
        let covered = wanted - gathered.missing.len();
        let merged = searches.iter().map(|asking| {
            let (mut lists, mut explain) = (Vec::with_capacity(parts.len()), None);
            for found in parts.iter_mut().filter_map(Iterator::next) {
                lists.push(found.hits);
                explain = match (explain, found.explain) {
                    (Some(one), Some(other)) => Some(merge_explained(one, other)),
                    (one, other) => one.or(other),
                };
            }
            answer(Found { hits: merge(lists, asking.query.k), explain }, covered, wanted, started)
        });
        Ok(merged.collect())
    }

    /// Searches partitions that are here.
    pub(super) async fn search_here(
        &self,
        ctx: &RequestContext,
        searches: &[Asking],
        set: &PartitionSet,
    ) -> Result<Part<Vec<Found>>, ServiceError> {
        let views = searches.iter().map(|asking| self.at(&asking.collection)).collect();
        let (kept, elsewhere) = self.still(ctx, set);
        Ok(Part::new(self.search_views(ctx, searches, views, &Arc::new(kept)).await?, elsewhere))
    }

    async fn search_views(
        &self,
        ctx: &RequestContext,
        searches: &[Asking],
        views: Vec<At>,
        set: &Arc<PartitionSet>,
    ) -> Result<Vec<Found>, ServiceError> {
        let alone = searches.len() == 1;
        let mut answers = Vec::with_capacity(searches.len());
        let mut rest = searches.iter().zip(views);
        loop {
            let one = |(asking, at): (&Asking, At)| {
                let what = (asking.collection.clone(), asking.query.clone());
                self.search_one(ctx, what, at, Arc::clone(set), alone)
            };
            let round: Vec<_> = rest.by_ref().take(AT_ONCE).map(one).collect();
            if round.is_empty() {
                return Ok(answers);
            }
            answers.extend(try_join_all(round).await?);
        }
    }

    /// `alone`: not one of many short ones, which together would hold the thread for long.
    async fn search_one(
        &self,
        ctx: &RequestContext,
        (collection, query): (Collection, Query),
        at: At,
        set: Arc<PartitionSet>,
        alone: bool,
    ) -> Result<Found, ServiceError> {
        let explain = query.explain;
        let Some((index, view)) = at else { return Ok(Found { hits: Vec::new(), explain: None }) };
        // Vectors are read from the disk.
        let short = alone && !query.include_vector && view.is_short(&query);
        let effort = if short { Effort::Short } else { Effort::Long };
        let partitions = self.view().partitions();
        let work = move |parts: &Parts| {
            let (mut hits, explain) = search_view(parts, (&index, &view), collection.id, &query, &set)?;
            if query.include_vector {
                let vectors = vectors_of(parts, &collection, &hits, partitions)?;
                hits.iter_mut().zip(vectors).for_each(|(hit, vector)| hit.vector = vector);
            }
            Ok((hits, explain))
        };
        let (hits, explained) = self.compute(ctx, effort, work).await?;
        Ok(Found { hits, explain: explain.then_some(explained) })
    }
}

fn asking(collection: Collection, draft: QueryDraft) -> Result<Asking, Invalid> {
    let filter_json = draft.filter.as_ref().map(super::FilterDraft::to_json).unwrap_or_default();
    Ok(Asking { query: draft.check(&collection.config)?, collection, filter_json })
}

fn answer(found: Found, answered: usize, partitions: usize, started: Instant) -> SearchAnswer {
    // Sets of partitions are numbered by `u16`.
    let coverage = Coverage { answered: answered as u32, partitions: partitions as u32 };
    SearchAnswer { hits: found.hits, coverage, took: started.elapsed(), explain: found.explain }
}

/// Searches one view of this member's index.
fn search_view(
    parts: &Parts,
    (index, view): (&Arc<CollectionIndex>, &Arc<View>),
    collection: CollectionId,
    query: &Query,
    set: &PartitionSet,
) -> Result<(Vec<Hit>, Explain), ServiceError> {
    let found = view.search_explained(query, set);
    let (hits, explain) = found.map_err(|e| ServiceError::Internal(e.to_string()))?;
    parts.recall.offer(Searched {
        collection,
        index: Some(index),
        view,
        query,
        answer_set: set,
        hits: &hits,
        explain: &explain,
    });
    Ok((hits, explain))
}

/// The vectors as written, read at once; `None` for an entry replaced or deleted since it was found.
fn vectors_of(
    parts: &Parts,
    collection: &Collection,
    hits: &[Hit],
    partitions: u16,
) -> Result<Vec<Option<Vector>>, ServiceError> {
    let key = |hit: &Hit| {
        let family = Family::Partition(partition_of(&hit.id, partitions));
        (family, row::key(collection.id, &hit.id))
    };
    let keys: Vec<_> = hits.iter().map(key).collect();
    let rows = parts.engine.get_many(&keys)?.into_iter().zip(hits);
    rows.map(|(bytes, hit)| match bytes {
        Some(bytes) => Ok(row::decode(hit.id.clone(), &bytes)?.entry.vector),
        None => Ok(None),
    })
    .collect()
}
