//! Delete over gRPC.

use tonic::{Request, Response};
use vecgrid_proto::v1;

use crate::{
    api::{door::Door, error::ApiError},
    service::DeleteAnswer,
    wire,
};

pub(super) async fn delete(
    door: &Door,
    request: Request<v1::DeleteRequest>,
) -> Result<Response<v1::DeleteResponse>, ApiError> {
    let ctx = super::context(door, &request);
    let draft = wire::delete::draft(request.into_inner())?;
    let DeleteAnswer { deleted, token } =
        door.service()?.delete(&ctx, &draft.collection, draft.what, draft.request_id).await?;
    Ok(Response::new(v1::DeleteResponse { deleted, token: token.to_string() }))
}
