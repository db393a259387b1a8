//! Which partitions are here, and which of them this member answers for.
//!
//! A request looks here first, and takes no lock that a writer of rows holds. What is not here, or is not to be
//! answered from here, belongs to another member: the table says to which.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock},
};

use arc_swap::ArcSwap;

use super::Handle;
use crate::{index::PartitionSet, types::PartitionId};

/// The partitions of this member. Cheap to clone.
#[derive(Clone, Default)]
pub struct Hosts {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    /// Never held across an await.
    owners: RwLock<BTreeMap<PartitionId, Handle>>,
    answers: ArcSwap<PartitionSet>,
}

impl Hosts {
    /// The owner of a copy that is here, whatever its role.
    pub fn get(&self, partition: PartitionId) -> Option<Handle> {
        self.shared.owners.read().unwrap_or_else(PoisonError::into_inner).get(&partition).cloned()
    }

    /// The partitions whose primary this member is: it takes their writes, and its rows and indexes show every
    /// write that was acknowledged.
    pub fn answers(&self) -> Arc<PartitionSet> {
        self.shared.answers.load_full()
    }

    /// A copy is here from now on.
    pub fn add(&self, partition: PartitionId, owner: Handle) {
        self.shared.owners.write().unwrap_or_else(PoisonError::into_inner).insert(partition, owner);
    }

    /// A copy is not here any more.
    pub fn remove(&self, partition: PartitionId) -> Option<Handle> {
        self.answer(partition, false);
        self.shared.owners.write().unwrap_or_else(PoisonError::into_inner).remove(&partition)
    }

    /// From now on this member answers for a partition, or does not.
    pub fn answer(&self, partition: PartitionId, answers: bool) {
        self.shared.answers.rcu(|set| {
            let mut next = PartitionSet::clone(set);
            if answers {
                next.insert(partition)
            } else {
                next.remove(partition)
            }
            next
        });
    }
}
