//! Status of the grid over gRPC.

use tonic::Response;
use vecgrid_proto::v1;

use crate::{
    api::{door::Door, error::ApiError},
    wire,
};

pub(super) fn status(door: &Door) -> Result<Response<v1::GridStatusResponse>, ApiError> {
    Ok(Response::new(wire::grid::answer(&door.service()?.grid_status())))
}
