//! Who should hold what, from who is there. Pure.
//!
//! ```text
//!   alive, stays ──▶ takes its share            away ──▶ keeps what is meant for it, gets nothing new
//!   leaving      ──▶ gives everything away      left ──▶ nothing is meant for it
//! ```
//!
//! A plan is made when those that may hold partitions have changed: one came, goes, stays after all, or is in another
//! zone. The state counts that (its *roster*) and takes one plan per roster, so it shows itself whether a plan is due,
//! and any leader goes on where another one stopped.
//!
//! A restart is not a departure: a member that is merely away is no reason for a plan. If a plan is made for another
//! reason meanwhile, what is meant for it stays so, the others share the rest, and it is noted as passed over: when it
//! comes back there is another plan. So nothing ever waits for a member that was not there when it was planned.
//!
//! Left out: backups, and weights.

use std::collections::BTreeSet;

use super::Command;
use crate::{
    placement::{Candidate, place},
    types::{ClusterView, Holders, Member, MemberId, PartitionId, Placement},
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
    let keeps = |id: &MemberId| view.member(id).is_some_and(|m| !m.is_alive() && !m.leaving);
    let mut wanted: Vec<Holders> = (0..view.partitions()).map(|n| view.meant(PartitionId(n))).collect();
    let (numbers, current): (Vec<usize>, Vec<Holders>) =
        wanted.iter().cloned().enumerate().filter(|(_, holders)| !keeps(&holders.primary)).unzip();
    for (number, holders) in numbers.into_iter().zip(place(&candidates, &current, 0)) {
        wanted[number] = holders;
    }
    let passed_over: BTreeSet<MemberId> =
        view.members().map(|m| m.id.clone()).filter(|id| keeps(id)).collect();
    Some(Command::Want { roster: view.roster, wanted, passed_over })
}

/// For each partition whose primary is away: another one, out of those that are in sync and there. It has every write
/// that was acknowledged, and takes the one that is away out of the in-sync set itself.
pub(super) fn promotions(view: &ClusterView) -> Vec<Command> {
    let alive = |id: &MemberId| view.member(id).is_some_and(Member::is_alive);
    let promoted = |partition: PartitionId| {
        let expected = view.partition(partition).clone();
        if alive(&expected.primary) {
            return None;
        }
        let meant = view.meant(partition).primary;
        let first = expected.in_sync.iter().find(|id| **id == meant && alive(id));
        let primary = first.or_else(|| expected.in_sync.iter().find(|id| alive(id)))?.clone();
        let next = Placement { epoch: expected.epoch + 1, primary, in_sync: expected.in_sync.clone() };
        Some(Command::Place { partition, expected, next })
    };
    (0..view.partitions()).map(PartitionId).filter_map(promoted).collect()
}

fn candidate(member: &Member) -> Candidate {
    let zone = Some(member.details.zone.clone()).filter(|zone| !zone.is_empty());
    // On which machine it is matters only to backups.
    Candidate { member: member.id.clone(), zone, host: None, weight: 1 }
}

/// Those that wanted to leave and hold nothing any more, once there is a plan that knows that.
pub(super) fn emptied(view: &ClusterView) -> Vec<&Member> {
    view.members().filter(|member| view.has_emptied(&member.id)).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::{control::state::decide, types::MemberDetails};

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

    #[test]
    fn a_copy_in_sync_takes_the_place_of_a_primary_that_is_away() {
        let mut view = grid(3);
        let both = |first: usize, second: usize| Placement {
            epoch: 4,
            primary: id(first),
            in_sync: vec![id(first), id(second)],
        };
        view.table[0] = both(1, 2);
        view.table[1] = both(0, 1);
        view.table[2] = Placement { in_sync: vec![id(1)], ..both(1, 1) };
        assert_eq!(promotions(&view), []);
        fence(&mut view, 1);
        let promoted = promotions(&view);
        assert_eq!(promoted.len(), 1, "who has no copy in sync waits: {promoted:?}");
        decide(&mut view, promoted[0].clone()).unwrap();
        let expected = Placement { epoch: 5, primary: id(2), in_sync: vec![id(1), id(2)] };
        assert_eq!(view.partition(PartitionId(0)), &expected);
        assert_eq!(promotions(&view), []);
        fence(&mut view, 2);
        assert_eq!(promotions(&view), [], "nobody is left that is in sync and there");
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
    fn a_restart_moves_nothing() {
        let mut view = grid(3);
        fence(&mut view, 1);
        assert!(!is_due(&view));
        back(&mut view, 1, 2);
        assert!(!is_due(&view));
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
