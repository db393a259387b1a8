//! Scroll over gRPC.

use tonic::{Request, Response};
use vecgrid_proto::v1;

use crate::{
    api::{door::Door, error::ApiError},
    wire,
};

pub(super) async fn scroll(
    door: &Door,
    request: Request<v1::ScrollRequest>,
) -> Result<Response<v1::ScrollResponse>, ApiError> {
    let ctx = super::context(door, &request);
    let (collection, draft) = wire::scroll::draft(request.into_inner());
    let answer = door.service()?.scroll(&ctx, &collection, draft).await?;
    Ok(Response::new(super::sized(door, wire::scroll::answer(&answer))?))
}
