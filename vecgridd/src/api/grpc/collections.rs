//! Create, get, list and drop collections over gRPC.

use tonic::{Request, Response};
use vecgrid_proto::v1;

use crate::{
    api::{door::Door, error::ApiError},
    wire,
};

pub(super) async fn create(
    door: &Door,
    request: Request<v1::CreateCollectionRequest>,
) -> Result<Response<v1::CreateCollectionResponse>, ApiError> {
    let ctx = super::context(door, &request);
    let draft = wire::collections::draft(request.into_inner()).map_err(|problem| problem.within("config"))?;
    let (config, created) = door.service()?.create_collection(&ctx, draft).await?;
    Ok(Response::new(wire::collections::created(&config, created)))
}

pub(super) async fn get(
    door: &Door,
    request: Request<v1::GetCollectionRequest>,
) -> Result<Response<v1::CollectionInfo>, ApiError> {
    let ctx = super::context(door, &request);
    let info = door.service()?.get_collection(&ctx, &request.into_inner().name).await?;
    Ok(Response::new(wire::collections::info(&info)))
}

pub(super) async fn list(
    door: &Door,
    request: Request<v1::ListCollectionsRequest>,
) -> Result<Response<v1::ListCollectionsResponse>, ApiError> {
    let ctx = super::context(door, &request);
    Ok(Response::new(wire::collections::list(&door.service()?.list_collections(&ctx).await?)))
}

pub(super) async fn drop(
    door: &Door,
    request: Request<v1::DropCollectionRequest>,
) -> Result<Response<v1::DropCollectionResponse>, ApiError> {
    let ctx = super::context(door, &request);
    let dropped = door.service()?.drop_collection(&ctx, &request.into_inner().name).await?;
    Ok(Response::new(v1::DropCollectionResponse { dropped }))
}
