//! Count over gRPC.

use tonic::{Request, Response};
use vecgrid_proto::v1;

use crate::{
    api::{door::Door, error::ApiError},
    wire,
};

pub(super) async fn count(
    door: &Door,
    request: Request<v1::CountRequest>,
) -> Result<Response<v1::CountResponse>, ApiError> {
    let ctx = super::context(door, &request);
    let (collection, filter) = wire::count::draft(request.into_inner());
    let count = door.service()?.count(&ctx, &collection, filter).await?;
    Ok(Response::new(v1::CountResponse { count }))
}
