//! Who should hold what, from who is there. Pure.
//!
//! ```text
//!   alive, stays ──▶ takes its share            away for a while ──▶ keeps what is meant for it, gets nothing new
//!   leaving      ──▶ gives everything away      away for long    ──▶ others get its copies
//! ```
//!
//! A plan is made when those that may hold partitions have changed: one came, goes, stays after all, is in another
//! zone or of another weight, has been away for long; or another number of copies is wanted. The state counts that (its *roster*) and takes
//! one plan per roster, so it shows itself whether a plan is due, and any leader goes on where another one stopped.
//!
//! A restart is not a departure: a member that is merely away is no reason for a plan. If a plan is made for another
//! reason meanwhile, what is meant for it stays so, the others share the rest, and it is noted as passed over: when it
//! comes back there is another plan. So nothing ever waits for a member that was not there when it was planned.
//!
//! But one copy is no copy: where a crash has left a single one, another member *stands in* with one more until the
//! one that crashed is back, or is given up. A member that said that it stops is waited for. Who stands in is
//! chosen one by one, spread over zones and machines; it is for minutes, so shares need not be even.

use std::collections::{BTreeMap, BTreeSet};

use super::Command;
use crate::{
    placement::{Candidate, place},
    types::{Absence, ClusterView, Holders, Member, MemberId, PartitionId},
};

/// Whether the members have changed since the last plan, or there are several and there was none yet.
pub(super) fn is_due(view: &ClusterView) -> bool {
    let unplanned = view.wanted.is_empty() && view.members().count() > 1;
    view.version() > 0 && (view.planned != view.roster || unplanned)
}

/// The plan for the members of now; `None` while nobody is there to take anything.
pub(super) fn plan(view: &ClusterView) -> Option<Command> {
    let candidates: Vec<Candidate> = view.members().filter(|m| m.takes()).map(candidate).collect();
    if candidates.is_empty() {
        return None;
    }
    let waited_for = |id: &MemberId| view.member(id).is_some_and(is_waited_for);
    let stays = |id: &MemberId| waited_for(id) || view.member(id).is_some_and(Member::takes);
    let stays_so = |holders: &Holders| holders.members().any(waited_for) && holders.members().all(stays);
    let all = || (0..view.partitions()).map(PartitionId);
    let mut wanted: Vec<Holders> = all().map(|partition| view.meant(partition)).collect();
    let dealt: Vec<PartitionId> = all().filter(|p| !stays_so(&wanted[usize::from(p.0)])).collect();
    let current: Vec<Holders> = dealt.iter().map(|partition| with_copies(view, *partition)).collect();
    for (partition, holders) in dealt.into_iter().zip(place(&candidates, &current, view.copies.backups)) {
        wanted[usize::from(partition.0)] = holders;
    }
    let passed_over: BTreeSet<MemberId> =
        view.members().filter(|m| is_waited_for(m)).map(|m| m.id.clone()).collect();
    Some(Command::Want { roster: view.roster, wanted, passed_over })
}

/// It is away, and what is meant for it stays so.
fn is_waited_for(member: &Member) -> bool {
    !member.is_alive() && !member.has_left() && !member.leaving && member.absence != Absence::Long
}

/// Who is meant to hold a partition, and who has a copy besides: it need not be copied again.
fn with_copies(view: &ClusterView, partition: PartitionId) -> Holders {
    let mut holders = view.meant(partition);
    let placement = view.partition(partition);
    // Of one that is gone for long nothing is kept; where it was the primary, the primary of now goes on.
    if !view.member(&holders.primary).is_some_and(Member::takes) {
        holders.primary = placement.primary.clone();
        holders.others.retain(|id| *id != placement.primary);
    }
    let besides = placement.in_sync.iter().chain(view.stand_in(partition));
    let besides: Vec<MemberId> = besides.filter(|id| !holders.holds(id)).cloned().collect();
    holders.others.extend(besides.into_iter().collect::<BTreeSet<_>>());
    holders
}

