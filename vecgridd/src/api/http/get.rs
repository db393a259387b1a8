//! Get over REST.

use std::sync::Arc;

use axum::{extract::State, response::Response};
use http::StatusCode;

use super::{
    answer,
    entry::{EntryAnswer, Include},
    extract::{Context, EntryPath},
    problem::Problem,
};
use crate::api::{door::Door, error::ApiError};

/// One entry, whole.
#[utoipa::path(
    get, path = "/v1/collections/{collection}/entries/{id}", tag = "entries", operation_id = "get_entry",
    params(
        ("collection" = String, Path, description = "Name of the collection"),
        ("id" = String, Path, description = "Id of the entry, percent-encoded"),
    ),
    responses(
        (status = 200, description = "Found", body = EntryAnswer, headers(("ETag" = String, description = "The version"))),
        (status = 404, description = "No such entry or collection", body = Problem, content_type = "application/problem+json"),
        (status = "default", description = "Failed", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn get(
    State(door): State<Arc<Door>>,
    Context(ctx): Context,
    EntryPath { collection, id }: EntryPath,
) -> Result<Response, ApiError> {
    let stored = door.service()?.get(&ctx, &collection, &id).await?;
    let body = EntryAnswer::new(&stored, &[Include::Metadata, Include::Vector]);
    Ok(answer::tagged(answer::json(&door, StatusCode::OK, &body)?, stored.version))
}
