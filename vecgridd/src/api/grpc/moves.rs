//! What is on its way between members, over gRPC.

use tonic::{Request, Response};
use vecgrid_proto::v1;

use crate::{
    api::{door::Door, error::ApiError},
    wire,
};

pub(super) async fn moves(
    door: &Door,
    request: Request<v1::MovesRequest>,
) -> Result<Response<v1::MovesResponse>, ApiError> {
    let (ctx, service) = (super::context(door, &request), door.service()?);
    Ok(Response::new(wire::moves::answer(&service.moves(&ctx).await)))
}
