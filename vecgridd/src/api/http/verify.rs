//! Comparing copies over REST.

use std::sync::Arc;

use axum::{extract::State, response::Response};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{answer, body::JsonBody, extract::Context, problem::Problem};
use crate::{
    api::{door::Door, error::ApiError},
    service::{Service, VerifyAnswer},
};

/// Which partition.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct VerifyRequest {
    /// Its number, from 0: `/v1/grid` says how many there are.
    partition: u32,
}

/// What was found out about a partition.
#[derive(Debug, Serialize, ToSchema)]
struct VerifyBody {
    /// Its number.
    partition: u32,
    /// `equal`, `differs`, or `unverified`: nothing was found, and not all copies could be compared.
    verdict: &'static str,
    /// The primary's copy, then the others that are in sync.
    copies: Vec<CopyBody>,
}

/// What was found out about a copy.
#[derive(Debug, Serialize, ToSchema)]
struct CopyBody {
    /// Id of the member that holds it.
    member: String,
    /// Rows that were read.
    rows: u64,
    /// The version at which they were; none when the copy was not read.
    version: Option<String>,
    /// What is wrong with it.
    differences: Vec<DifferenceBody>,
    /// Why it was not compared.
    unverified: Option<String>,
}

/// A difference.
#[derive(Debug, Serialize, ToSchema)]
struct DifferenceBody {
    /// `rows`: not those that were written to this copy; `index`: it does not show the rows; `copy`: other writes than
    /// the primary has; `content`: other content under the same version.
    what: &'static str,
    /// Name of the collection; none = the copy as a whole.
    collection: Option<String>,
    /// Rows that differ, as far as is known: at least one.
    rows: u64,
    /// Some of their ids.
    ids: Vec<String>,
}

impl VerifyBody {
    fn new(answer: VerifyAnswer, service: &Service) -> Self {
        let copies = answer.copies.into_iter().map(|copy| CopyBody {
            member: copy.member.to_string(),
            rows: copy.rows,
            version: copy.at.map(|at| at.to_string()),
            differences: copy
                .differences
                .into_iter()
                .map(|found| DifferenceBody {
                    what: found.what.name(),
                    collection: found.collection.map(|id| service.collection_name(id)),
                    rows: found.rows,
                    ids: found.ids,
                })
                .collect(),
            unverified: copy.unverified,
        });
        Self {
            partition: answer.partition.0.into(),
            verdict: answer.verdict.name(),
            copies: copies.collect(),
        }
    }
}

/// Reads all copies of one partition and compares them: with each other, with what was written, with their indexes.
///
/// A grid is verified partition by partition, so that each answer is there soon. Any member may be asked. A copy that
/// differs from its primary is taken anew; an index that does not show its rows is made equal to them.
#[utoipa::path(
    post, path = "/v1/grid/verify", tag = "grid", operation_id = "verify",
    request_body = VerifyRequest,
    responses(
        (status = 200, description = "Compared, or what could be", body = VerifyBody),
        (status = "default", description = "Failed", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn verify(
    State(door): State<Arc<Door>>,
    Context(ctx): Context,
    JsonBody(request): JsonBody<VerifyRequest>,
) -> Result<Response, ApiError> {
    let service = door.service()?;
    let found = service.verify(&ctx, request.partition).await?;
    answer::json(&door, StatusCode::OK, &VerifyBody::new(found, service))
}
