//! Who votes. Pure.
//!
//! Up to five members vote: those that have been in the grid the longest, in as many zones as possible. Two of
//! two, three of three or four, five of five or more: an even number above two tolerates no more failures
//! than the odd one below it. So where three are there, one voter becomes three in one step, never two first: until
//! the third came, the loss of one of the two would stop all decisions.
//!
//! Of two members both vote. One voter would do as well while the other one is away, but every decision would be on one
//! disk only, and its loss the end of the grid. Two can lose either disk, and decide only while both are there. Only
//! one that says that it stops gives its vote away until it is back (`autopilot.rs`): else a restart of one would stop
//! both, and what is decided meanwhile is on one disk as every row is.
//!
//! Apart from that, changes are small: one goes, or one takes the place of another. A member that is away keeps its
//! vote for a grace time, and then only loses it to another one, or when fewer voters do as well.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use crate::types::MemberId;

/// Most voters of a grid.
pub const MAX_VOTERS: usize = 5;

/// A member, as far as its vote is concerned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Who.
    pub id: MemberId,
    /// Where; empty = unknown, which is a zone of its own.
    pub zone: String,
    /// Smaller = longer ago.
    pub joined: u64,
    /// It votes now.
    pub votes: bool,
    /// It could vote: alive for a moment, and its log is almost as long as the leader's.
    pub ready: bool,
    /// It is away for longer than the grace time.
    pub gone: bool,
    /// It left the grid for good, or is about to and needs no vote any more, or stops as one of two.
    pub left: bool,
}

/// The voters that should be next; `None` when those of now are right, or nothing better can be had.
pub fn next_voters(members: &[Candidate], leader: &MemberId) -> Option<BTreeSet<MemberId>> {
    let voters: Vec<&Candidate> = members.iter().filter(|m| m.votes).collect();
    let newcomers = newcomers(members, &voters);
    let best = newcomers.first().copied();
    let replaced = |out: &Candidate, by: Option<&Candidate>| {
        let stay = voters.iter().filter(|v| v.id != out.id).map(|v| v.id.clone());
        let next: BTreeSet<MemberId> = stay.chain(by.map(|m| m.id.clone())).collect();
        (!next.is_empty()).then_some(next)
    };
    // The leader comes last: it cannot finish what it began when it goes first.
    let by_need = |v: &&&Candidate| (v.id == *leader, Reverse(v.joined));
    if let Some(left) = voters.iter().filter(|v| v.left).min_by_key(by_need) {
        return replaced(left, best);
    }
    let usable = members.iter().filter(|m| !m.gone && !m.left).count();
    let wanted = wanted(usable);
    if let Some(gone) = voters.iter().filter(|v| v.gone && v.id != *leader).min_by_key(by_need) {
        if best.is_some() {
            return replaced(gone, best);
        }
        if voters.len() > wanted && wanted % 2 == 1 {
            return replaced(gone, None);
        }
        return None;
    }
    if voters.len() < wanted {
        let next = grown(voters.len() + newcomers.len(), wanted);
        if next <= voters.len() {
            // More are there, and will be ready in a moment.
            return None;
        }
        let more = newcomers.iter().take(next - voters.len());
        return Some(voters.iter().chain(more).map(|m| m.id.clone()).collect());
    }
    let zones = zones_of(&voters);
    let crowd = |m: &Candidate| if m.zone.is_empty() { 1 } else { zones.get(&m.zone).copied().unwrap_or(0) };
    let followers = voters.iter().filter(|v| v.id != *leader);
    let spare = followers.max_by_key(|v| (crowd(v), v.joined))?;
    if voters.len() > wanted {
        return replaced(spare, None);
    }
    // Worth a change only if it spreads the voters.
    let newcomer = best?;
    let there = if newcomer.zone.is_empty() { crowd(spare) } else { crowd(newcomer) };
    if there + 2 <= crowd(spare) { replaced(spare, Some(newcomer)) } else { None }
}

