//! What is on its way between members.

use vecgrid_proto::v1 as pb;

use crate::{
    Client, Moves, Result,
    call::{Effect, Stub},
    wire,
};

impl Client {
    /// The copies that members are making on others at this moment, and how far they are.
    ///
    /// # Errors
    /// What any call may meet.
    pub async fn moves(&self) -> Result<Moves> {
        let send = |mut stub: Stub, request| async move { stub.moves(request).await };
        Ok(wire::moves_from_wire(self.call(Effect::Read, pb::MovesRequest {}, send).await?))
    }
}
