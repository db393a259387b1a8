//! How many copies the grid keeps, over REST.

use std::sync::Arc;

use axum::{extract::State, response::Response};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{answer, body::JsonBody, extract::Context, problem::Problem};
use crate::{
    api::{door::Door, error::ApiError},
    service::{CopiesDraft, CopiesStatus},
};

/// What is kept, and how far that is so.
#[derive(Debug, Serialize, ToSchema)]
struct CopiesBody {
    /// Copies of each partition besides the first.
    backups: u8,
    /// Members that must be in sync for a partition to take writes.
    min_in_sync: u8,
    /// Partitions of which fewer copies are in sync than there should be, and members for.
    under_replicated: usize,
}

impl From<CopiesStatus> for CopiesBody {
    fn from(status: CopiesStatus) -> Self {
        Self {
            backups: status.settings.backups,
            min_in_sync: status.settings.min_in_sync,
            under_replicated: status.under_replicated,
        }
    }
}

/// A change; what is left out stays.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct KeepCopiesBody {
    /// 0 to 4.
    backups: Option<u32>,
    /// 1 to backups + 1.
    min_in_sync: Option<u32>,
}

/// How many copies are kept.
#[utoipa::path(
    get, path = "/v1/grid/copies", tag = "grid", operation_id = "copies",
    responses(
        (status = 200, description = "What is kept", body = CopiesBody),
        (status = "default", description = "Failed", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn show(State(door): State<Arc<Door>>) -> Result<Response, ApiError> {
    let status = door.service()?.copies();
    answer::json(&door, StatusCode::OK, &CopiesBody::from(status))
}

/// From now on so many copies are kept; they are made, or go, in the background.
#[utoipa::path(
    put, path = "/v1/grid/copies", tag = "grid", operation_id = "keep_copies",
    request_body = KeepCopiesBody,
    responses(
        (status = 200, description = "Decided", body = CopiesBody),
        (status = "default", description = "Failed", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn keep(
    State(door): State<Arc<Door>>,
    Context(ctx): Context,
    JsonBody(body): JsonBody<KeepCopiesBody>,
) -> Result<Response, ApiError> {
    let draft = CopiesDraft { backups: body.backups, min_in_sync: body.min_in_sync };
    let status = door.service()?.keep_copies(&ctx, draft).await?;
    answer::json(&door, StatusCode::OK, &CopiesBody::from(status))
}