/// How many should vote.
fn wanted(usable: usize) -> usize {
    match usable {
        0 | 1 => 1,
        2 => 2,
        3 | 4 => 3,
        _ => MAX_VOTERS,
    }
}

/// How many voters of so many that could be: an even number only where no odd one is wanted.
fn grown(possible: usize, wanted: usize) -> usize {
    let most = possible.min(wanted);
    if most == wanted || most % 2 == 1 { most } else { most.saturating_sub(1) }
}

fn zones_of(voters: &[&Candidate]) -> BTreeMap<String, usize> {
    let mut zones = BTreeMap::new();
    for voter in voters.iter().filter(|v| !v.zone.is_empty()) {
        *zones.entry(voter.zone.clone()).or_insert(0) += 1;
    }
    zones
}

/// Who should vote next, best first: each in the zone with the fewest voters by then, the longest in the grid.
fn newcomers<'a>(members: &'a [Candidate], voters: &[&'a Candidate]) -> Vec<&'a Candidate> {
    let mut chosen: Vec<&Candidate> = voters.iter().copied().filter(|v| !v.gone && !v.left).collect();
    let mut waiting: Vec<&Candidate> =
        members.iter().filter(|m| m.ready && !m.votes && !m.gone && !m.left).collect();
    let mut newcomers = Vec::with_capacity(waiting.len());
    loop {
        let zones = zones_of(&chosen);
        let crowd = |m: &Candidate| (zones.get(&m.zone).copied().unwrap_or(0), m.joined);
        let Some(at) = (0..waiting.len()).min_by_key(|at| crowd(waiting[*at])) else { return newcomers };
        let best = waiting.swap_remove(at);
        chosen.push(best);
        newcomers.push(best);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn member(number: u64, zone: &str, votes: bool) -> Candidate {
        Candidate {
            id: MemberId(format!("m{number}")),
            zone: zone.to_owned(),
            joined: number,
            votes,
            ready: true,
            gone: false,
            left: false,
        }
    }

    /// Applies changes until there are none; the members and the number of changes.
    fn settled(mut members: Vec<Candidate>, leader: &MemberId) -> (Vec<Candidate>, usize) {
        for changes in 0..50 {
            let Some(next) = next_voters(&members, leader) else { return (members, changes) };
            members.iter_mut().for_each(|m| m.votes = next.contains(&m.id));
        }
        panic!("no end: {members:?}");
    }

    fn voters(members: &[Candidate]) -> Vec<u64> {
        members.iter().filter(|m| m.votes).map(|m| m.joined).collect()
    }

    fn leader() -> MemberId {
        MemberId("m1".to_owned())
    }

    fn grid(zones: &[&str]) -> Vec<Candidate> {
        (1..).zip(zones).map(|(number, zone)| member(number, zone, number == 1)).collect()
    }

    #[test]
    fn the_longest_lived_vote_and_their_number_is_odd_above_two() {
        for (members, expected) in [(1, 1), (2, 2), (3, 3), (4, 3), (5, 5), (9, 5)] {
            let (members, _) = settled(grid(&vec![""; members]), &leader());
            assert_eq!(voters(&members), (1..=expected).collect::<Vec<_>>());
        }
    }

    #[test]
    fn one_voter_becomes_three_in_one_step_and_never_two_on_the_way() {
        let (members, changes) = settled(grid(&[""; 3]), &leader());
        assert_eq!((voters(&members), changes), (vec![1, 2, 3], 1));
        let (members, changes) = settled(grid(&[""; 6]), &leader());
        assert_eq!((voters(&members), changes), (vec![1, 2, 3, 4, 5], 1));
        // The third is there, and not ready yet.
        let mut soon = grid(&[""; 3]);
        soon[2].ready = false;
        assert_eq!(next_voters(&soon, &leader()), None);
        // It is gone: two are what there is.
        soon[2].gone = true;
        assert_eq!(voters(&settled(soon, &leader()).0), [1, 2]);
        // Three that vote wait for the fifth member as well.
        let mut four = grid(&[""; 5]);
        four.iter_mut().take(3).for_each(|m| m.votes = true);
        four[4].ready = false;
        assert_eq!(next_voters(&four, &leader()), None);
    }

    #[test]
    fn voters_are_spread_over_zones() {
        let (members, _) = settled(grid(&["a", "a", "a", "b", "b", "c"]), &leader());
        assert_eq!(voters(&members).len(), 5);
        let (members, _) = settled(grid(&["a", "a", "a", "b", "c", "d", "e"]), &leader());
        assert_eq!(voters(&members), [1, 4, 5, 6, 7]);
        // A zone that comes later gets a voter, too.
        let mut later = grid(&["a", "a", "a"]);
        later.iter_mut().for_each(|m| m.votes = true);
        later.push(member(4, "b", false));
        let (members, changes) = settled(later, &leader());
        assert_eq!((voters(&members), changes), (vec![1, 2, 4], 1));
    }

    #[test]
    fn one_that_is_gone_is_replaced_and_without_another_keeps_its_vote() {
        let mut members = grid(&[""; 4]);
        members.iter_mut().take(3).for_each(|m| m.votes = true);
        members[1].gone = true;
        let (replaced, _) = settled(members.clone(), &leader());
        assert_eq!(voters(&replaced), [1, 3, 4]);
        members[3].gone = true;
        assert_eq!(next_voters(&members, &leader()), None);
        let mut five = grid(&[""; 5]);
        five.iter_mut().for_each(|m| m.votes = true);
        five.iter_mut().skip(3).for_each(|m| m.gone = true);
        assert_eq!(voters(&settled(five, &leader()).0), [1, 2, 3]);
    }

    #[test]
    fn one_that_left_goes_at_once() {
        let mut members = grid(&[""; 3]);
        members.iter_mut().for_each(|m| m.votes = true);
        members[2].left = true;
        assert_eq!(voters(&settled(members, &leader()).0), [1, 2]);
    }

    fn any_member(number: u64) -> impl Strategy<Value = Candidate> {
        let zone = prop_oneof![Just(""), Just("a"), Just("b"), Just("c")];
        (zone, any::<bool>(), any::<bool>(), 0_u8..6).prop_map(move |(zone, votes, ready, fate)| {
            let (gone, left) = (fate == 0, fate == 1);
            Candidate { ready: ready && fate > 1, gone, left, ..member(number, zone, votes) }
        })
    }

    fn any_grid() -> impl Strategy<Value = Vec<Candidate>> {
        (1_u64..10).prop_flat_map(|members| (1..=members).map(any_member).collect::<Vec<_>>()).prop_map(
            |mut members| {
                members[0] = Candidate { zone: members[0].zone.clone(), ..member(1, "", true) };
                members
            },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn changes_keep_the_leader_do_not_swap_many_and_come_to_an_end(members in any_grid()) {
            if let Some(next) = next_voters(&members, &leader()) {
                let now: BTreeSet<MemberId> =
                    members.iter().filter(|m| m.votes).map(|m| m.id.clone()).collect();
                prop_assert!(next.contains(&leader()));
                let (more, fewer) = (next.difference(&now).count(), now.difference(&next).count());
                prop_assert!(fewer == 0 || (fewer == 1 && more <= 1));
                prop_assert!(next != now);
                let usable = members.iter().filter(|m| !m.gone && !m.left).count();
                prop_assert!(fewer > 0 || next.len() % 2 == 1 || next.len() == wanted(usable));
                for added in next.difference(&now) {
                    let added = members.iter().find(|m| m.id == *added).unwrap();
                    prop_assert!(added.ready && !added.gone && !added.left);
                }
            }
            let (members, _) = settled(members, &leader());
            prop_assert!(members.iter().all(|m| !(m.votes && m.left)));
            let usable = members.iter().filter(|m| !m.gone && !m.left).count();
            let waiting = members.iter().filter(|m| m.ready && !m.votes).count();
            let votes = members.iter().filter(|m| m.votes).count();
            prop_assert!(votes >= grown(votes + waiting, wanted(usable)));
        }
    }
}
