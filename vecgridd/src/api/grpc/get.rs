//! Get over gRPC.

use tonic::{Request, Response};
use vecgrid_proto::v1;

use crate::{
    api::{door::Door, error::ApiError},
    wire,
};

pub(super) async fn get(
    door: &Door,
    request: Request<v1::GetRequest>,
) -> Result<Response<v1::GetResponse>, ApiError> {
    let ctx = super::context(door, &request);
    let v1::GetRequest { collection, id } = request.into_inner();
    let entry = door.service()?.get(&ctx, &collection, &id).await?;
    Ok(Response::new(wire::get::answer(&entry)))
}
