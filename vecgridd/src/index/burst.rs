//! Rows that come faster than a builder could link them, before there is a graph.
//!
//! What a graph keeps of a vector is rounded around a centre, the mean of the rows that were there when the graph began. Rows
//! often come by the thousand, and sorted: the first few thousand of them have another mean than all, and a graph around that
//! leads worse, for as long as it lives (decision 29). So a first graph begins when such a burst is over, or after
//! [`LONGEST`]. Meanwhile searches scan, as they would the rows that a builder is behind with.
//!
//! Rows that come slowly are not waited for.

use std::time::{Duration, Instant};

/// So many rows a second are a burst: a small collection would double in a second.
const FAST: f64 = 4_096.0;
/// How often the rate is looked at.
const WINDOW: Duration = Duration::from_millis(100);
/// A burst is waited for so long, at most.
const LONGEST: Duration = Duration::from_secs(10);

/// The rows that came so far, and how fast.
#[derive(Debug, Default)]
pub(super) struct Burst {
    /// When the rate was last looked at, and how many rows there were.
    looked: Option<(Instant, u64)>,
    began: Option<Instant>,
    over: Option<Instant>,
}

impl Burst {
    /// There are so many rows now.
    pub fn come(&mut self, now: Instant, rows: u64) {
        let Some((at, before)) = self.looked else {
            // One look says nothing about the rate.
            (self.looked, self.began, self.over) = (Some((now, rows)), Some(now), Some(now + 2 * WINDOW));
            return;
        };
        let time = now.saturating_duration_since(at);
        if time < WINDOW {
            return;
        }
        self.looked = Some((now, rows));
        if (rows.saturating_sub(before) as f64) < FAST * time.as_secs_f64() {
            (self.began, self.over) = (None, Some(now));
            return;
        }
        let began = *self.began.get_or_insert(at);
        // Twice, so that a burst that goes on is seen to go on before it would be over.
        self.over = Some((now + 2 * WINDOW).min(began + LONGEST));
    }

    /// When it is over, if no more rows come; `None` where none came.
    pub fn over(&self) -> Option<Instant> {
        self.over
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// When it is over, in milliseconds from the first rows on, after rows came every `pause` for a time.
    fn over(pause: u64, rows: u64, until: u64) -> u64 {
        let (start, mut burst) = (Instant::now(), Burst::default());
        for (count, at) in (1..).zip((0..=until).step_by(pause as usize)) {
            burst.come(start + Duration::from_millis(at), count * rows);
        }
        burst.over().unwrap().duration_since(start).as_millis() as u64
    }

    #[test]
    fn no_rows_are_no_burst() {
        assert_eq!(Burst::default().over(), None);
    }

    #[test]
    fn a_burst_is_over_soon_after_its_last_rows() {
        assert_eq!(over(20, 500, 0), 200, "one batch");
        assert_eq!(over(20, 500, 3_000), 3_200);
        assert_eq!(over(150, 4_000, 3_000), 3_200, "seldom, and many");
    }

    #[test]
    fn slow_rows_are_not_waited_for() {
        assert_eq!(over(20, 40, 3_000), 3_000, "2,000 a second");
    }

    #[test]
    fn a_burst_without_end_is_waited_for_so_long_and_no_longer() {
        assert_eq!(over(20, 500, 60_000), 10_000);
    }

    #[test]
    fn a_burst_after_slow_rows_is_one() {
        let (start, mut burst) = (Instant::now(), Burst::default());
        let mut come = |at, rows| burst.come(start + Duration::from_millis(at), rows);
        (0..100).for_each(|turn| come(turn * 200, turn));
        (100..110).for_each(|turn| come(turn * 200, turn * 1_000));
        assert_eq!(burst.over(), Some(start + Duration::from_millis(109 * 200 + 200)));
    }
}
