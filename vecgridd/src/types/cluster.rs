//! What the grid agreed on, as a value.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{CollectionConfig, CollectionId, CollectionName, Member, MemberId, PartitionId};

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

/// Who is to hold a partition: what a placement becomes when all moves are done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holders {
    /// Orders the writes.
    pub primary: MemberId,
    /// Holds a copy, too, or is being given one.
    pub others: Vec<MemberId>,
}

impl Holders {
    /// The primary, then the others.
    pub fn members(&self) -> impl Iterator<Item = &MemberId> {
        std::iter::once(&self.primary).chain(&self.others)
    }

    /// Does this member hold a copy?
    pub fn holds(&self, member: &MemberId) -> bool {
        self.members().any(|holder| holder == member)
    }
}

impl From<&Placement> for Holders {
    fn from(placement: &Placement) -> Self {
        let others = placement.in_sync.iter().filter(|member| **member != placement.primary);
        Self { primary: placement.primary.clone(), others: others.cloned().collect() }
    }
}

/// How many copies of each partition there are to be, for the whole grid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopySettings {
    /// Besides the primary's, 0 to [`MAX_BACKUPS`].
    pub backups: u8,
    /// Members that must be in sync for a partition to take writes, 1 to `backups + 1`.
    pub min_in_sync: u8,
}

/// The most backups that a partition can have.
pub const MAX_BACKUPS: u8 = 4;

impl CopySettings {
    /// What is wrong with it, for a person.
    pub fn fault(self) -> Option<String> {
        let Self { backups, min_in_sync } = self;
        if backups > MAX_BACKUPS {
            return Some(format!("backups: {backups} are too many, at most {MAX_BACKUPS}"));
        }
        let copies = backups + 1;
        (min_in_sync == 0 || min_in_sync > copies).then(|| {
            format!("min_in_sync: {min_in_sync} is not between 1 and the number of copies, which is backups + 1 = {copies}")
        })
    }
}

impl Default for CopySettings {
    /// Of a grid from before there were any.
    fn default() -> Self {
        Self { backups: 0, min_in_sync: 1 }
    }
}

/// Everything the grid agreed on, at one version. Only `control/` makes the next version; once
/// published a version is immutable.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClusterView {
    pub(crate) version: u64,
    /// Made at the grid's birth: two grids of one name are still two.
    pub(crate) id: String,
    pub(crate) grid: String,
    pub(crate) members: BTreeMap<MemberId, Member>,
    pub(crate) next_joined: u64,
    pub(crate) table: Vec<Placement>,
    /// Who should hold each partition; empty = whoever does.
    #[serde(default)]
    pub(crate) wanted: Vec<Holders>,
    /// Counts the changes of who may hold partitions: a plan is for one of these numbers.
    #[serde(default)]
    pub(crate) roster: u64,
    /// The roster that `wanted` was made for.
    #[serde(default)]
    pub(crate) planned: u64,
    /// Members that were away when it was made, and were given nothing new.
    #[serde(default)]
    pub(crate) passed_over: BTreeSet<MemberId>,
    /// Members that hold one more copy while a holder is away.
    #[serde(default)]
    pub(crate) stand_ins: BTreeMap<PartitionId, MemberId>,
    /// How many copies there are to be.
    #[serde(default)]
    pub(crate) copies: CopySettings,
    pub(crate) next_collection: u32,
    pub(crate) collections: BTreeMap<CollectionName, Collection>,
    /// Dropped collections, and the members that still have rows of them.
    pub(crate) purging: BTreeMap<CollectionId, BTreeSet<MemberId>>,
    /// The grid was given up: its only member joins another one of its name, which answered there. Nothing is decided
    /// any more.
    #[serde(default)]
    pub(crate) dissolved: Option<String>,
}

impl ClusterView {
    /// Before anything is agreed: no grid, version 0.
    pub fn unborn() -> Self {
        Self {
            version: 0,
            id: String::new(),
            grid: String::new(),
            members: BTreeMap::new(),
            next_joined: 1,
            table: Vec::new(),
            wanted: Vec::new(),
            roster: 0,
            planned: 0,
            passed_over: BTreeSet::new(),
            stand_ins: BTreeMap::new(),
            copies: CopySettings::default(),
            next_collection: 1,
            collections: BTreeMap::new(),
            purging: BTreeMap::new(),
            dissolved: None,
        }
    }

