//! Has the member that is asked leave the grid.

use vecgrid_proto::v1 as pb;

use crate::{
    Client, Drain, Result,
    call::{Effect, Stub},
};

impl Client {
    /// The member that is asked leaves the grid for good: others take its partitions, and it serves meanwhile.
    ///
    /// Answers at once; [`Client::grid_status`] shows how far it is. It has left when its daemon is stopped after that.
    ///
    /// # Errors
    /// When no other member could take its partitions, and what any call may meet.
    pub async fn drain(&self) -> Result<Drain> {
        self.send_drain(false).await
    }

    /// It stays after all, and gets its share of partitions back.
    ///
    /// # Errors
    /// What any call may meet.
    pub async fn cancel_drain(&self) -> Result<Drain> {
        self.send_drain(true).await
    }

    async fn send_drain(&self, cancel: bool) -> Result<Drain> {
        let send = |mut stub: Stub, request| async move { stub.drain(request).await };
        let answer = self.call(Effect::Write, pb::DrainRequest { cancel }, send).await?;
        Ok(Drain { draining: answer.draining, partitions_left: answer.partitions_left })
    }
}
