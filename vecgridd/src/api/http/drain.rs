//! Leaving the grid over REST.

use std::sync::Arc;

use axum::{extract::State, response::Response};
use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use super::{answer, extract::Context, problem::Problem};
use crate::{
    api::{door::Door, error::ApiError},
    service::DrainStatus,
};

/// How far the member is with leaving.
#[derive(Debug, Serialize, ToSchema)]
struct DrainBody {
    /// It is on its way out.
    draining: bool,
    /// Partitions that it still holds.
    partitions_left: usize,
}

impl From<DrainStatus> for DrainBody {
    fn from(status: DrainStatus) -> Self {
        Self { draining: status.draining, partitions_left: status.partitions_left }
    }
}

/// The member that is asked leaves the grid for good.
///
/// Other members take its partitions, and it serves meanwhile; `/v1/grid/members` shows how far it is. It has left when
/// its daemon is stopped after that.
#[utoipa::path(
    post, path = "/v1/grid/drain", tag = "grid", operation_id = "drain",
    responses(
        (status = 200, description = "It is on its way out", body = DrainBody),
        (status = "default", description = "Failed", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn start(
    State(door): State<Arc<Door>>,
    Context(ctx): Context,
) -> Result<Response, ApiError> {
    let status = door.service()?.drain(&ctx).await?;
    answer::json(&door, StatusCode::OK, &DrainBody::from(status))
}

/// It stays after all, and gets its share of partitions back.
#[utoipa::path(
    delete, path = "/v1/grid/drain", tag = "grid", operation_id = "cancel_drain",
    responses(
        (status = 200, description = "It stays", body = DrainBody),
        (status = "default", description = "Failed", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn cancel(
    State(door): State<Arc<Door>>,
    Context(ctx): Context,
) -> Result<Response, ApiError> {
    let status = door.service()?.cancel_drain(&ctx).await?;
    answer::json(&door, StatusCode::OK, &DrainBody::from(status))
}
