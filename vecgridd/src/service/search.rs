//! Find the nearest entries.
//!
//! The members asked must cover the grid. Today this member holds every partition, so the covering
//! set is this member alone, and its answer set is all partitions.

use std::time::Instant;

use futures::future::try_join_all;

use super::{MAX_SEARCHES, Parts, QueryDraft, RequestContext, Service, ServiceError};
use crate::{
    index::{CollectionIndex, PartitionSet},
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
        let collection = self.collection(collection)?;
        let query = query.check(&collection.config)?;
        self.search_checked(ctx, collection, query, started).await
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
            let collection = self.collection(&name)?;
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
                .map(|(collection, query)| self.search_checked(ctx, collection, query, started))
                .collect();
            if round.is_empty() {
                return Ok(answers);
            }
            answers.extend(try_join_all(round).await?);
        }
    }

    async fn search_checked(
        &self,
        ctx: &RequestContext,
        collection: Collection,
        query: Query,
        started: Instant,
    ) -> Result<SearchAnswer, ServiceError> {
        let partitions = self.view().partitions();
        let explain = query.explain;
        let (hits, explained) = match self.index(&collection) {
            Some(index) => {
                let work = move |parts: &Parts| search_here(parts, &index, &collection, &query, partitions);
                let (hits, explained) = self.compute(ctx, work).await?;
                (hits, explain.then_some(explained))
            }
            None => (Vec::new(), None),
        };
        let coverage = Coverage { answered: partitions.into(), partitions: partitions.into() };
        Ok(SearchAnswer { hits, coverage, took: started.elapsed(), explain: explained })
    }
}

/// Searches this member's index, and reads vectors when asked for.
fn search_here(
    parts: &Parts,
    index: &CollectionIndex,
    collection: &Collection,
    query: &Query,
    partitions: u16,
) -> Result<(Vec<Hit>, Explain), ServiceError> {
    let found = index.view().search_explained(query, &PartitionSet::all(partitions));
    let (mut hits, explain) = found.map_err(|e| ServiceError::Internal(e.to_string()))?;
    if query.include_vector {
        for hit in &mut hits {
            hit.vector = vector_of(parts, collection, hit, partitions)?;
        }
    }
    Ok((hits, explain))
}

/// The vector as written; `None` when the entry was replaced or deleted since it was found.
fn vector_of(
    parts: &Parts,
    collection: &Collection,
    hit: &Hit,
    partitions: u16,
) -> Result<Option<Vector>, ServiceError> {
    let family = Family::Partition(partition_of(&hit.id, partitions));
    match parts.engine.get(family, &row::key(collection.id, &hit.id))? {
        Some(bytes) => Ok(row::decode(hit.id.clone(), &bytes)?.entry.vector),
        None => Ok(None),
    }
}
