//! Search over REST: one, or a batch.

use std::{sync::Arc, time::Duration};

use axum::{extract::State, response::Response};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::{
    answer,
    body::JsonBody,
    entry::{Include, components, default_include},
    extract::{CollectionPath, Context},
    problem::Problem,
};
use crate::{
    api::{door::Door, error::ApiError},
    service::{FilterDraft, QueryDraft},
    types::{Explain, Hit, SearchAnswer, TargetRecall},
};

fn default_k() -> usize {
    10
}

/// A search.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SearchInput {
    /// As many numbers as the collection's dimension.
    #[serde(deserialize_with = "components")]
    vector: Vec<f32>,
    /// How many hits, 1 to 10,000.
    #[serde(default = "default_k")]
    k: usize,
    /// Breadth of the walk, 1 to 10,000; default from the collection.
    #[serde(default)]
    ef: Option<usize>,
    /// Recall that the breadth is chosen for, 0.5 to 0.999; instead of `ef`.
    #[serde(default)]
    target_recall: Option<f64>,
    /// Which entries may be hits.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    filter: Option<Value>,
    /// Scan instead of walking the graph.
    #[serde(default)]
    exact: bool,
    /// Drop hits farther than this.
    #[serde(default)]
    max_distance: Option<f32>,
    /// What each hit carries beside id and distance.
    #[serde(default = "default_include")]
    include: Vec<Include>,
    /// Accept an answer that does not cover all partitions.
    #[serde(default)]
    allow_partial: bool,
    /// Answer with how the search was done.
    #[serde(default)]
    explain: bool,
}

impl SearchInput {
    fn draft(self) -> QueryDraft {
        QueryDraft {
            vector: self.vector,
            k: self.k,
            ef: self.ef,
            target_recall: self.target_recall,
            filter: self.filter.map(FilterDraft::Value),
            exact: self.exact,
            max_distance: self.max_distance,
            include_metadata: self.include.contains(&Include::Metadata),
            include_vector: self.include.contains(&Include::Vector),
            allow_partial: self.allow_partial,
            explain: self.explain,
        }
    }
}

/// 1 to 1,000 searches.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SearchesInput {
    searches: Vec<SearchInput>,
}

/// One found entry.
#[derive(Debug, Serialize, ToSchema)]
struct HitBody<'a> {
    id: &'a str,
    /// Smaller is nearer.
    distance: f32,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    metadata: Option<&'a Map<String, Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<f32>>)]
    vector: Option<&'a [f32]>,
}

impl<'a> From<&'a Hit> for HitBody<'a> {
    fn from(hit: &'a Hit) -> Self {
        Self {
            id: hit.id.as_str(),
            distance: hit.distance,
            metadata: hit.metadata.as_ref().map(|metadata| metadata.fields()),
            vector: hit.vector.as_ref().map(|vector| vector.as_slice()),
        }
    }
}

/// How much of the grid an answer speaks for.
#[derive(Debug, Serialize, ToSchema)]
struct CoverageBody {
    answered: u32,
    partitions: u32,
}

/// Hits, nearest first, ties by id.
#[derive(Debug, Serialize, ToSchema)]
struct SearchBody<'a> {
    hits: Vec<HitBody<'a>>,
    coverage: CoverageBody,
    /// Microseconds inside the daemon.
    took_us: u64,
    /// When asked for, and the collection has entries.
    #[serde(skip_serializing_if = "Option::is_none")]
    explain: Option<ExplainBody>,
}

/// How a search was done.
#[derive(Debug, Serialize, ToSchema)]
struct ExplainBody {
    /// `scan`, `walk`, `filtered_walk`, `sift` or `walk_then_scan`.
    plan: &'static str,
    /// Breadth of the walk; 0 without one.
    ef: usize,
    /// The recall that `ef` was chosen for; absent when a breadth was asked for, or there was no walk.
    #[serde(skip_serializing_if = "Option::is_none")]
    target_recall: Option<f64>,
    /// Entries that may be hits, whatever their distance.
    eligible: u64,
    /// Entries that the filter was held against one by one: no field index was sure.
    filtered: u64,
    /// Entries whose links the walk read; 0 where the engine does not count.
    visited: u64,
    /// Distances that the walk estimated from compressed vectors; 0 where the engine does not count.
    estimated: u64,
    /// Entries of the walk whose exact distance was computed.
    reranked: u64,
    /// Entries outside the graph, scanned beside the walk.
    tail: u64,
    /// Exact distances computed in all.
    distances: u64,
    /// In order.
    steps: Vec<StepBody>,
}

