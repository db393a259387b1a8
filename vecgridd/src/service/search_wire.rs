//! Searches between members: questions and answers on the wire.

use std::time::Duration;

use vecgrid_proto::peer as wire;

use super::{
    FilterDraft, RequestContext, Service, ServiceError,
    answer::Scope,
    scatter::{Miss, Part},
    search::{Asking, Found},
};
use crate::{
    index::PartitionSet,
    storage::keys::row::{from_bytes, to_bytes},
    types::{EntryId, Explain, Hit, MemberId, Metadata, Query, SearchPlan, TargetRecall, Times, Vector},
};

impl Service {
    /// Has another member search its partitions: all searches in one message.
    pub(super) async fn search_there(
        &self,
        ctx: &RequestContext,
        to: &MemberId,
        searches: &[Asking],
        set: &PartitionSet,
    ) -> Result<Part<Vec<Found>>, Miss> {
        for asking in searches {
            self.refuse_unknown(&asking.collection)?;
        }
        let asked = Some(self.asked(ctx, set));
        let message = wire::SearchRequest { asked, queries: searches.iter().map(encode_query).collect() };
        let (answer, elsewhere) = self.ask_shortly(ctx, to, ("search", message)).await?;
        let found = answer.found.into_iter().map(decode_found).collect();
        Ok(Part::new(found, elsewhere))
    }

    /// Searches for another member.
    pub(super) async fn answer_search(
        &self,
        scope: Scope,
        message: wire::SearchRequest,
    ) -> Result<Option<Part<wire::SearchResponse>>, ServiceError> {
        let mut searches = Vec::with_capacity(message.queries.len());
        for query in message.queries {
            let Some(collection) = self.collection_of(query.collection) else { return Ok(None) };
            let vector = from_bytes(&query.vector);
            let checked = Query {
                vector: Vector::new(vector, collection.config.dimension as usize, collection.config.metric)?,
                k: query.k as usize,
                ef: query.ef.map(|ef| ef as usize),
                target_recall: query.target_recall.map(TargetRecall::new).transpose()?,
                filter: FilterDraft::of_json(&query.filter_json)?,
                exact: query.exact,
                max_distance: query.max_distance,
                include_metadata: query.include_metadata,
                include_vector: query.include_vector,
                // Whoever asks decides that.
                allow_partial: false,
                explain: query.explain,
            };
            searches.push(Asking { collection, query: checked.checked()?, filter_json: String::new() });
        }
        let part = self.search_here(&scope.ctx, &searches, &scope.partitions).await?;
        let found = part.answer.into_iter().map(encode_found).collect();
        Ok(Some(Part::new(wire::SearchResponse { told: None, found }, part.elsewhere)))
    }
}

fn encode_query(asking: &Asking) -> wire::Query {
    let query = &asking.query;
    let number = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    wire::Query {
        collection: asking.collection.id.0,
        vector: to_bytes(query.vector.as_slice()),
        k: number(query.k),
        ef: query.ef.map(number),
        target_recall: query.target_recall.map(TargetRecall::share),
        filter_json: asking.filter_json.clone(),
        exact: query.exact,
        max_distance: query.max_distance,
        include_metadata: query.include_metadata,
        include_vector: query.include_vector,
        explain: query.explain,
    }
}

fn encode_found(found: Found) -> wire::Found {
    let hit = |hit: Hit| wire::Hit {
        id: hit.id.as_str().to_owned(),
        distance: hit.distance,
        metadata_json: hit.metadata.map(|metadata| metadata.to_json()),
        vector: hit.vector.map(|vector| to_bytes(vector.as_slice())),
    };
    let explained = found.explain.map(|explain| wire::Explained {
        plan: PLANS.iter().position(|plan| *plan == explain.plan).unwrap_or(0) as u32,
        ef: explain.ef as u64,
        target_recall: explain.target_recall.map(TargetRecall::share),
        eligible: explain.eligible,
        filtered: explain.filtered,
        visited: explain.visited,
        estimated: explain.estimated,
        reranked: explain.reranked,
        tail: explain.tail,
        distances: explain.distances,
        step_ns: explain.times.by_step().iter().map(|(_, took)| took.as_nanos() as u64).collect(),
    });
    wire::Found { hits: found.hits.into_iter().map(hit).collect(), explained }
}

fn decode_found(found: wire::Found) -> Found {
    let hit = |hit: wire::Hit| Hit {
        id: EntryId::of_valid(&hit.id),
        distance: hit.distance,
        metadata: hit.metadata_json.map(Metadata::of_valid),
        vector: hit.vector.map(|bytes| Vector::stored(from_bytes(&bytes))),
    };
    let explain = found.explained.map(|explained| {
        let step = |at| Duration::from_nanos(explained.step_ns.get(at).copied().unwrap_or(0));
        Explain {
            plan: PLANS.get(explained.plan as usize).copied().unwrap_or_default(),
            ef: explained.ef as usize,
            target_recall: explained.target_recall.and_then(|share| TargetRecall::new(share).ok()),
            eligible: explained.eligible,
            filtered: explained.filtered,
            visited: explained.visited,
            estimated: explained.estimated,
            reranked: explained.reranked,
            tail: explained.tail,
            distances: explained.distances,
            times: Times { select: step(0), walk: step(1), rerank: step(2), scan: step(3), answer: step(4) },
        }
    });
    Found { hits: found.hits.into_iter().map(hit).collect(), explain }
}

/// Each plan has a place, for ever.
const PLANS: [SearchPlan; 5] = [
    SearchPlan::Scan,
    SearchPlan::Walk,
    SearchPlan::FilteredWalk,
    SearchPlan::Sift,
    SearchPlan::WalkThenScan,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_found_survives_the_trip() {
        let hit = |id: &str, metadata, vector| Hit {
            id: EntryId::new(id).unwrap(),
            distance: 0.25,
            metadata,
            vector,
        };
        let metadata = Metadata::parse("{\"a\":[1,2]}").unwrap();
        let hits = vec![
            hit("ü", Some(metadata), Some(Vector::stored(vec![1.5, -2.0]))),
            hit("b", Some(Metadata::default()), None),
            hit("c", None, None),
        ];
        for plan in PLANS {
            let ms = Duration::from_millis;
            let times = Times { select: ms(1), walk: ms(2), rerank: ms(3), scan: ms(4), answer: ms(5) };
            let target_recall = Some(TargetRecall::DEFAULT);
            let explain = Some(Explain {
                plan,
                ef: 40,
                target_recall,
                eligible: 7,
                distances: 9,
                times,
                ..Explain::default()
            });
            let again = decode_found(encode_found(Found { hits: hits.clone(), explain }));
            assert_eq!((again.hits, again.explain), (hits.clone(), explain));
        }
    }
}
