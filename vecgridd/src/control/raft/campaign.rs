//! When a member stands for election. Pure.
//!
//! Only a voter that has not heard a leader for longer than the leader's lease may stand. Voters wait for
//! different times, by rank, with a gap that is longer than an election takes; each waits a little longer by
//! chance, drawn anew each time. And nobody stands who would not win: see [`would_vote`].

use std::time::Duration;

use super::RaftTiming;

/// What a member knows about the election of a leader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Situation {
    /// It may vote.
    pub voter: bool,
    /// It leads, or stands and was just elected.
    pub leading: bool,
    /// There is no other voter.
    pub alone: bool,
    /// How many voters come before it.
    pub rank: u32,
    /// The last vote it knows of was for an elected leader.
    pub led: bool,
    /// How long ago it gave or confirmed that vote.
    pub quiet: Duration,
    /// How long ago it stood, or asked whether to stand.
    pub tried: Duration,
}

/// Whether it is time to stand. `jitter` is drawn anew after each attempt.
pub fn is_due(at: &Situation, timing: &RaftTiming, jitter: Duration) -> bool {
    if !at.voter || at.leading {
        return false;
    }
    if at.alone {
        // Nobody to wait for, but an attempt in progress is not repeated at once.
        return at.tried >= timing.retry;
    }
    let turn = timing.step * at.rank + jitter;
    let quiet = if at.led { timing.lease } else { timing.retry };
    at.quiet > quiet + turn && at.tried > timing.retry + turn
}

/// Whether a member would vote for one that asks: not while it hears a leader, and not for one whose log ends
/// earlier than its own.
pub fn would_vote<T: Ord>(at: &Situation, timing: &RaftTiming, own_log: &T, their_log: &T) -> bool {
    let hears_a_leader = at.leading || (at.led && at.quiet <= timing.lease);
    !hears_a_leader && their_log >= own_log
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiting(rank: u32, led: bool, quiet: u64) -> Situation {
        let quiet = Duration::from_millis(quiet);
        Situation {
            voter: true,
            leading: false,
            alone: false,
            rank,
            led,
            quiet,
            tried: Duration::from_secs(9),
        }
    }

    #[test]
    fn the_turns_of_voters_do_not_overlap() {
        let timing = RaftTiming::default();
        for (rank, led) in [(0, true), (1, true), (3, true), (0, false), (2, false)] {
            let first = (0..9_000).find(|ms| is_due(&waiting(rank, led, *ms), &timing, Duration::ZERO));
            let last = (0..9_000).find(|ms| is_due(&waiting(rank, led, *ms), &timing, timing.jitter));
            let next = (0..9_000).find(|ms| is_due(&waiting(rank + 1, led, *ms), &timing, Duration::ZERO));
            assert!(first < last && last < next, "{first:?} {last:?} {next:?}");
        }
    }

    #[test]
    fn nobody_stands_while_a_leader_is_heard_or_who_may_not_vote() {
        let timing = RaftTiming::default();
        let lease = u64::try_from(timing.lease.as_millis()).unwrap();
        assert!(!is_due(&waiting(0, true, lease), &timing, Duration::ZERO));
        assert!(is_due(&waiting(0, true, lease + 1), &timing, Duration::ZERO));
        assert!(!is_due(&Situation { voter: false, ..waiting(0, true, 9_000) }, &timing, Duration::ZERO));
        assert!(!is_due(&Situation { leading: true, ..waiting(0, true, 9_000) }, &timing, Duration::ZERO));
        let just_tried = Situation { tried: Duration::ZERO, ..waiting(0, true, 9_000) };
        assert!(!is_due(&just_tried, &timing, Duration::ZERO));
        assert!(is_due(&Situation { alone: true, ..waiting(0, true, 0) }, &timing, Duration::ZERO));
    }

    #[test]
    fn a_vote_needs_silence_and_a_log_that_is_as_long() {
        let timing = RaftTiming::default();
        assert!(would_vote(&waiting(0, true, 9_000), &timing, &4, &4));
        assert!(!would_vote(&waiting(0, true, 9_000), &timing, &5, &4));
        assert!(!would_vote(&waiting(0, true, 0), &timing, &4, &4));
        assert!(would_vote(&waiting(0, false, 0), &timing, &4, &4));
        assert!(!would_vote(&Situation { leading: true, ..waiting(0, true, 9_000) }, &timing, &4, &4));
    }
}
