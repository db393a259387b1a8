//! For how long this member may act as one. Pure.
//!
//! The leader grants it with each beat that it takes, for as long as it can be sure that it leads. The time
//! counts from when the beat was *sent*, less the time for which the leader had no majority's word: so at its end the
//! leader of that time may still lead, and no other leader can have had this member fenced.
//!
//! It says nothing of what was decided before it was granted: a member that was fenced, and is heard again, gets one at
//! once, and others may hold by then what it holds by the table that it knows. So a lease counts only with the table by
//! which it was granted, or a newer one ([`Leases`]).

use std::time::Duration;

/// See the module. Times are of `task/clock.rs`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// Until when.
    until: Option<Duration>,
}

impl Lease {
    /// None.
    pub const NONE: Self = Self { until: None };

    /// As granted for a beat sent at `sent` by a leader that a majority had confirmed `quorum_age` before.
    pub fn granted(length: Duration, sent: Duration, quorum_age: Duration) -> Self {
        Self { until: (sent + length).checked_sub(quorum_age) }
    }

    /// The one that lasts longer.
    pub fn or(self, other: Self) -> Self {
        Self { until: self.until.max(other.until) }
    }

    /// Whether it lasts at this time.
    pub fn holds(&self, now: Duration) -> bool {
        self.until.is_some_and(|until| now < until)
    }

    /// How long it lasts from this time on.
    pub fn left(&self, now: Duration) -> Duration {
        self.until.map_or(Duration::ZERO, |until| until.saturating_sub(now))
    }
}

/// Those that a member was granted and that last still, each with the version of the table by which it was granted.
#[derive(Debug, Clone, Default)]
pub struct Leases(Vec<(u64, Lease)>);

impl Leases {
    /// One more, granted by this table; those that have ended are forgotten, so there are never many.
    pub fn grant(&mut self, table: u64, lease: Lease, now: Duration) {
        self.0.retain(|(_, lease)| lease.holds(now));
        self.0.push((table, lease));
    }

    /// The one that lasts longest, for who knows the table of this version.
    pub fn by(&self, table: u64) -> Lease {
        self.0.iter().filter(|(by, _)| *by <= table).fold(Lease::NONE, |all, (_, lease)| all.or(*lease))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_counts_from_when_the_beat_was_sent_less_the_age_of_the_majority() {
        let ms = Duration::from_millis;
        let lease = Lease::granted(ms(1_000), ms(5_000), ms(200));
        assert!(lease.holds(ms(5_799)) && !lease.holds(ms(5_800)));
        assert_eq!((lease.left(ms(5_700)), lease.left(ms(9_000))), (ms(100), ms(0)));
        assert!(!Lease::granted(ms(1_000), ms(5_000), Duration::MAX).holds(ms(5_000)));
        let longer = lease.or(Lease::granted(ms(1_000), ms(4_000), ms(0)));
        assert_eq!(longer.or(Lease::NONE), lease);
    }

    #[test]
    fn a_lease_counts_only_with_the_table_by_which_it_was_granted() {
        let ms = Duration::from_millis;
        let mut leases = Leases::default();
        assert_eq!(leases.by(9), Lease::NONE);
        let (first, second) =
            (Lease::granted(ms(1_000), ms(0), ms(0)), Lease::granted(ms(1_000), ms(500), ms(0)));
        leases.grant(3, first, ms(10));
        leases.grant(7, second, ms(510));
        assert_eq!([2, 3, 6, 7].map(|table| leases.by(table)), [Lease::NONE, first, first, second]);
        leases.grant(7, second, ms(1_000));
        assert_eq!(leases.by(6), Lease::NONE, "the first one has ended");
    }
}
