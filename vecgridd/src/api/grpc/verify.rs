//! Comparing copies over gRPC.

use tonic::{Request, Response};
use vecgrid_proto::v1;

use crate::{
    api::{door::Door, error::ApiError},
    wire,
};

pub(super) async fn verify(
    door: &Door,
    request: Request<v1::VerifyRequest>,
) -> Result<Response<v1::VerifyResponse>, ApiError> {
    let (ctx, service) = (super::context(door, &request), door.service()?);
    let answer = service.verify(&ctx, request.get_ref().partition).await?;
    Ok(Response::new(wire::verify::answer(answer, |id| service.collection_name(id))))
}
