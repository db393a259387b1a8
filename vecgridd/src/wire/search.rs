//! Search and batch search on the wire.

use std::time::Duration;

use vecgrid_proto::v1;

use crate::{
    service::QueryDraft,
    types::{Explain, Invalid, SearchAnswer, TargetRecall},
};

/// Decodes the vector; gives the collection's name beside the query.
///
/// # Errors
/// `invalid_vector`.
pub fn draft(request: v1::SearchRequest) -> Result<(String, QueryDraft), Invalid> {
    let query = QueryDraft {
        vector: super::vector::decode(request.vector.unwrap_or_default())?,
        k: request.k as usize,
        ef: request.ef.map(|ef| ef as usize),
        target_recall: request.target_recall,
        filter: super::filter::decode(request.filter_json),
        exact: request.exact,
        max_distance: request.max_distance,
        include_metadata: request.include_metadata,
        include_vector: request.include_vector,
        allow_partial: request.allow_partial,
        explain: request.explain,
    };
    Ok((request.collection, query))
}

/// As [`draft`], for a batch.
///
/// # Errors
/// `invalid_vector`, with the place of the first such search.
pub fn drafts(request: v1::SearchBatchRequest) -> Result<Vec<(String, QueryDraft)>, Invalid> {
    let search = |(index, search)| draft(search).map_err(|p| p.within(&format!("searches/{index}")));
    request.searches.into_iter().enumerate().map(search).collect()
}

/// The answer.
pub fn answer(answer: &SearchAnswer) -> v1::SearchResponse {
    v1::SearchResponse {
        hits: answer
            .hits
            .iter()
            .map(|hit| v1::Hit {
                id: hit.id.as_str().to_owned(),
                distance: hit.distance,
                metadata_json: hit.metadata.as_ref().map(|m| m.to_json()).unwrap_or_default(),
                vector: hit.vector.as_ref().map(super::vector::encode),
            })
            .collect(),
        coverage: Some(v1::Coverage {
            answered: answer.coverage.answered,
            partitions: answer.coverage.partitions,
        }),
        took_us: u64::try_from(answer.took.as_micros()).unwrap_or(u64::MAX),
        explain: answer.explain.as_ref().map(explain),
    }
}

fn explain(explain: &Explain) -> v1::Explain {
    let step = |(name, took): (&str, Duration)| v1::explain::Step {
        name: name.to_owned(),
        took_ns: u64::try_from(took.as_nanos()).unwrap_or(u64::MAX),
    };
    v1::Explain {
        plan: explain.plan.name().to_owned(),
        ef: u32::try_from(explain.ef).unwrap_or(u32::MAX),
        target_recall: explain.target_recall.map(TargetRecall::share),
        eligible: explain.eligible,
        filtered: explain.filtered,
        visited: explain.visited,
        estimated: explain.estimated,
        reranked: explain.reranked,
        tail: explain.tail,
        distances: explain.distances,
        steps: explain.times.by_step().into_iter().map(step).collect(),
    }
}

/// The answer of a batch.
pub fn answers(answers: &[SearchAnswer]) -> v1::SearchBatchResponse {
    v1::SearchBatchResponse { results: answers.iter().map(answer).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Coverage, EntryId, Hit, Metadata};

    #[test]
    fn empty_means_not_given() {
        let request = v1::SearchRequest { collection: "c".to_owned(), k: 7, ..Default::default() };
        let (collection, query) = draft(request).unwrap();
        assert_eq!((collection.as_str(), query.k, query.ef), ("c", 7, None));
        assert!(query.filter.is_none() && query.max_distance.is_none() && query.vector.is_empty());
    }

    #[test]
    fn metadata_that_was_not_asked_for_is_empty_text() {
        let hit = |metadata| Hit { id: EntryId::new("a").unwrap(), distance: 0.5, metadata, vector: None };
        let found = SearchAnswer {
            hits: vec![hit(None), hit(Some(Metadata::default()))],
            coverage: Coverage { answered: 8, partitions: 8 },
            took: Duration::from_micros(42),
            explain: Some(Explain { eligible: 7, ..Explain::default() }),
        };
        let wire = answer(&found);
        assert_eq!(wire.hits[0].metadata_json, "");
        assert_eq!(wire.hits[1].metadata_json, "{}");
        assert_eq!(wire.took_us, 42);
        let explain = wire.explain.unwrap();
        assert_eq!((explain.plan.as_str(), explain.eligible, explain.steps.len()), ("scan", 7, 5));
    }
}
