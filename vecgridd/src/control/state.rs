//! How the grid decides: a deterministic function of the state and the command. Pure.
//!
//! A partition's epoch, primary and in-sync set change in three places only. [`place`] does what a primary proposes, by
//! compare-and-set. [`fail_over`] acts when a member is fenced: in the same decision it is in no in-sync set any more
//! that has somebody else, and where it was the primary one of those is. [`begin_epochs`] acts when one starts again.
//! In all an epoch has one primary, epochs only grow, and who is promoted was in sync and so has every acknowledged
//! write.

use std::collections::{BTreeMap, BTreeSet};

use super::command::{Command, Decision, Refused};
use crate::types::{
    Absence, ClusterView, Collection, CollectionId, CopySettings, Holders, Member, MemberDetails, MemberId,
    MemberState, PartitionId, Placement,
};

/// Decides a command; `view` changes only if it is accepted, and its version only if it changes.
pub(super) fn decide(view: &mut ClusterView, command: Command) -> Result<Decision, Refused> {
    if view.version == 0 && !matches!(command, Command::Found(_)) {
        return Err(Refused::Unborn);
    }
    if view.dissolved.is_some() && !matches!(command, Command::Dissolve { .. }) {
        return Err(Refused::Dissolved);
    }
    let changed = match command {
        Command::Found(first) => found(view, *first),
        Command::Join { member, store, details } => join(view, member, store, details),
        Command::Update { member, details } => update(view, &member, details),
        Command::Fence { member, incarnation } => fence(view, &member, incarnation, Absence::Sudden),
        Command::Pause { member, incarnation } => fence(view, &member, incarnation, Absence::Announced),
        Command::GiveUp { member, incarnation } => give_up(view, &member, incarnation),
        Command::Leave(member) => leave(view, &member),
        Command::Stay(member) => stay(view, &member),
        Command::Remove(member) => remove(view, &member),
        Command::Want { roster, wanted, passed_over } => want(view, roster, wanted, passed_over),
        Command::Place { partition, expected, next } => place(view, partition, &expected, next),
        Command::StandIn { roster, stand_ins } => stand_in(view, roster, stand_ins),
        Command::KeepCopies(copies) => keep_copies(view, copies),
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
            // All, not only those that hold something: a copy may be under way to any of them.
            let members = view.members().map(|member| member.id.clone()).collect();
            view.purging.insert(dropped.id, members);
            view.version += 1;
            return Ok(Decision::Dropped(Some(dropped.id)));
        }
        Command::Purged { collection, member } => {
            let done = |left: &mut BTreeSet<MemberId>| left.remove(&member);
            let changed = view.purging.get_mut(&collection).is_some_and(done);
            view.purging.retain(|_, left| !left.is_empty());
            Ok(changed)
        }
        Command::Dissolve { at } => dissolve(view, at),
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
    // What it is given may be read before it knows of the drop.
    view.purging.values_mut().for_each(|left| _ = left.insert(id.clone()));
    let state = MemberState::Alive;
    view.members.insert(id.clone(), Member { state, joined, details, ..Member::new(id, &store, "") });
    view.roster += 1;
    Ok(true)
}

fn known<'a>(view: &'a mut ClusterView, id: &MemberId) -> Result<&'a mut Member, Refused> {
    let member = view.members.get_mut(id).ok_or_else(|| Refused::UnknownMember(id.clone()))?;
    if member.has_left() { Err(Refused::HasLeft(id.clone())) } else { Ok(member) }
}

fn update(view: &mut ClusterView, id: &MemberId, details: MemberDetails) -> Changed {
    let was_missed = view.passed_over.contains(id);
    let member = known(view, id)?;
    if details.incarnation < member.details.incarnation {
        return Err(Refused::OldIncarnation(id.clone()));
    }
    let changed = member.details != details || !member.is_alive() || was_missed;
    let place = |details: &MemberDetails| (details.zone.clone(), details.host.clone(), details.share());
    let elsewhere = place(&member.details) != place(&details);
    let again = details.incarnation > member.details.incarnation;
    // What was its is others' by now.
    let given_up = member.absence == Absence::Long;
    // Who starts again means to stay.
    let stays = member.leaving && details.incarnation > member.details.incarnation;
    member.leaving &= !stays;
    member.details = details;
    member.state = MemberState::Alive;
    member.absence = Absence::Sudden;
    view.passed_over.remove(id);
    if again {
        begin_epochs(view, id);
    }
    if changed {
        fail_over(view);
    }
    // A restart is a reason for a new plan only if this member was given nothing because it was away.
    view.roster += u64::from(elsewhere || stays || was_missed || given_up);
    Ok(changed)
}

fn dissolve(view: &mut ClusterView, at: String) -> Changed {
    if !view.is_unused() || view.members().count() != 1 {
        return Err(Refused::InUse);
    }
    let changed = view.dissolved.is_none();
    view.dissolved.get_or_insert(at);
    Ok(changed)
}

fn leave(view: &mut ClusterView, id: &MemberId) -> Changed {
    if known(view, id)?.leaving {
        return Ok(false);
    }
    if !view.members().any(|other| other.id != *id && other.takes()) {
        return Err(Refused::NobodyElse(id.clone()));
    }
    known(view, id)?.leaving = true;
    view.roster += 1;
    Ok(true)
}