/// Time for one step of a search.
#[derive(Debug, Serialize, ToSchema)]
struct StepBody {
    /// `select`, `walk`, `rerank`, `scan` or `answer`.
    name: &'static str,
    took_ns: u64,
}

impl From<&Explain> for ExplainBody {
    fn from(explain: &Explain) -> Self {
        let step = |(name, took): (&'static str, Duration)| StepBody {
            name,
            took_ns: u64::try_from(took.as_nanos()).unwrap_or(u64::MAX),
        };
        Self {
            plan: explain.plan.name(),
            ef: explain.ef,
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
}

impl<'a> From<&'a SearchAnswer> for SearchBody<'a> {
    fn from(answer: &'a SearchAnswer) -> Self {
        let coverage = &answer.coverage;
        Self {
            hits: answer.hits.iter().map(HitBody::from).collect(),
            coverage: CoverageBody { answered: coverage.answered, partitions: coverage.partitions },
            took_us: u64::try_from(answer.took.as_micros()).unwrap_or(u64::MAX),
            explain: answer.explain.as_ref().map(ExplainBody::from),
        }
    }
}

/// One answer per search, in order.
#[derive(Debug, Serialize, ToSchema)]
struct SearchesBody<'a> {
    results: Vec<SearchBody<'a>>,
}

/// The nearest entries.
#[utoipa::path(
    post, path = "/v1/collections/{collection}/search", tag = "search", operation_id = "search",
    params(("collection" = String, Path, description = "Name of the collection")),
    request_body = SearchInput,
    responses(
        (status = 200, description = "Hits", body = SearchBody),
        (status = "default", description = "Failed", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn one(
    State(door): State<Arc<Door>>,
    Context(ctx): Context,
    CollectionPath(collection): CollectionPath,
    JsonBody(input): JsonBody<SearchInput>,
) -> Result<Response, ApiError> {
    let found = door.service()?.search(&ctx, &collection, input.draft()).await?;
    answer::json(&door, StatusCode::OK, &SearchBody::from(&found))
}

/// Several searches in one collection.
#[utoipa::path(
    post, path = "/v1/collections/{collection}/search/batch", tag = "search", operation_id = "search_batch",
    params(("collection" = String, Path, description = "Name of the collection")),
    request_body = SearchesInput,
    responses(
        (status = 200, description = "One answer per search, in order", body = SearchesBody),
        (status = "default", description = "Failed", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn batch(
    State(door): State<Arc<Door>>,
    Context(ctx): Context,
    CollectionPath(collection): CollectionPath,
    JsonBody(input): JsonBody<SearchesInput>,
) -> Result<Response, ApiError> {
    let searches = input.searches.into_iter().map(|search| (collection.clone(), search.draft())).collect();
    let found = door.service()?.search_batch(&ctx, searches).await?;
    let body = SearchesBody { results: found.iter().map(SearchBody::from).collect() };
    answer::json(&door, StatusCode::OK, &body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_comes_along_unless_something_else_is_asked_for() {
        let draft = |text: &str| serde_json::from_str::<SearchInput>(text).unwrap().draft();
        let plain = draft(r#"{"vector":[1,2]}"#);
        assert!(plain.include_metadata && !plain.include_vector && plain.k == 10 && plain.ef.is_none());
        let vector = draft(r#"{"vector":[1,2],"include":["vector"]}"#);
        assert!(!vector.include_metadata && vector.include_vector);
        let none = draft(r#"{"vector":[1,2],"include":[]}"#);
        assert!(!none.include_metadata && !none.include_vector);
    }

    #[test]
    fn a_misspelled_filter_is_no_search_without_a_filter() {
        let parse = |text: &str| serde_json::from_str::<SearchInput>(text).map(|_| ());
        assert!(parse(r#"{"vector":[1],"filer":{"a":1}}"#).is_err());
        assert!(parse(r#"{"vector":[1],"include":["vectors"]}"#).is_err());
        assert!(parse(r#"{"k":1}"#).is_err());
        assert!(serde_json::from_str::<SearchesInput>(r#"{"searches":[{"vector":[1],"kk":1}]}"#).is_err());
    }
}
