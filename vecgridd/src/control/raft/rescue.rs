//! The control store of a member whose grid has lost the majority of its voters: what it knew last, and how it
//! begins anew.
//!
//! The store is emptied like one that was never used, but for who the member is and how its new grid is to begin:
//! that grid is then founded as any other one, by its first decision. One batch does it, so that a power cut leaves
//! the old grid or the new one.

use std::{collections::BTreeSet, ops::ControlFlow, sync::Arc};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::{ControlStore, Entry, StartError, machine::Machine, member_of};
use crate::{
    storage::{
        Batch, Family, StorageError,
        keys::control::{
            CONTROL_FORMAT, Owner, committed_key, entry_key, open, owner_key, purged_key, rescued_key, seal,
            snapshot_key, vote_key,
        },
    },
    types::{ClusterView, MemberDetails, MemberId, PartitionId},
};

/// What a member knew last of its grid.
#[derive(Debug, Clone)]
pub struct LastKnown {
    /// Whose store it is.
    pub owner: Owner,
    /// The state, with everything that is in the log: what a majority had agreed on may not be known here as such.
    pub view: ClusterView,
    /// Who voted.
    pub voters: BTreeSet<MemberId>,
}

/// How a grid begins that was made by force out of one member.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rescued {
    /// Id of the grid that it was.
    pub from: String,
    /// The first state.
    pub first: ClusterView,
    /// Partitions whose copy was not in sync: what was written since it was is lost.
    pub behind: Vec<PartitionId>,
    /// Partitions that begin empty: whatever is left of them here is of no use.
    pub empty: Vec<PartitionId>,
}

impl Rescued {
    /// The first state, with what its member says about itself by now.
    pub fn begins_with(&self, me: &MemberId, details: &MemberDetails) -> ClusterView {
        let mut first = self.first.clone();
        first.members.entry(me.clone()).and_modify(|member| member.details = details.clone());
        first
    }
}

impl ControlStore {
    /// What this member knew last; `None` when it never was in a grid.
    ///
    /// # Errors
    /// When the store is damaged.
    pub fn last_known(&self) -> Result<Option<LastKnown>, StartError> {
        let Some(owner) = self.owner()? else { return Ok(None) };
        self.check()?;
        let machine = Machine::open(self.clone(), watch::Sender::new(Arc::new(ClusterView::unborn())))?;
        let next = machine.applied().map_or(0, |id| id.index + 1);
        let mut entries: Vec<Entry> = Vec::new();
        self.scan(|_, bytes| {
            let entry: Entry = open("an entry of the control log", bytes)?;
            if entry.log_id.index >= next {
                entries.push(entry);
            }
            Ok(ControlFlow::Continue(()))
        })?;
        let (view, membership) = machine.after(entries);
        let voters = membership.membership().voter_ids().map(member_of).collect();
        Ok(Some(LastKnown { owner, view, voters }))
    }

    /// From now on this member is the founder of another grid, which begins like this.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn begin_anew(&self, owner: &Owner, rescued: &Rescued) -> Result<(), StartError> {
        let grid = rescued.first.id().to_owned();
        let owner = Owner { format: CONTROL_FORMAT, grid, founder: true, ..owner.clone() };
        let mut batch = Batch::default();
        batch.delete_range(Family::Oplog, entry_key(0), entry_key(u64::MAX));
        for key in [vote_key(), committed_key(), purged_key(), snapshot_key()] {
            batch.delete(Family::Member, key);
        }
        batch.put(Family::Member, owner_key(), seal(&owner)?);
        batch.put(Family::Member, rescued_key(), seal(rescued)?);
        Ok(self.engine.commit(&batch, true)?)
    }

    /// How this member's grid is to begin, if it was made by force and has not begun.
    ///
    /// # Errors
    /// When that is damaged.
    pub fn rescued(&self) -> Result<Option<Rescued>, StartError> {
        let damaged = |e: StorageError| StartError::Damaged(e.to_string());
        self.read("how the grid begins", &rescued_key()).map_err(damaged)
    }

    /// It has begun.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn has_begun(&self) -> Result<(), StartError> {
        let mut batch = Batch::default();
        batch.delete(Family::Member, rescued_key());
        Ok(self.engine.commit(&batch, true)?)
    }
}
