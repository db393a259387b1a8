//! Count over REST.

use std::sync::Arc;

use axum::{extract::State, response::Response};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::{
    answer,
    body::OptionalJsonBody,
    extract::{CollectionPath, Context},
    problem::Problem,
};
use crate::{
    api::{door::Door, error::ApiError},
    service::FilterDraft,
};

/// What to count.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CountInput {
    /// Only matching entries; absent = all.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    filter: Option<Value>,
}

/// How many.
#[derive(Debug, Serialize, ToSchema)]
struct CountBody {
    count: u64,
}

/// Counts entries.
#[utoipa::path(
    post, path = "/v1/collections/{collection}/count", tag = "entries", operation_id = "count",
    params(("collection" = String, Path, description = "Name of the collection")),
    request_body = CountInput,
    responses(
        (status = 200, description = "Counted", body = CountBody),
        (status = "default", description = "Failed", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn count(
    State(door): State<Arc<Door>>,
    Context(ctx): Context,
    CollectionPath(collection): CollectionPath,
    OptionalJsonBody(input): OptionalJsonBody<CountInput>,
) -> Result<Response, ApiError> {
    let count = door.service()?.count(&ctx, &collection, input.filter.map(FilterDraft::Value)).await?;
    answer::json(&door, StatusCode::OK, &CountBody { count })
}
