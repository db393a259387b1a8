//! How many copies of each partition the grid keeps.

use super::{RequestContext, Service, ServiceError};
use crate::{
    control::Command,
    types::{ClusterView, CopySettings, Invalid, PartitionId},
};

/// What is to be kept, and how far that is so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CopiesStatus {
    /// What is to be kept.
    pub settings: CopySettings,
    /// Partitions of which fewer copies are in sync, on members that are there, than there are members for.
    pub under_replicated: usize,
}

/// A change; what is left out stays.
#[derive(Debug, Clone, Copy, Default)]
pub struct CopiesDraft {
    /// Copies besides the first.
    pub backups: Option<u32>,
    /// Members that must be in sync for writes to be taken.
    pub min_in_sync: Option<u32>,
}

impl CopiesStatus {
    pub(super) fn of(view: &ClusterView) -> Self {
        let all = (0..view.partitions()).map(PartitionId);
        let under_replicated = all.filter(|partition| view.is_under_replicated(*partition)).count();
        Self { settings: view.copies(), under_replicated }
    }
}

impl Service {
    /// How many copies are kept.
    pub fn copies(&self) -> CopiesStatus {
        CopiesStatus::of(&self.view())
    }

    /// From now on so many copies are kept. They are made, or go, in the background.
    ///
    /// # Errors
    /// `invalid_copies`, and when the grid cannot decide.
    pub async fn keep_copies(
        &self,
        ctx: &RequestContext,
        draft: CopiesDraft,
    ) -> Result<CopiesStatus, ServiceError> {
        let now = self.view().copies();
        let small = |number: Option<u32>, now: u8| number.map_or(now, |n| u8::try_from(n).unwrap_or(u8::MAX));
        let backups = small(draft.backups, now.backups).min(u8::MAX - 1);
        let settings = CopySettings { backups, min_in_sync: small(draft.min_in_sync, now.min_in_sync) };
        if let Some(fault) = settings.fault() {
            return Err(Invalid::new("invalid_copies", "backups", fault).into());
        }
        self.decide(ctx, Command::KeepCopies(settings)).await?;
        Ok(self.copies())
    }
}
