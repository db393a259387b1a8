//! A grid out of one member, when the majority of the voters is lost for good. Pure.
//!
//! The new grid has a new id, so whoever comes back of the old one is refused by it and cannot mix with it. It has one
//! member, which is the primary of every partition. What it has of a partition is the best there is:
//!
//! | the copy here | in the new grid |
//! |---|---|
//! | was in sync | has every write that was acknowledged, as far as this member knew the table |
//! | was not in sync, or was being brought level | what was written since is missing: *behind* |
//! | none, or one that is of no use | the partition begins *empty*, if the operator says so |
//!
//! Even a copy that was in sync may lack something: the others may have taken this member out, and gone on, after it
//! had last heard of them. Nobody can know that here, so epochs and the table's version leave a gap for what they may
//! have decided: no version of a write means two things.

use std::collections::BTreeSet;

use crate::{
    partition::CopyOnDisk,
    types::{Absence, ClusterView, Member, MemberId, MemberState, PartitionId, Placement},
};

/// Left between what this member knew and what comes: the others may have decided so much without it.
const GAP: u64 = 1_000;

/// See the module.
#[derive(Debug, Clone)]
pub struct Rescue {
    /// How the new grid begins.
    pub first: ClusterView,
    /// Partitions whose copy here was in sync.
    pub whole: Vec<PartitionId>,
    /// Partitions whose copy here was not.
    pub behind: Vec<PartitionId>,
    /// Partitions of which there is nothing here that can be used.
    pub empty: Vec<PartitionId>,
}

/// A grid of the id `grid` out of `me`, which knew `last`; `None` when it was no member of that. `copy` says what it
/// has of a partition.
pub fn rescue(
    last: &ClusterView,
    me: &MemberId,
    grid: &str,
    copy: impl Fn(PartitionId) -> CopyOnDisk,
) -> Option<Rescue> {
    let known = last.member(me).filter(|member| !member.has_left())?;
    let alone =
        Member { state: MemberState::Alive, leaving: false, absence: Absence::default(), ..known.clone() };
    let (mut whole, mut behind, mut empty, mut table) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for partition in (0..last.partitions()).map(PartitionId) {
        let (placement, copy) = (last.partition(partition), copy(partition));
        match (copy.usable, placement.in_sync.contains(me), copy.has_rows) {
            (true, true, _) => whole.push(partition),
            (true, false, true) => behind.push(partition),
            (true, false, false) | (false, ..) => empty.push(partition),
        }
        let epoch = placement.epoch.max(copy.promised) + GAP;
        table.push(Placement { epoch, primary: me.clone(), in_sync: vec![me.clone()] });
    }
    // What the grid was set to stays as it was, whatever that is.
    let mut first = last.clone();
    first.version += GAP;
    grid.clone_into(&mut first.id);
    first.members = [(me.clone(), alone)].into();
    first.table = table;
    first.wanted = Vec::new();
    first.stand_ins.clear();
    first.roster += 1;
    first.passed_over = BTreeSet::new();
    first.purging.values_mut().for_each(|left| left.retain(|member| member == me));
    first.purging.retain(|_, left| !left.is_empty());
    Some(Rescue { first, whole, behind, empty })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(name: &str) -> MemberId {
        MemberId(name.to_owned())
    }

    fn last() -> ClusterView {
        let mut view = ClusterView::bootstrap("g", 5, &id("a"));
        view.members.insert(id("b"), Member { joined: 2, ..Member::new(id("b"), "", "") });
        for partition in [0, 1, 3] {
            view.table[partition].in_sync.push(id("b"));
        }
        view.purging.insert(crate::types::CollectionId(7), [id("a"), id("b")].into());
        view.purging.insert(crate::types::CollectionId(8), [id("a")].into());
        view
    }

    fn copies(partition: PartitionId) -> CopyOnDisk {
        let copy = CopyOnDisk { usable: true, has_rows: true, promised: 0 };
        match partition.0 {
            // In sync, and nothing was ever written.
            1 => CopyOnDisk { has_rows: false, ..copy },
            // Promised to an epoch of which the table knows nothing yet.
            2 => CopyOnDisk { promised: 40, ..copy },
            3 => CopyOnDisk { usable: false, ..copy },
            4 => CopyOnDisk { has_rows: false, ..copy },
            _ => copy,
        }
    }

    #[test]
    fn what_is_here_is_kept_and_what_is_not_is_named() {
        let last = last();
        let rescue = rescue(&last, &id("b"), "new", copies).unwrap();
        let of = |numbers: &[u16]| numbers.iter().copied().map(PartitionId).collect::<Vec<_>>();
        assert_eq!(rescue.whole, of(&[0, 1]));
        assert_eq!(rescue.behind, of(&[2]));
        assert_eq!(rescue.empty, of(&[3, 4]));
        let first = rescue.first;
        assert_eq!((first.id(), first.grid(), first.partitions()), ("new", "g", 5));
        assert_eq!(first.members().map(|member| &member.id).collect::<Vec<_>>(), [&id("b")]);
        assert!(first.version() > last.version());
        for partition in (0..5).map(PartitionId) {
            let placement = first.partition(partition);
            assert_eq!((&placement.primary, &placement.in_sync), (&id("b"), &vec![id("b")]));
            assert!(placement.epoch > last.partition(partition).epoch.max(copies(partition).promised));
        }
        assert_eq!(first.purging().map(|id| id.0).collect::<Vec<_>>(), [7], "only what is left here");
    }

    #[test]
    fn who_is_no_member_is_not_rescued() {
        let mut last = last();
        assert!(rescue(&last, &id("c"), "new", copies).is_none());
        last.members.get_mut(&id("b")).unwrap().state = MemberState::Left;
        assert!(rescue(&last, &id("b"), "new", copies).is_none());
    }
}
