//! Describes the grid.

use vecgrid_proto::v1 as pb;

use crate::{
    Client, GridStatus, Result,
    call::{Effect, Stub},
    wire,
};

impl Client {
    /// The grid as the daemon sees it: members and partitions.
    ///
    /// # Errors
    /// What any call may meet.
    pub async fn grid_status(&self) -> Result<GridStatus> {
        let send = |mut stub: Stub, request| async move { stub.grid_status(request).await };
        Ok(wire::grid_from_wire(self.call(Effect::Read, pb::GridStatusRequest {}, send).await?))
    }
}
