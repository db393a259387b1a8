//! Which partitions are here, and which of them this member answers for.
//!
//! A request looks here first, and takes no lock that a writer of rows holds. What is not here, or is not to be
//! answered from here, belongs to another member: the table says to which.
//!
//! A primary takes writes and answers everything. A backup that is in sync answers reads that may be a moment behind:
//! its rows show what it was told to be committed, and [`Hosts::applied`] says how far that is.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock},
};

use arc_swap::ArcSwap;
use tokio::sync::Notify;

use super::{Handle, Versions};
use crate::{
    index::PartitionSet,
    types::{PartitionId, Version},
};

/// Who may answer a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    /// Primaries: it writes.
    Primary,
    /// Primaries, while the grid confirms that they are: it shows every write that was acknowledged.
    PrimaryUnderLease,
    /// Any copy in sync.
    InSync,
}

/// For what a copy may be asked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Role {
    /// Nothing: it is being made, has fallen behind, or is on its way out.
    #[default]
    None,
    /// Reads that may be a moment behind.
    Backup,
    /// Everything.
    Primary,
}

/// The partitions of this member. Cheap to clone.
#[derive(Clone, Default)]
pub struct Hosts {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    /// Never held across an await.
    owners: RwLock<BTreeMap<PartitionId, Handle>>,
    leads: ArcSwap<PartitionSet>,
    answers: ArcSwap<PartitionSet>,
    applied: Versions,
    /// Copies that must not be used.
    quarantined: ArcSwap<PartitionSet>,
    changed: Notify,
}

impl Hosts {
    /// The owner of a copy that is here, whatever its role.
    pub fn get(&self, partition: PartitionId) -> Option<Handle> {
        self.shared.owners.read().unwrap_or_else(PoisonError::into_inner).get(&partition).cloned()
    }

    /// The owners of all copies that are here.
    pub fn owners(&self) -> Vec<(PartitionId, Handle)> {
        let owners = self.shared.owners.read().unwrap_or_else(PoisonError::into_inner);
        owners.iter().map(|(partition, owner)| (*partition, owner.clone())).collect()
    }

    /// The partitions whose primary this member is: it takes their writes, and its rows and indexes show every
    /// write that was acknowledged.
    pub fn leads(&self) -> Arc<PartitionSet> {
        self.shared.leads.load_full()
    }

    /// Those, and the ones of which this member has a backup that answers.
    pub fn answers(&self) -> Arc<PartitionSet> {
        self.shared.answers.load_full()
    }

    /// The partitions that this member answers for when these may answer; `acts`: the grid has confirmed lately that
    /// it is one of its members.
    pub fn read_by(&self, who: Who, acts: bool) -> Arc<PartitionSet> {
        match (who, acts) {
            (Who::Primary, _) | (Who::InSync, false) | (Who::PrimaryUnderLease, true) => self.leads(),
            (Who::InSync, true) => self.answers(),
            (Who::PrimaryUnderLease, false) => Arc::default(),
        }
    }

    /// The last write of a partition that rows and indexes here show.
    pub fn applied(&self, partition: PartitionId) -> Version {
        self.shared.applied.get(partition)
    }

    /// Rows and indexes show this write, or those of another copy of the partition.
    pub(super) fn set_applied(&self, partition: PartitionId, version: Version) {
        self.shared.applied.set(partition, version);
    }

    /// The copies here that must not be used: they are damaged, or contradict what is committed elsewhere.
    pub fn quarantined(&self) -> Arc<PartitionSet> {
        self.shared.quarantined.load_full()
    }

    /// Whether a copy must not be used.
    pub(super) fn quarantine(&self, partition: PartitionId, holds: bool) {
        put(&self.shared.quarantined, partition, holds);
        self.shared.changed.notify_waiters();
    }

    /// Returns when others than these must not be used.
    pub(super) async fn until_quarantined_but(&self, known: &PartitionSet) {
        loop {
            let changed = self.shared.changed.notified();
            if *self.quarantined() != *known {
                return;
            }
            changed.await;
        }
    }

    /// A copy is here from now on.
    pub fn add(&self, partition: PartitionId, owner: Handle) {
        self.shared.owners.write().unwrap_or_else(PoisonError::into_inner).insert(partition, owner);
    }

    /// A copy is not here any more.
    pub fn remove(&self, partition: PartitionId) -> Option<Handle> {
        self.answer(partition, Role::None);
        self.quarantine(partition, false);
        self.shared.owners.write().unwrap_or_else(PoisonError::into_inner).remove(&partition)
    }

    /// From now on this member answers so much for a partition.
    pub fn answer(&self, partition: PartitionId, role: Role) {
        put(&self.shared.leads, partition, role == Role::Primary);
        put(&self.shared.answers, partition, role != Role::None);
        self.shared.changed.notify_waiters();
    }

    /// Returns when this member is the primary of all of these.
    pub async fn until_leads(&self, wanted: &PartitionSet) {
        loop {
            let changed = self.shared.changed.notified();
            if self.leads().covers(wanted) {
                return;
            }
            changed.await;
        }
    }
}

fn put(sets: &ArcSwap<PartitionSet>, partition: PartitionId, holds: bool) {
    sets.rcu(|set| {
        if set.contains(partition) == holds {
            return Arc::clone(set);
        }
        let mut next = PartitionSet::clone(set);
        if holds {
            next.insert(partition)
        } else {
            next.remove(partition)
        }
        Arc::new(next)
    });
}