fn stay(view: &mut ClusterView, id: &MemberId) -> Changed {
    let member = known(view, id)?;
    let changed = std::mem::replace(&mut member.leaving, false);
    view.roster += u64::from(changed);
    Ok(changed)
}

fn want(
    view: &mut ClusterView,
    roster: u64,
    wanted: Vec<Holders>,
    passed_over: BTreeSet<MemberId>,
) -> Changed {
    // The first plan of a grid from before there were plans is for the roster that it has.
    let open = view.planned != view.roster || view.wanted.is_empty();
    if roster != view.roster || !open {
        return Err(Refused::OldPlan { roster: view.roster, planned: view.planned });
    }
    let bad = |why: &str| Err(Refused::BadPlan(why.to_owned()));
    if wanted.len() != view.table.len() {
        return bad("it is for another number of partitions");
    }
    let known = |id: &MemberId| view.members.get(id).is_some_and(|member| !member.has_left());
    if !wanted.iter().flat_map(Holders::members).all(known) {
        return bad("it names one that is not a member");
    }
    let twice = |holders: &Holders| {
        let members: BTreeSet<&MemberId> = holders.members().collect();
        members.len() <= holders.others.len()
    };
    if wanted.iter().any(twice) {
        return bad("it names a member twice for one partition");
    }
    (view.wanted, view.planned, view.passed_over) = (wanted, roster, passed_over);
    let (wanted, stand_ins) = (&view.wanted, &mut view.stand_ins);
    stand_ins.retain(|partition, id| !wanted[usize::from(partition.0)].holds(id));
    Ok(true)
}

fn fence(view: &mut ClusterView, id: &MemberId, incarnation: u64, absence: Absence) -> Changed {
    let member = known(view, id)?;
    if member.details.incarnation != incarnation || !member.is_alive() {
        return Ok(false);
    }
    (member.state, member.absence) = (MemberState::Away, absence);
    fail_over(view);
    Ok(true)
}

/// A primary that starts again no longer knows what it sent to its backups, and what it proposed: it goes on in a new
/// epoch. Decided for all its partitions at once, so that it need not propose each.
fn begin_epochs(view: &mut ClusterView, id: &MemberId) {
    for placement in &mut view.table {
        placement.epoch += u64::from(placement.primary == *id && placement.in_sync.len() > 1);
    }
}

/// Where somebody is in sync who is there, nobody who is away is: no write waits for those, and one that is there
/// orders the writes. Where all are away, nothing changes: each of them has everything, whoever comes back first.
fn fail_over(view: &mut ClusterView) {
    for partition in (0..view.partitions()).map(PartitionId) {
        let Placement { epoch, primary, in_sync } = view.partition(partition);
        let alive = |id: &&MemberId| view.members.get(*id).is_some_and(Member::is_alive);
        let there: Vec<MemberId> = in_sync.iter().filter(alive).cloned().collect();
        if there.is_empty() || there.len() == in_sync.len() {
            continue;
        }
        let meant = view.meant(partition).primary;
        let next = [primary, &meant].into_iter().find(|id| there.contains(id)).unwrap_or(&there[0]);
        let next = Placement { epoch: epoch + 1, primary: next.clone(), in_sync: there };
        view.table[usize::from(partition.0)] = next;
    }
}

fn give_up(view: &mut ClusterView, id: &MemberId, incarnation: u64) -> Changed {
    let member = known(view, id)?;
    if member.details.incarnation != incarnation || member.is_alive() || member.absence == Absence::Long {
        return Ok(false);
    }
    member.absence = Absence::Long;
    view.roster += 1;
    Ok(true)
}

fn stand_in(view: &mut ClusterView, roster: u64, stand_ins: BTreeMap<PartitionId, MemberId>) -> Changed {
    if roster != view.roster {
        return Err(Refused::OldPlan { roster: view.roster, planned: view.planned });
    }
    let fits = |(partition, id): (&PartitionId, &MemberId)| {
        usize::from(partition.0) < view.table.len()
            && view.members.get(id).is_some_and(|member| !member.has_left())
            && !view.meant(*partition).holds(id)
    };
    let unplanned = view.wanted.is_empty() && !stand_ins.is_empty();
    if unplanned || !stand_ins.iter().all(fits) {
        return Err(Refused::BadPlan("it names one that cannot stand in".to_owned()));
    }
    let changed = view.stand_ins != stand_ins;
    view.stand_ins = stand_ins;
    Ok(changed)
}

fn keep_copies(view: &mut ClusterView, copies: CopySettings) -> Changed {
    if let Some(fault) = copies.fault() {
        return Err(Refused::BadCopies(fault));
    }
    let changed = view.copies != copies;
    view.roster += u64::from(view.copies.backups != copies.backups);
    view.copies = copies;
    Ok(changed)
}

fn remove(view: &mut ClusterView, id: &MemberId) -> Changed {
    let partitions = view.involved(id);
    if view.members.get(id).is_some_and(Member::has_left) {
        return Ok(false);
    }
    let member = known(view, id)?;
    if partitions > 0 {
        return Err(Refused::StillHolds { member: id.clone(), partitions });
    }
    member.state = MemberState::Left;
    // Nothing was meant for it, so no other plan is needed; one that names it is refused from now on.
    view.passed_over.remove(id);
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
    // It may name one that was fenced meanwhile. That is not refused: the proposer counts it until its proposal is
    // decided, and a copy of one that was refused could come late and be accepted.
    fail_over(view);
    Ok(true)
}
