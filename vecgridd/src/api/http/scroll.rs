//! Scroll over REST.

use std::sync::Arc;

use axum::{extract::State, response::Response};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::{
    answer,
    body::OptionalJsonBody,
    entry::{EntryAnswer, Include, default_include},
    extract::{CollectionPath, Context},
    problem::Problem,
};
use crate::{
    api::{door::Door, error::ApiError},
    service::{FilterDraft, ScrollDraft},
};

/// A page of a walk over all entries.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ScrollInput {
    /// Only matching entries.
    #[schema(value_type = Option<Object>)]
    filter: Option<Value>,
    /// Entries of the page, 1 to 10,000; default 100.
    limit: Option<usize>,
    /// From the page before; absent = from the start.
    cursor: Option<String>,
    /// What each entry carries beside id and version.
    include: Vec<Include>,
}

impl Default for ScrollInput {
    fn default() -> Self {
        Self { filter: None, limit: None, cursor: None, include: default_include() }
    }
}

/// A page.
#[derive(Debug, Serialize, ToSchema)]
struct ScrollBody<'a> {
    entries: Vec<EntryAnswer<'a>>,
    /// For the next page; null at the end.
    cursor: Option<&'a str>,
}

/// Walks all entries in a stable order.
#[utoipa::path(
    post, path = "/v1/collections/{collection}/scroll", tag = "entries", operation_id = "scroll",
    params(("collection" = String, Path, description = "Name of the collection")),
    request_body = ScrollInput,
    responses(
        (status = 200, description = "A page", body = ScrollBody),
        (status = "default", description = "Failed", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn scroll(
    State(door): State<Arc<Door>>,
    Context(ctx): Context,
    CollectionPath(collection): CollectionPath,
    OptionalJsonBody(input): OptionalJsonBody<ScrollInput>,
) -> Result<Response, ApiError> {
    let ScrollInput { filter, limit, cursor, include } = input;
    let include_vector = include.contains(&Include::Vector);
    let draft = ScrollDraft { filter: filter.map(FilterDraft::Value), limit, cursor, include_vector };
    let page = door.service()?.scroll(&ctx, &collection, draft).await?;
    let body = ScrollBody {
        entries: page.entries.iter().map(|entry| EntryAnswer::new(entry, &include)).collect(),
        cursor: page.cursor.as_deref(),
    };
    answer::json(&door, StatusCode::OK, &body)
}
