//! What the grid agreed on, as a value.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{CollectionConfig, CollectionId, CollectionName, MemberId, PartitionId};

/// A collection of the grid.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Collection {
    /// Its number.
    pub id: CollectionId,
    /// What it is.
    pub config: CollectionConfig,
}

/// Who holds a partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placement {
    /// Term of the primary.
    pub epoch: u64,
    /// Orders the writes.
    pub primary: MemberId,
    /// Must have a write before it counts; includes the primary.
    pub in_sync: Vec<MemberId>,
}

/// Everything the grid agreed on, at one version. Only `control/` makes the next version; once
/// published a version is immutable.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClusterView {
    pub(crate) version: u64,
    pub(crate) grid: String,
    pub(crate) table: Vec<Placement>,
    pub(crate) next_collection: u32,
    pub(crate) collections: BTreeMap<CollectionName, Collection>,
    pub(crate) purging: BTreeSet<CollectionId>,
}

impl ClusterView {
    /// A new grid of one member, which holds every partition.
    pub fn bootstrap(grid: &str, partitions: u16, member: &MemberId) -> Self {
        let placement = Placement { epoch: 1, primary: member.clone(), in_sync: vec![member.clone()] };
        Self {
            version: 1,
            grid: grid.to_owned(),
            table: vec![placement; usize::from(partitions)],
            next_collection: 1,
            collections: BTreeMap::new(),
            purging: BTreeSet::new(),
        }
    }

    /// Grows with each decision.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Name of the grid.
    pub fn grid(&self) -> &str {
        &self.grid
    }

    /// How many partitions the grid has, for ever.
    pub fn partitions(&self) -> u16 {
        u16::try_from(self.table.len()).unwrap_or(u16::MAX)
    }

    /// Who holds a partition of this grid.
    pub fn partition(&self, partition: PartitionId) -> &Placement {
        &self.table[usize::from(partition.0)]
    }

    /// A collection by name.
    pub fn collection(&self, name: &CollectionName) -> Option<&Collection> {
        self.collections.get(name)
    }

    /// A collection by number.
    pub fn collection_by_id(&self, id: CollectionId) -> Option<&Collection> {
        // Grids have few collections, and this is asked once per batch or record.
        self.collections.values().find(|collection| collection.id == id)
    }

    /// All collections, by name.
    pub fn collections(&self) -> impl Iterator<Item = &Collection> {
        self.collections.values()
    }

    /// Dropped collections whose rows are still to be removed.
    pub fn purging(&self) -> impl Iterator<Item = CollectionId> {
        self.purging.iter().copied()
    }
}
