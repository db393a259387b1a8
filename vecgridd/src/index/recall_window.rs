//! What recall was lately, and how sure that is.
//!
//! Each check of an answer gives an estimate of what it missed (`check`): independent, without bias, mostly
//! zero. A [`Window`] keeps the latest and tells their mean, with an interval that holds the true one
//! with 95 % probability if answers do not change meanwhile.
//!
//! The window is a minute, so that damage shows within one; where a minute has few checks it reaches back to
//! [`FEW`] of them. Totals since the start are kept, too, for whoever wants another window.
//!
//! The interval is that of a mean of many numbers (normal). While nothing was missed all numbers are zero
//! and would have no width, however few: therefore one more check is imagined that found one missed row,
//! which also makes the upper end of what is missed about the `3 / n` that it should be.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// What happened longer ago does not count,
const WINDOW: Duration = Duration::from_secs(60);
/// unless there are fewer checks than this.
const FEW: usize = 200;
/// Checks that are kept.
const KEPT: usize = 4_096;
/// Standard errors on each side.
const SIDES: f64 = 1.96;

/// Recall of recent answers, and of all.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct RecallStats {
    /// Lately, 0 to 1.
    pub ratio: f64,
    /// Its interval.
    pub lower: f64,
    /// See `lower`.
    pub upper: f64,
    /// Checks that `ratio` is made of.
    pub recent: u64,
    /// Checks since the start.
    pub checks: u64,
    /// Sum of what those missed, as shares of an answer.
    pub missed: f64,
}

/// The latest checks of one kind of answer.
#[derive(Debug, Default)]
pub(super) struct Window {
    recent: VecDeque<(Instant, f32)>,
    /// What a check says that found one missed row.
    unit: f64,
    checks: u64,
    missed: f64,
}

impl Window {
    /// A check said that `missed` of an answer is missing; one missed row would have said `unit`.
    pub fn add(&mut self, now: Instant, missed: f64, unit: f64) {
        if self.recent.len() == KEPT {
            self.recent.pop_front();
        }
        self.recent.push_back((now, missed as f32));
        self.unit = unit;
        self.checks += 1;
        self.missed += missed;
    }

    /// `None` before the first check.
    pub fn stats(&self, now: Instant) -> Option<RecallStats> {
        let young = |(at, _): &&(Instant, f32)| now.saturating_duration_since(*at) <= WINDOW;
        let young = self.recent.iter().rev().take_while(young).count();
        let count = young.max(FEW).min(self.recent.len());
        if count == 0 {
            return None;
        }
        let latest = || self.recent.iter().rev().take(count).map(|(_, missed)| f64::from(*missed));
        let n = count as f64;
        let mean = latest().sum::<f64>() / n;
        let imagined = (mean * n + self.unit) / (n + 1.0);
        let off = |missed: f64| (missed - imagined).powi(2);
        let variance = (latest().map(off).sum::<f64>() + off(self.unit)) / (n + 1.0);
        let side = SIDES * (variance / (n + 1.0)).sqrt();
        let share = |missed: f64| (1.0 - missed).clamp(0.0, 1.0);
        Some(RecallStats {
            ratio: share(mean),
            lower: share(mean.max(imagined) + side),
            upper: share(mean - side),
            recent: count as u64,
            checks: self.checks,
            missed: self.missed,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{super::draw::Draw, *};

    fn filled(now: Instant, missed: impl IntoIterator<Item = f64>) -> Window {
        let mut window = Window::default();
        missed.into_iter().for_each(|missed| window.add(now, missed, 0.8));
        window
    }

    #[test]
    fn the_mean_is_told_with_an_interval_around_it() {
        let now = Instant::now();
        assert!(Window::default().stats(now).is_none());
        let stats = filled(now, (0..1_000).map(|n| if n % 50 == 0 { 0.8 } else { 0.0 })).stats(now).unwrap();
        assert!((stats.ratio - 0.984).abs() < 1e-6, "{stats:?}");
        assert!(stats.lower < stats.ratio && stats.ratio < stats.upper && stats.upper < 0.995, "{stats:?}");
        assert_eq!((stats.recent, stats.checks), (1_000, 1_000));
        assert!((stats.missed - 16.0).abs() < 1e-9);
    }

    #[test]
    fn nothing_missed_is_not_certainty() {
        let now = Instant::now();
        let few = filled(now, [0.0; 10]).stats(now).unwrap();
        let many = filled(now, [0.0; 1_000]).stats(now).unwrap();
        assert_eq!((few.ratio, many.ratio), (1.0, 1.0));
        assert!(few.lower < 0.85 && many.lower > 0.995 && many.lower < 0.999, "{few:?} {many:?}");
    }

    #[test]
    fn damage_shows_within_a_minute() {
        let begun = Instant::now();
        let at = |second: u64| begun + Duration::from_secs(second);
        let mut window = Window::default();
        let mut draw = Draw::new(1);
        // Ten checks a second, an eighth of the partitions each; then recall falls from 1 to 0.8.
        for second in 0..360 {
            if second == 300 {
                let before = window.stats(at(299)).unwrap();
                assert!(before.ratio == 1.0 && before.lower > 0.99, "{before:?}");
            }
            for _ in 0..10 {
                let missed = second >= 300 && draw.below(8) == 0;
                window.add(at(second), if missed { 1.6 } else { 0.0 }, 0.8);
            }
        }
        let after = window.stats(at(360)).unwrap();
        assert!(after.upper < 0.9 && (after.ratio - 0.8).abs() < 0.06, "{after:?}");
    }

    #[test]
    fn where_checks_are_few_older_ones_count() {
        let begun = Instant::now();
        let window = filled(begun, [0.0; 300]);
        let stats = window.stats(begun + Duration::from_secs(3_600)).unwrap();
        assert_eq!((stats.recent, stats.checks), (FEW as u64, 300));
    }

    /// The interval holds the true mean about as often as it says.
    #[test]
    fn the_interval_is_honest() {
        let now = Instant::now();
        let mut draw = Draw::new(2);
        for (missed_per_thousand, n) in [(5, 400), (20, 400), (100, 200)] {
            let held = (0..500).filter(|_| {
                // A tenth of an answer each, seen one time in eight.
                let mut one = || {
                    let missed = (0..10).filter(|_| draw.below(1_000) < missed_per_thousand).count();
                    if draw.below(8) == 0 { 0.8 * missed as f64 } else { 0.0 }
                };
                let stats = filled(now, (0..n).map(|_| one())).stats(now).unwrap();
                let truth = 1.0 - missed_per_thousand as f64 / 1_000.0;
                stats.lower <= truth && truth <= stats.upper
            });
            let held = held.count();
            assert!(held >= 450, "{missed_per_thousand} of 1,000 missed: {held} of 500 intervals hold it");
        }
    }
}
