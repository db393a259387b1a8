//! This member leaves the grid for good, or stays after all.
//!
//! Leaving takes a while: other members take its partitions, and it serves meanwhile. When it holds nothing any more it
//! goes on serving the application beside it, and has left when its daemon is stopped.

use super::{RequestContext, Service, ServiceError};
use crate::control::Command;

/// How far this member is with leaving.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DrainStatus {
    /// It is on its way out.
    pub draining: bool,
    /// Partitions that it still holds.
    pub partitions_left: usize,
}

impl Service {
    /// From now on this member gives away what it holds. Harmless when it does so already.
    ///
    /// # Errors
    /// `no_other_member` when nobody could take it, and when the grid cannot decide.
    pub async fn drain(&self, ctx: &RequestContext) -> Result<DrainStatus, ServiceError> {
        self.decide(ctx, Command::Leave(self.parts.member.clone())).await?;
        Ok(self.drain_status())
    }

    /// This member stays, and gets its share of partitions back. Harmless when it did not leave.
    ///
    /// # Errors
    /// When the grid cannot decide.
    pub async fn cancel_drain(&self, ctx: &RequestContext) -> Result<DrainStatus, ServiceError> {
        self.decide(ctx, Command::Stay(self.parts.member.clone())).await?;
        Ok(self.drain_status())
    }

    /// Whether this member is on its way out of the grid.
    pub fn is_leaving(&self) -> bool {
        self.view().member(&self.parts.member).is_some_and(|member| member.leaving)
    }

    fn drain_status(&self) -> DrainStatus {
        let partitions_left = self.view().hosted(&self.parts.member).len();
        DrainStatus { draining: self.is_leaving(), partitions_left }
    }
}