    /// A new grid of one member, which holds every partition.
    pub fn found(id: &str, grid: &str, partitions: u16, founder: Member) -> Self {
        Self::found_with(id, grid, partitions, CopySettings::default(), founder)
    }

    /// The same, which keeps so many copies when there are members for them.
    pub fn found_with(id: &str, grid: &str, partitions: u16, copies: CopySettings, founder: Member) -> Self {
        let primary = founder.id.clone();
        let placement = Placement { epoch: 1, primary: primary.clone(), in_sync: vec![primary] };
        Self {
            version: 1,
            id: id.to_owned(),
            grid: grid.to_owned(),
            next_joined: founder.joined + 1,
            members: [(founder.id.clone(), founder)].into(),
            table: vec![placement; usize::from(partitions)],
            copies,
            ..Self::unborn()
        }
    }

    /// A new grid of one member of which nothing but its id is known.
    pub fn bootstrap(grid: &str, partitions: u16, member: &MemberId) -> Self {
        Self::found(grid, grid, partitions, Member::new(member.clone(), "", ""))
    }

    /// Whether there never was a collection, and so never a row.
    pub fn is_unused(&self) -> bool {
        self.next_collection == 1 && self.collections.is_empty() && self.purging.is_empty()
    }

    /// The address of another grid of its name for which this one was given up.
    pub fn dissolved(&self) -> Option<&str> {
        self.dissolved.as_deref()
    }

    /// Grows with each decision; 0 before the grid's birth.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Id of the grid, made at its birth.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Name of the grid.
    pub fn grid(&self) -> &str {
        &self.grid
    }

    /// A member, also one that is away or left.
    pub fn member(&self, id: &MemberId) -> Option<&Member> {
        self.members.get(id)
    }

    /// What people call a member: its name, or its id when it has none.
    pub fn name_of(&self, id: &MemberId) -> String {
        let known = self.members.get(id).map(|member| &member.details.name);
        known.filter(|name| !name.is_empty()).unwrap_or(&id.0).clone()
    }

    /// All members that did not leave, by id.
    pub fn members(&self) -> impl Iterator<Item = &Member> {
        self.members.values().filter(|member| !member.has_left())
    }

    /// How many partitions the grid has, for ever.
    pub fn partitions(&self) -> u16 {
        u16::try_from(self.table.len()).unwrap_or(u16::MAX)
    }

    /// Who holds a partition of this grid.
    pub fn partition(&self, partition: PartitionId) -> &Placement {
        &self.table[usize::from(partition.0)]
    }

    /// Who should hold a partition; `None` = whoever does.
    pub fn wanted(&self, partition: PartitionId) -> Option<&Holders> {
        self.wanted.get(usize::from(partition.0))
    }

    /// Who is to hold a partition until there is another plan.
    pub fn meant(&self, partition: PartitionId) -> Holders {
        self.wanted(partition).cloned().unwrap_or_else(|| self.partition(partition).into())
    }

    /// Holds a copy of a partition while a member that should is away.
    pub fn stand_in(&self, partition: PartitionId) -> Option<&MemberId> {
        self.stand_ins.get(&partition)
    }

    /// How many copies there are to be.
    pub fn copies(&self) -> CopySettings {
        self.copies
    }

    /// Whether fewer members than are meant to have every acknowledged write of a partition, and are there. A grid of
    /// fewer members than copies is meant to have one on each.
    pub fn is_under_replicated(&self, partition: PartitionId) -> bool {
        let copies = usize::from(self.copies.backups) + 1;
        self.alive_in_sync(partition) < copies.min(self.members.len())
    }

    /// How many members that are there have every acknowledged write of a partition.
    pub fn alive_in_sync(&self, partition: PartitionId) -> usize {
        let alive = |id: &&MemberId| self.member(id).is_some_and(Member::is_alive);
        self.partition(partition).in_sync.iter().filter(alive).count()
    }

