//! Looks at the whole world, as nobody in it can.

use std::collections::BTreeMap;

use super::{
    control::holders,
    copy::Writes,
    world::{ROUNDS, World},
};
use crate::types::{MemberId, Placement};

/// After every step: whoever is in sync has every acknowledged write on its disk, and nothing that was deleted. (That epochs only grow,
/// have one primary, and are acknowledged in by that one alone is asserted where they are set.)
pub(super) fn always(world: &World) {
    for (partition, placement) in world.control.table.iter().enumerate() {
        assert!(placement.in_sync.contains(&placement.primary));
        for member in &placement.in_sync {
            let writes = world.members[member].disk[partition].writes();
            let missing = world.acked[partition].difference(&writes).next();
            if let Some(write) = missing {
                panic!(
                    "{member} is in sync and does not have the acknowledged write {write}: partition {partition}, {placement:?}"
                );
            }
            if let Some(write) = world.gone[partition].intersection(&writes).next() {
                panic!("{write} was deleted, and is back on {member}: partition {partition}, {placement:?}");
            }
        }
    }
}

/// A strong read shows every write that was acknowledged before it, and nothing that was deleted.
pub(super) fn strong_read(world: &World, partition: usize, by: &MemberId, shown: &Writes) {
    let placement = &world.control.table[partition];
    if let Some(write) = world.acked[partition].difference(shown).next() {
        panic!("a strong read of {by} does not show {write}: partition {partition}, {placement:?}");
    }
    if let Some(write) = world.gone[partition].intersection(shown).next() {
        panic!(
            "a strong read of {by} shows {write}, which was deleted: partition {partition}, {placement:?}"
        );
    }
}

/// What is still to be done, if anything.
pub(super) fn unfinished(world: &World) -> Option<String> {
    for (partition, (placement, wanted)) in world.control.table.iter().zip(&world.control.wanted).enumerate()
    {
        let held = holders(placement);
        let same = held.primary == wanted.primary
            && held.others.len() == wanted.others.len()
            && held.others.iter().all(|member| wanted.others.contains(member));
        if !same {
            return Some(format!("partition {partition} is held by {placement:?}, wanted is {wanted:?}"));
        }
        let primary = world.members[&placement.primary].disk[partition].writes();
        let differs = |member: &&MemberId| world.members[*member].disk[partition].writes() != primary;
        if let Some(member) = placement.in_sync.iter().find(differs) {
            return Some(format!("partition {partition} of {member} differs from its primary's"));
        }
        let Placement { primary, .. } = placement;
        if world.members[primary].strong_read(partition, world.now).is_none() {
            return Some(format!("{primary} does not answer a strong read of partition {partition}"));
        }
    }
    None
}

/// When the faults have stopped: every move has ended, the table is what placement promises, and everything can be read.
pub(super) fn at_rest(world: &World) {
    if let Some(what) = unfinished(world) {
        panic!("did not end within {ROUNDS} rounds: {what}");
    }
    let mut copies: BTreeMap<&MemberId, usize> = world.control.members.iter().map(|m| (m, 0)).collect();
    for member in world.control.table.iter().flat_map(|placement| &placement.in_sync) {
        *copies.entry(member).or_default() += 1;
    }
    let range = copies.values().max().unwrap() - copies.values().min().unwrap();
    assert!(range <= 1, "out of balance: {copies:?}");
    let expected = (usize::from(world.control.backups) + 1).min(world.control.members.len());
    assert!(world.control.table.iter().all(|placement| placement.in_sync.len() == expected));
}