/// Who is to stand in, for all partitions.
pub(super) fn stand_ins(view: &ClusterView) -> BTreeMap<PartitionId, MemberId> {
    let alive = |id: &MemberId| view.member(id).is_some_and(Member::is_alive);
    let missed = |partition: PartitionId| {
        let holders = view.meant(partition);
        let gone = |sudden: bool| {
            move |id: &MemberId| {
                let member = view.member(id).filter(|member| is_waited_for(member));
                member.is_some_and(|member| !sudden || member.absence == Absence::Sudden)
            }
        };
        (holders.members().any(gone(false)), holders.members().any(gone(true)))
    };
    let mut chosen = BTreeMap::new();
    let mut needed = Vec::new();
    if view.wanted.is_empty() {
        return chosen;
    }
    for partition in (0..view.partitions()).map(PartitionId) {
        let (any, sudden) = missed(partition);
        match view.stand_in(partition).filter(|id| view.member(id).is_some_and(Member::takes)) {
            Some(known) if any => _ = chosen.insert(partition, known.clone()),
            _ if sudden && view.copies.backups > 0 && view.alive_in_sync(partition) == 1 => {
                needed.push(partition)
            }
            _ => {}
        }
    }
    if needed.is_empty() {
        return chosen;
    }
    let mut load: BTreeMap<&MemberId, usize> =
        view.members().filter(|m| m.takes()).map(|m| (&m.id, view.involved(&m.id))).collect();
    for partition in needed {
        let holders = view.meant(partition);
        let near = |member: &Member| {
            let others = holders.members().filter(|id| alive(id)).filter_map(|id| view.member(id));
            let (zone, host) = (&member.details.zone, &member.details.host);
            let shares = |other: &Member| {
                let same_zone = !zone.is_empty() && other.details.zone == *zone;
                (same_zone, !host.is_empty() && other.details.host == *host)
            };
            others.map(shares).max().unwrap_or_default()
        };
        let free = view.members().filter(|member| member.takes() && !holders.holds(&member.id));
        let best = free.min_by_key(|member| (near(member), load.get(&member.id).copied(), &member.id));
        if let Some(member) = best {
            *load.entry(&member.id).or_default() += 1;
            chosen.insert(partition, member.id.clone());
        }
    }
    chosen
}

fn candidate(member: &Member) -> Candidate {
    let known = |place: &String| Some(place.clone()).filter(|place| !place.is_empty());
    let (zone, host) = (known(&member.details.zone), known(&member.details.host));
    Candidate { member: member.id.clone(), zone, host, weight: member.details.share() }
}

