//! How many copies the grid keeps, over gRPC.

use tonic::{Request, Response};
use vecgrid_proto::v1;

use crate::{
    api::{door::Door, error::ApiError},
    service::CopiesDraft,
    wire,
};

pub(super) async fn keep(
    door: &Door,
    request: Request<v1::KeepCopiesRequest>,
) -> Result<Response<v1::KeepCopiesResponse>, ApiError> {
    let (ctx, service) = (super::context(door, &request), door.service()?);
    let asked = request.into_inner();
    let draft = CopiesDraft { backups: asked.backups, min_in_sync: asked.min_in_sync };
    let status = service.keep_copies(&ctx, draft).await?;
    Ok(Response::new(wire::copies::answer(status)))
}
