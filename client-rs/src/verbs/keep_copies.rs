//! Says how many copies of each partition the grid keeps.

use vecgrid_proto::v1 as pb;

use crate::{
    Client, Copies, Result,
    call::{Effect, Stub},
};

impl Client {
    /// From now on the grid keeps so many copies besides the first (0 to 4), and takes writes only while so many
    /// members are in sync (1 to backups + 1). `None` leaves a number as it is. Copies are made, or go, in the
    /// background.
    ///
    /// # Errors
    /// When the numbers do not fit, and what any call may meet.
    pub async fn keep_copies(&self, backups: Option<u32>, min_in_sync: Option<u32>) -> Result<Copies> {
        let send = |mut stub: Stub, request| async move { stub.keep_copies(request).await };
        let answer = self.call(Effect::Write, pb::KeepCopiesRequest { backups, min_in_sync }, send).await?;
        Ok(Copies {
            backups: answer.backups,
            min_in_sync: answer.min_in_sync,
            under_replicated: answer.under_replicated,
        })
    }
}
