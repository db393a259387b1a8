//! How fast rows leave this member. Pure.

use std::time::Duration;

/// Spreads bytes over time: each taker is told how long to wait, one behind another.
#[derive(Debug)]
pub(super) struct Pace {
    bytes_per_second: u64,
    /// Everything that was taken has gone by then.
    free_at: Duration,
}

impl Pace {
    pub(super) fn new(bytes_per_second: u64) -> Self {
        Self { bytes_per_second: bytes_per_second.max(1), free_at: Duration::ZERO }
    }

    /// Takes this many bytes at `now`; how long to wait after they were sent.
    pub(super) fn take(&mut self, bytes: usize, now: Duration) -> Duration {
        let takes = Duration::from_secs_f64(bytes as f64 / self.bytes_per_second as f64);
        self.free_at = self.free_at.max(now) + takes;
        self.free_at - now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_spread_over_time_and_quiet_is_not_saved_up() {
        let s = Duration::from_secs;
        let mut pace = Pace::new(1_000);
        assert_eq!(pace.take(2_000, s(10)), s(2));
        assert_eq!(pace.take(1_000, s(11)), s(2), "behind the first");
        assert_eq!(pace.take(1_000, s(100)), s(1));
    }
}
