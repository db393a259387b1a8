//! Find the nearest entries.
//!
//! The members asked must cover the grid. Today this member holds every partition, so the covering
//! set is this member alone, and its answer set is all partitions.

use std::{sync::Arc, time::Instant};

use futures::future::try_join_all;

use super::{Effort, MAX_SEARCHES, Parts, QueryDraft, RequestContext, Service, ServiceError};
use crate::{
    index::{CollectionIndex, PartitionSet, Searched, View},
    placement::partition_of,
    storage::{Family, keys::row},
    types::{Collection, Coverage, Explain, Hit, Invalid, Query, SearchAnswer, Vector},
};

impl Service {
    /// The `k` nearest entries that match, nearest first, ties by id: min(k, matches) of them
    /// unless `max_distance` cuts the list.
    ///
    /// # Errors
    /// Any part of the query that is invalid; `collection_not_found`; `overloaded`.
    pub async fn search(
        &self,
        ctx: &RequestContext,
        collection: &str,
        query: QueryDraft,
    ) -> Result<SearchAnswer, ServiceError> {
        let started = Instant::now();
        let collection = self.collection_here(collection)?;
        let query = query.check(&collection.config)?;
        self.search_checked(ctx, collection, query, started, true).await
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
            let collection = self.collection_here(&name)?;
            let query = query.check(&collection.config).map_err(|p| p.within(&format!("searches/{at}")))?;
            checked.push((collection, query));
        }
        // Few at once: one request must not take every place on the pool.
        let mut answers = Vec::with_capacity(checked.len());
        let mut rest = checked.into_iter();
        loop {
            let round: Vec<_> = rest
                .by_ref()
                .take(8)
                .map(|(collection, query)| self.search_checked(ctx, collection, query, started, false))
                .collect();
            if round.is_empty() {
                return Ok(answers);
            }
            answers.extend(try_join_all(round).await?);
        }
    }

    /// `alone`: not one of many short ones, which together would hold the thread for long.
    async fn search_checked(
        &self,
        ctx: &RequestContext,
        collection: Collection,
        query: Query,
        started: Instant,
        alone: bool,
    ) -> Result<SearchAnswer, ServiceError> {
        let partitions = self.view().partitions();
        let explain = query.explain;
        let (hits, explained) = match self.index(&collection) {
            Some(index) => {
                let view = index.view();
                // Vectors are read from the disk.
                let short = alone && !query.include_vector && view.is_short(&query);
                let effort = if short { Effort::Short } else { Effort::Long };
                let work =
                    move |parts: &Parts| search_here(parts, (&index, &view), &collection, &query, partitions);
                let (hits, explained) = self.compute(ctx, effort, work).await?;
                (hits, explain.then_some(explained))
            }
            None => (Vec::new(), None),
        };
        let coverage = Coverage { answered: partitions.into(), partitions: partitions.into() };
        Ok(SearchAnswer { hits, coverage, took: started.elapsed(), explain: explained })
    }
}

/// Searches one view of this member's index, and reads vectors when asked for.
fn search_here(
    parts: &Parts,
    (index, view): (&Arc<CollectionIndex>, &Arc<View>),
    collection: &Collection,
    query: &Query,
    partitions: u16,
) -> Result<(Vec<Hit>, Explain), ServiceError> {
    let all = PartitionSet::all(partitions);
    let found = view.search_explained(query, &all);
    let (mut hits, explain) = found.map_err(|e| ServiceError::Internal(e.to_string()))?;
    parts.recall.offer(Searched {
        collection: collection.id,
        index: Some(index),
        view,
        query,
        answer_set: &all,
        hits: &hits,
        explain: &explain,
    });
    if query.include_vector {
        let vectors = vectors_of(parts, collection, &hits, partitions)?;
        hits.iter_mut().zip(vectors).for_each(|(hit, vector)| hit.vector = vector);
    }
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