    /// How a partition is held when a member's copy of it does not count any more; `None` where it does not now, or no
    /// other one does. Somebody who is there leads, if anybody is.
    pub fn placement_without(&self, partition: PartitionId, member: &MemberId) -> Option<Placement> {
        let Placement { epoch, primary, in_sync } = self.partition(partition);
        let left: Vec<MemberId> = in_sync.iter().filter(|id| *id != member).cloned().collect();
        let alive = |id: &&MemberId| self.member(id).is_some_and(Member::is_alive);
        let first = left.iter().find(alive).or(left.first())?;
        let next = if primary == member { first } else { primary }.clone();
        (left.len() < in_sync.len()).then(|| Placement {
            epoch: epoch + 1,
            primary: next,
            in_sync: left.clone(),
        })
    }

    /// Whether a member should hold a copy of a partition.
    pub fn is_wanted_at(&self, member: &MemberId, partition: PartitionId) -> bool {
        if self.stand_in(partition) == Some(member) {
            return true;
        }
        match self.wanted(partition) {
            Some(holders) => holders.holds(member),
            None => self.partition(partition).in_sync.contains(member),
        }
    }

    /// Whether a member gave away what it held, and nothing is meant for it.
    pub fn has_emptied(&self, member: &MemberId) -> bool {
        let leaving = self.member(member).is_some_and(|known| known.leaving);
        leaving && self.planned == self.roster && !self.wanted.is_empty() && self.involved(member) == 0
    }

    /// Whether a partition is not held as it should be, and that is under way: nothing moves to or from a member that
    /// is away.
    pub fn is_moving(&self, partition: PartitionId) -> bool {
        let placement = self.partition(partition);
        let away = |id: &MemberId| !self.member(id).is_some_and(Member::is_alive);
        let stand_in = self.stand_in(partition);
        self.wanted(partition).is_some_and(|wanted| {
            let missing = |id: &&MemberId| !away(id) && !placement.in_sync.contains(id);
            let surplus = |id: &&MemberId| !wanted.holds(id) && Some(*id) != stand_in;
            (wanted.primary != placement.primary && !away(&wanted.primary))
                || wanted.members().chain(stand_in).any(|id| missing(&id))
                || placement.in_sync.iter().any(|id| surplus(&id))
        })
    }

    /// How many partitions are not held as they should be.
    pub fn moving(&self) -> usize {
        (0..self.partitions()).filter(|number| self.is_moving(PartitionId(*number))).count()
    }

    /// How many partitions a member holds a copy of, or should.
    pub fn involved(&self, member: &MemberId) -> usize {
        let concerns = |partition: &PartitionId| {
            self.partition(*partition).in_sync.contains(member) || self.is_wanted_at(member, *partition)
        };
        (0..self.partitions()).map(PartitionId).filter(concerns).count()
    }

    /// The partitions of which a member is primary, or in sync.
    pub fn hosted(&self, member: &MemberId) -> Vec<PartitionId> {
        let holds = |placement: &Placement| placement.in_sync.contains(member);
        (0..self.partitions()).map(PartitionId).filter(|p| holds(self.partition(*p))).collect()
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

    /// Dropped collections whose rows some member still has to remove.
    pub fn purging(&self) -> impl Iterator<Item = CollectionId> {
        self.purging.keys().copied()
    }

    /// Dropped collections whose rows this member still has to remove.
    pub fn purging_at<'a>(&'a self, member: &'a MemberId) -> impl Iterator<Item = CollectionId> + 'a {
        self.purging.iter().filter(|(_, left)| left.contains(member)).map(|(id, _)| *id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::MemberState;

    #[test]
    fn too_few_copies_are_fewer_than_there_are_members_for() {
        let id = |name: &str| MemberId(name.to_owned());
        let mut view = ClusterView::bootstrap("g", 1, &id("a"));
        view.copies.backups = 1;
        let partition = PartitionId(0);
        assert!(!view.is_under_replicated(partition), "one member is all there is");
        view.members.insert(id("b"), Member::new(id("b"), "", "b"));
        assert!(view.is_under_replicated(partition), "the second one has no copy yet");
        view.table[0].in_sync.push(id("b"));
        assert!(!view.is_under_replicated(partition));
        view.members.get_mut(&id("b")).unwrap().state = MemberState::Away;
        assert!(view.is_under_replicated(partition), "a copy that is away is none");
        view.copies.backups = 0;
        assert!(!view.is_under_replicated(partition));
    }
}
