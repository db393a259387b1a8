//! How the grid decides: a deterministic function of the state and the command. Pure.
//!
//! A partition's epoch, primary and in-sync set change in one place only, [`place`], by
//! compare-and-set: an epoch has one primary, epochs only grow, and who is promoted was in sync.

use super::command::{Command, Decision, Refused};
use crate::types::{
    ClusterView, Collection, CollectionId, Member, MemberDetails, MemberId, MemberState, PartitionId,
    Placement,
};

/// Decides a command; `view` changes only if it is accepted, and its version only if it changes.
pub(super) fn decide(view: &mut ClusterView, command: Command) -> Result<Decision, Refused> {
    if view.version == 0 && !matches!(command, Command::Found(_)) {
        return Err(Refused::Unborn);
    }
    let changed = match command {
        Command::Found(first) => found(view, *first),
        Command::Join { member, store, details } => join(view, member, store, details),
        Command::Update { member, details } => update(view, &member, details),
        Command::Fence { member, incarnation } => fence(view, &member, incarnation),
        Command::Remove(member) => remove(view, &member),
        Command::Place { partition, expected, next } => place(view, partition, &expected, next),
        Command::CreateCollection(config) => match view.collections.get(&config.name) {
            Some(existing) if existing.config == config => return Ok(Decision::Exists(existing.clone())),
            Some(_) => return Err(Refused::CollectionExists(config.name)),
            None => {
                let collection = Collection { id: CollectionId(view.next_collection), config };
                view.next_collection += 1;
                view.collections.insert(collection.config.name.clone(), collection.clone());
                view.version += 1;
                return Ok(Decision::Created(collection));
            }
        },
        Command::DropCollection(name) => {
            let Some(dropped) = view.collections.remove(&name) else { return Ok(Decision::Dropped(None)) };
            let holders = view.table.iter().flat_map(|placement| placement.in_sync.iter().cloned()).collect();
            view.purging.insert(dropped.id, holders);
            view.version += 1;
            return Ok(Decision::Dropped(Some(dropped.id)));
        }
        Command::Purged { collection, member } => {
            let done = |left: &mut std::collections::BTreeSet<MemberId>| left.remove(&member);
            let changed = view.purging.get_mut(&collection).is_some_and(done);
            view.purging.retain(|_, left| !left.is_empty());
            Ok(changed)
        }
    }?;
    view.version += u64::from(changed);
    Ok(Decision::Noted)
}

/// Whether the command changed anything.
type Changed = Result<bool, Refused>;

fn found(view: &mut ClusterView, first: ClusterView) -> Changed {
    if view.version != 0 {
        return Err(Refused::NotFirst);
    }
    *view = first;
    // Its version is counted up by the caller, as for every change.
    view.version = view.version.saturating_sub(1);
    Ok(true)
}

fn join(view: &mut ClusterView, id: MemberId, store: String, details: MemberDetails) -> Changed {
    if let Some(known) = view.members.get(&id) {
        // The answer to an earlier attempt was lost.
        if known.store != store {
            return Err(Refused::OtherStore(id));
        }
        return update(view, &id, details);
    }
    let joined = view.next_joined;
    view.next_joined += 1;
    view.members.insert(id.clone(), Member { id, store, joined, state: MemberState::Alive, details });
    Ok(true)
}

fn known<'a>(view: &'a mut ClusterView, id: &MemberId) -> Result<&'a mut Member, Refused> {
    let member = view.members.get_mut(id).ok_or_else(|| Refused::UnknownMember(id.clone()))?;
    if member.has_left() { Err(Refused::HasLeft(id.clone())) } else { Ok(member) }
}

fn update(view: &mut ClusterView, id: &MemberId, details: MemberDetails) -> Changed {
    let member = known(view, id)?;
    if details.incarnation < member.details.incarnation {
        return Err(Refused::OldIncarnation(id.clone()));
    }
    let changed = member.details != details || !member.is_alive();
    member.details = details;
    member.state = MemberState::Alive;
    Ok(changed)
}

fn fence(view: &mut ClusterView, id: &MemberId, incarnation: u64) -> Changed {
    let member = known(view, id)?;
    if member.details.incarnation != incarnation || !member.is_alive() {
        return Ok(false);
    }
    member.state = MemberState::Away;
    Ok(true)
}

fn remove(view: &mut ClusterView, id: &MemberId) -> Changed {
    let partitions = view.table.iter().filter(|p| p.in_sync.contains(id)).count();
    if view.members.get(id).is_some_and(Member::has_left) {
        return Ok(false);
    }
    let member = known(view, id)?;
    if partitions > 0 {
        return Err(Refused::StillHolds { member: id.clone(), partitions });
    }
    member.state = MemberState::Left;
    view.purging.values_mut().for_each(|left| _ = left.remove(id));
    view.purging.retain(|_, left| !left.is_empty());
    Ok(true)
}

fn place(view: &mut ClusterView, partition: PartitionId, expected: &Placement, next: Placement) -> Changed {
    let current = view.table.get(usize::from(partition.0));
    if current == Some(&next) && current != Some(expected) {
        // The answer to an earlier attempt was lost.
        return Ok(false);
    }
    let Some(current) = current.filter(|current| *current == expected) else {
        return Err(Refused::Stale { partition, current: current.cloned() });
    };
    let bad = |why: &str| Err(Refused::BadPlacement(partition, why.to_owned()));
    let takes_part = |id: &MemberId| view.members.get(id).is_some_and(|member| !member.has_left());
    if !next.in_sync.contains(&next.primary) {
        return bad("the primary is not in its in-sync set");
    }
    if next.in_sync.iter().enumerate().any(|(at, id)| next.in_sync[..at].contains(id)) {
        return bad("the in-sync set names a member twice");
    }
    if !next.in_sync.iter().all(takes_part) {
        return bad("the in-sync set names one that is not a member");
    }
    if next.epoch < current.epoch || next.epoch > current.epoch + 1 {
        return bad("an epoch is followed by itself or the next one");
    }
    if next.primary != current.primary && next.epoch == current.epoch {
        return bad("an epoch has one primary");
    }
    if !current.in_sync.contains(&next.primary) {
        return bad("the new primary was not in sync");
    }
    if next == *current {
        return Ok(false);
    }
    view.table[usize::from(partition.0)] = next;
    Ok(true)
}