/// Those that wanted to leave and hold nothing any more, once there is a plan that knows that.
pub(super) fn emptied(view: &ClusterView) -> Vec<&Member> {
    view.members().filter(|member| view.has_emptied(&member.id)).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::{
        control::state::decide,
        types::{CopySettings, MemberDetails, Placement},
    };

    fn id(number: usize) -> MemberId {
        MemberId(format!("m{number}"))
    }

    fn details(number: usize, incarnation: u64) -> MemberDetails {
        MemberDetails { zone: format!("z{}", number % 2), incarnation, ..Default::default() }
    }

    fn join(view: &mut ClusterView, number: usize) {
        let (member, store) = (id(number), format!("disk{number}"));
        decide(view, Command::Join { member, store, details: details(number, 1) }).unwrap();
    }

    fn fence(view: &mut ClusterView, number: usize) {
        decide(view, Command::Fence { member: id(number), incarnation: 1 }).unwrap();
    }

    fn back(view: &mut ClusterView, number: usize, incarnation: u64) {
        let details = details(number, incarnation);
        decide(view, Command::Update { member: id(number), details }).unwrap();
    }

    /// Makes the plan; how many partitions are meant for others than before.
    fn planned(view: &mut ClusterView) -> usize {
        assert!(is_due(view));
        let before: Vec<Holders> = (0..view.partitions()).map(|n| view.meant(PartitionId(n))).collect();
        let command = plan(view).unwrap();
        assert_eq!(Some(&command), plan(&view.clone()).as_ref(), "the same wherever it is made");
        decide(view, command.clone()).unwrap();
        assert!(!is_due(view));
        let again = decide(view, command);
        assert!(again.is_err(), "one plan per roster");
        before.iter().zip(&view.wanted).filter(|(then, now)| then != now).count()
    }

    /// Moves everything at once.
    fn moved(view: &mut ClusterView) {
        for (at, wanted) in view.wanted.iter().enumerate() {
            let in_sync = wanted.members().cloned().collect();
            view.table[at] = Placement { epoch: 3, primary: wanted.primary.clone(), in_sync };
        }
    }

    fn grid(members: usize) -> ClusterView {
        let mut founder = Member::new(id(0), "disk0", "");
        founder.details = details(0, 1);
        let mut view = ClusterView::found("id", "g", 271, founder);
        (1..members).for_each(|number| join(&mut view, number));
        if members > 1 {
            planned(&mut view);
            moved(&mut view);
        }
        view
    }

    fn shares(view: &ClusterView) -> Vec<usize> {
        let mut shares: BTreeMap<&MemberId, usize> = view.members().map(|m| (&m.id, 0)).collect();
        view.wanted.iter().for_each(|holders| *shares.entry(&holders.primary).or_default() += 1);
        shares.into_values().collect()
    }

    #[test]
    fn who_joins_takes_its_share_and_nothing_else_moves() {
        let mut view = grid(3);
        assert!(shares(&view).iter().all(|share| (90..=91).contains(share)));
        join(&mut view, 3);
        assert!((67..=69).contains(&planned(&mut view)));
        assert!(
            view.wanted.iter().zip(&view.table).all(|(w, p)| w.primary == p.primary || w.primary == id(3))
        );
        let mut shares = shares(&view);
        shares.sort_unstable();
        assert_eq!(shares, [67, 68, 68, 68]);
    }

    #[test]
    fn several_that_come_together_make_one_plan() {
        let mut view = grid(1);
        assert!(!is_due(&view), "one member holds everything as it is");
        (1..5).for_each(|number| join(&mut view, number));
        assert_eq!(planned(&mut view), 271 - 55);
    }

    #[test]
    fn a_member_of_more_weight_gets_more() {
        let mut view = grid(3);
        let heavier = MemberDetails { weight: 2, ..details(2, 2) };
        decide(&mut view, Command::Update { member: id(2), details: heavier }).unwrap();
        assert_eq!(planned(&mut view), 135 - 90, "its share is a half, and nothing moves between the others");
        moved(&mut view);
        assert_eq!(shares(&view), [68, 68, 135]);
        back(&mut view, 2, 3);
        planned(&mut view);
        assert_eq!(shares(&view).into_iter().max(), Some(91), "started again without it");
    }

    #[test]
    fn a_restart_moves_nothing() {
        let mut view = grid(3);
        fence(&mut view, 1);
        assert!(!is_due(&view));
        assert_eq!(stand_ins(&view), BTreeMap::new(), "without backups there is nothing to copy");
        back(&mut view, 1, 2);
        assert!(!is_due(&view));
    }

    fn with_backups(members: usize, backups: u8) -> ClusterView {
        let mut view = grid(members);
        let copies = CopySettings { backups, min_in_sync: 1 };
        decide(&mut view, Command::KeepCopies(copies)).unwrap();
        planned(&mut view);
        moved(&mut view);
        view
    }

    fn holders_of(view: &ClusterView, number: usize) -> usize {
        view.wanted.iter().filter(|w| w.holds(&id(number))).count()
    }

    #[test]
    fn copies_are_dealt_evenly_in_other_zones_and_no_more_than_there_are_members() {
        let view = with_backups(4, 1);
        assert!((0..4).all(|n| (135..=136).contains(&holders_of(&view, n))));
        let zone = |id: &MemberId| view.member(id).unwrap().details.zone.clone();
        assert!(view.wanted.iter().all(|w| zone(&w.primary) != zone(&w.others[0])));
        let view = with_backups(2, 4);
        assert!(view.wanted.iter().all(|w| w.others.len() == 1));
    }

    #[test]
    fn where_a_crash_leaves_one_copy_somebody_stands_in_until_the_other_is_back() {
        let mut view = with_backups(4, 1);
        fence(&mut view, 1);
        let chosen = stand_ins(&view);
        assert!(!is_due(&view), "a crash is no reason to deal anew");
        assert_eq!(chosen.len(), holders_of(&view, 1));
        assert!(
            chosen.iter().all(|(p, id)| !view.meant(*p).holds(id) && view.member(id).unwrap().is_alive())
        );
        let command = Command::StandIn { roster: view.roster, stand_ins: chosen.clone() };
        decide(&mut view, command).unwrap();
        assert_eq!(stand_ins(&view), chosen, "they stay while it is away");
        assert!(chosen.iter().all(|(p, id)| view.is_wanted_at(id, *p)));
        back(&mut view, 1, 2);
        assert_eq!(stand_ins(&view), BTreeMap::new());
    }

    #[test]
    fn two_copies_or_a_stop_that_was_announced_can_wait() {
        let mut view = with_backups(4, 2);
        fence(&mut view, 1);
        assert_eq!(stand_ins(&view), BTreeMap::new());
        fence(&mut view, 2);
        assert!(!stand_ins(&view).is_empty(), "where both were, one copy is left");
        let mut view = with_backups(4, 1);
        decide(&mut view, Command::Pause { member: id(1), incarnation: 1 }).unwrap();
        assert_eq!(stand_ins(&view), BTreeMap::new());
    }

    #[test]
    fn who_is_given_up_is_replaced_by_whoever_stood_in_and_gets_a_new_share_when_it_comes_back() {
        let mut view = with_backups(4, 1);
        fence(&mut view, 1);
        let chosen = stand_ins(&view);
        let command = Command::StandIn { roster: view.roster, stand_ins: chosen.clone() };
        decide(&mut view, command).unwrap();
        for (partition, id) in &chosen {
            view.table[usize::from(partition.0)].in_sync.push(id.clone());
        }
        decide(&mut view, Command::GiveUp { member: id(1), incarnation: 1 }).unwrap();
        planned(&mut view);
        assert_eq!(holders_of(&view, 1), 0);
        assert!(view.stand_ins.is_empty() || view.stand_ins.iter().all(|(p, id)| !view.meant(*p).holds(id)));
        let new = |view: &ClusterView| {
            let held = |p: usize, id: &MemberId| view.table[p].in_sync.contains(id);
            let copies = view.wanted.iter().enumerate();
            copies.map(|(p, w)| w.members().filter(|id| !held(p, id)).count()).sum::<usize>()
        };
        assert!(new(&view) < chosen.len() / 3, "{} of {} are copied once more", new(&view), chosen.len());
        moved(&mut view);
        back(&mut view, 1, 2);
        planned(&mut view);
        assert!((135..=136).contains(&holders_of(&view, 1)));
    }

    #[test]
    fn who_is_away_keeps_what_is_meant_for_it_and_gets_its_share_when_it_comes_back() {
        let mut view = grid(3);
        let meant_for_1: Vec<bool> = view.wanted.iter().map(|w| w.primary == id(1)).collect();
        fence(&mut view, 1);
        join(&mut view, 3);
        planned(&mut view);
        assert!(view.wanted.iter().zip(meant_for_1).all(|(w, was)| (w.primary == id(1)) == was));
        assert_eq!(shares(&view).iter().sum::<usize>(), 271);
        back(&mut view, 1, 2);
        planned(&mut view);
        assert!(shares(&view).iter().all(|share| (67..=68).contains(share)), "{:?}", shares(&view));
        // One that came and went before the plan has no share until it comes back.
        join(&mut view, 4);
        fence(&mut view, 4);
        assert_eq!(planned(&mut view), 0);
        back(&mut view, 4, 2);
        planned(&mut view);
        assert!((54..=55).contains(&shares(&view)[4]));
    }

    #[test]
    fn who_leaves_gives_everything_away_and_is_removed_when_it_holds_nothing() {
        let mut view = grid(3);
        decide(&mut view, Command::Leave(id(1))).unwrap();
        assert!(emptied(&view).is_empty(), "the plan does not know yet");
        let share = view.wanted.iter().filter(|w| w.primary == id(1)).count();
        assert_eq!(planned(&mut view), share, "only its own partitions move");
        assert!(emptied(&view).is_empty(), "it still holds them");
        assert!(decide(&mut view, Command::Remove(id(1))).is_err());
        moved(&mut view);
        assert_eq!(emptied(&view).iter().map(|m| m.id.clone()).collect::<Vec<_>>(), [id(1)]);
        decide(&mut view, Command::Remove(id(1))).unwrap();
        assert!(!is_due(&view) && emptied(&view).is_empty());
    }

    #[test]
    fn who_changes_its_mind_or_starts_again_gets_its_share_back() {
        let mut view = grid(3);
        decide(&mut view, Command::Leave(id(1))).unwrap();
        planned(&mut view);
        decide(&mut view, Command::Stay(id(1))).unwrap();
        planned(&mut view);
        assert_eq!(shares(&view).iter().filter(|share| **share >= 90).count(), 3);
        decide(&mut view, Command::Leave(id(1))).unwrap();
        planned(&mut view);
        back(&mut view, 1, 1);
        assert!(!is_due(&view), "the same run still means to leave");
        back(&mut view, 1, 2);
        planned(&mut view);
        assert_eq!(shares(&view).iter().filter(|share| **share >= 90).count(), 3);
    }

    #[test]
    fn a_plan_waits_for_somebody_who_takes_something() {
        let mut view = grid(2);
        decide(&mut view, Command::Leave(id(0))).unwrap();
        assert!(decide(&mut view, Command::Leave(id(1))).is_err(), "nobody else would be left");
        fence(&mut view, 1);
        assert_eq!(plan(&view), None);
        back(&mut view, 1, 2);
        planned(&mut view);
        assert_eq!(shares(&view), [0, 271]);
    }

    #[test]
    fn another_zone_is_a_reason_for_a_plan_and_zones_do_not_change_the_shares() {
        let mut view = grid(3);
        let elsewhere = MemberDetails { zone: "far".into(), ..details(1, 1) };
        decide(&mut view, Command::Update { member: id(1), details: elsewhere }).unwrap();
        assert_eq!(planned(&mut view), 0, "without backups a zone is no reason to move");
    }
}
