//! Leaving the grid over gRPC.

use tonic::{Request, Response};
use vecgrid_proto::v1;

use crate::{
    api::{door::Door, error::ApiError},
    wire,
};

pub(super) async fn drain(
    door: &Door,
    request: Request<v1::DrainRequest>,
) -> Result<Response<v1::DrainResponse>, ApiError> {
    let (ctx, service) = (super::context(door, &request), door.service()?);
    let status =
        if request.get_ref().cancel { service.cancel_drain(&ctx).await } else { service.drain(&ctx).await };
    Ok(Response::new(wire::drain::answer(status?)))
}
