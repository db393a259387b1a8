//! What is on its way between members, over REST.

use std::sync::Arc;

use axum::{extract::State, response::Response};
use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use super::{answer, extract::Context, problem::Problem};
use crate::{
    api::{door::Door, error::ApiError},
    service::Move,
};

/// A copy that one member is making on another.
#[derive(Debug, Serialize, ToSchema)]
struct MoveBody {
    partition: u16,
    /// Id of the member that sends it.
    source: String,
    /// Id of the member that is to have it.
    target: String,
    /// `waiting` (others come first), `rows`, `log` (what was written meanwhile, or all that is missing).
    stage: String,
    /// Bytes of rows that were sent.
    sent_bytes: u64,
    /// Bytes of rows in all, about; 0 until they are sent.
    total_bytes: u64,
    /// Since they are sent.
    bytes_per_second: u64,
    /// Until the rows are there; null while nobody can say.
    seconds_left: Option<f64>,
}

impl From<&Move> for MoveBody {
    fn from(copy: &Move) -> Self {
        Self {
            partition: copy.partition.0,
            source: copy.from.to_string(),
            target: copy.to.to_string(),
            stage: copy.stage.clone(),
            sent_bytes: copy.sent,
            total_bytes: copy.total,
            bytes_per_second: copy.rate(),
            seconds_left: copy.left().map(|left| left.as_secs_f64()),
        }
    }
}

/// Copies on their way.
#[derive(Debug, Serialize, ToSchema)]
struct MovesBody {
    moves: Vec<MoveBody>,
    /// Ids of members that were asked in vain: theirs are missing.
    unanswered: Vec<String>,
}

/// The copies that members are making on others at this moment, and how far they are.
#[utoipa::path(
    get, path = "/v1/grid/moves", tag = "grid", operation_id = "grid_moves",
    responses(
        (status = 200, description = "All copies on their way", body = MovesBody),
        (status = "default", description = "Failed", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn moves(
    State(door): State<Arc<Door>>,
    Context(ctx): Context,
) -> Result<Response, ApiError> {
    let found = door.service()?.moves(&ctx).await;
    let body = MovesBody {
        moves: found.moves.iter().map(MoveBody::from).collect(),
        unanswered: found.unanswered.iter().map(ToString::to_string).collect(),
    };
    answer::json(&door, StatusCode::OK, &body)
}
