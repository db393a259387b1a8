//! Since when a leader may be sure that it leads.
//!
//! A follower that accepted a message of the leader will not vote for another one for a while. So at the time when
//! the message was *sent* (not when the answer came) the leader led for that follower; it led at the latest
//! time for which a majority has accepted something. Leases are counted from there: a leader that was paused
//! or cut off finds that its time is over, however late it looks at the clock (`task/clock.rs`, which goes on in suspend).

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use crate::types::MemberId;

#[derive(Debug, Default)]
struct Accepted {
    term: u64,
    sent: BTreeMap<MemberId, Duration>,
}

/// See the module.
#[derive(Debug, Default)]
pub struct QuorumClock {
    accepted: Mutex<Accepted>,
}

impl QuorumClock {
    /// A member accepted what the leader of `term` sent at `sent`.
    pub fn accepted(&self, term: u64, by: &MemberId, sent: Duration) {
        let mut accepted = self.accepted.lock().unwrap_or_else(PoisonError::into_inner);
        if term < accepted.term {
            return;
        }
        if term > accepted.term {
            *accepted = Accepted { term, sent: BTreeMap::new() };
        }
        let known = accepted.sent.entry(by.clone()).or_insert(sent);
        *known = sent.max(*known);
    }

    /// The latest time at which a majority of every set of voters is known to have followed `me`.
    pub fn led_at(
        &self,
        term: u64,
        me: &MemberId,
        voters: &[BTreeSet<MemberId>],
        now: Duration,
    ) -> Option<Duration> {
        let accepted = self.accepted.lock().unwrap_or_else(PoisonError::into_inner);
        let nobody = BTreeMap::new();
        let sent = if accepted.term == term { &accepted.sent } else { &nobody };
        let of_set = |set: &BTreeSet<MemberId>| majority_time(set, me, sent, now);
        voters.iter().map(of_set).min().flatten()
    }
}

/// The latest time at which a majority of the set is known to have followed `me`, who always does.
fn majority_time(
    set: &BTreeSet<MemberId>,
    me: &MemberId,
    sent: &BTreeMap<MemberId, Duration>,
    now: Duration,
) -> Option<Duration> {
    let of = |voter: &MemberId| if voter == me { Some(now) } else { sent.get(voter).copied() };
    let mut times: Vec<Option<Duration>> = set.iter().map(of).collect();
    // Latest first; those never heard come last.
    times.sort_unstable_by(|a, b| b.cmp(a));
    times.get(set.len() / 2).copied().flatten()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id(number: usize) -> MemberId {
        MemberId(number.to_string())
    }

    fn set(members: impl IntoIterator<Item = usize>) -> BTreeSet<MemberId> {
        members.into_iter().map(id).collect()
    }

    #[test]
    fn a_lone_voter_always_leads() {
        let now = Duration::from_secs(9);
        assert_eq!(QuorumClock::default().led_at(3, &id(0), &[set([0])], now), Some(now));
    }

    #[test]
    fn what_an_earlier_term_heard_does_not_count() {
        let (clock, start) = (QuorumClock::default(), Duration::from_secs(9));
        let voters = [set([0, 1, 2])];
        clock.accepted(1, &id(1), start);
        assert_eq!(clock.led_at(1, &id(0), &voters, start), Some(start));
        assert_eq!(clock.led_at(2, &id(0), &voters, start), None);
        clock.accepted(2, &id(2), start);
        clock.accepted(1, &id(1), start + Duration::from_secs(1));
        assert_eq!(clock.led_at(2, &id(0), &voters, start), Some(start));
        assert_eq!(clock.led_at(1, &id(0), &voters, start), None);
    }

    #[test]
    fn both_sets_of_a_change_of_voters_must_follow() {
        let (clock, start) = (QuorumClock::default(), Duration::from_secs(9));
        clock.accepted(1, &id(1), start);
        assert_eq!(clock.led_at(1, &id(0), &[set([0, 1]), set([0, 2])], start), None);
    }

    proptest! {
        /// At the time that is given, a majority had accepted something sent no earlier; not so after it.
        #[test]
        fn a_majority_had_followed_at_that_time(
            heard in proptest::collection::btree_map(1_usize..7, 0_u64..100, 0..7),
            voters in proptest::collection::btree_set(0_usize..7, 1..7),
        ) {
            let (clock, start) = (QuorumClock::default(), Duration::from_secs(9));
            let at = |ms: u64| start + Duration::from_millis(ms);
            for (member, ms) in &heard {
                clock.accepted(1, &id(*member), at(*ms));
            }
            let now = at(100);
            let given = clock.led_at(1, &id(0), &[set(voters.iter().copied())], now);
            let following = |since: Duration| {
                let follows = |voter: &&usize| {
                    **voter == 0 || heard.get(*voter).is_some_and(|ms| at(*ms) >= since)
                };
                2 * voters.iter().filter(follows).count() > voters.len()
            };
            match given {
                Some(time) => {
                    prop_assert!(following(time));
                    prop_assert!(time == now || !following(time + Duration::from_millis(1)));
                }
                None => prop_assert!(!following(start)),
            }
        }
    }
}
