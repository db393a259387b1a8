//! Work that must not be felt: threads that step behind, and a budget of their time.
//!
//! How much a thread gets of a core that others want too is a matter of weights, which Linux derives from
//! the priority: each step is a quarter more or less ([`take_share`]). A core that nobody else wants is its own.
//! A thread at the lowest priority ([`step_behind`]) gets a core when nobody else wants it, and a seventieth of one that
//! others want. That bounds what it takes from others while they work, not what it takes in all;
//! [`Budget`] does.

use std::time::{Duration, Instant};

use rustix::{
    process::setpriority_process,
    time::{ClockId, clock_gettime},
};

/// The nicest a process can be.
const LOWEST: i32 = 19;
/// Time that may be saved up, in seconds of the clock: work comes in pieces, and an idle hour is no reason
/// for a busy minute.
const SAVED: Duration = Duration::from_secs(2);

/// One step of priority.
const STEP: f64 = 1.25;

/// This thread, and those that it makes from now on, get about this share of a core each that one other
/// thread wants, too: 0.5 is as much as the other.
pub fn take_share(share: f64) {
    set_priority(priority_of(share));
}

/// This thread steps behind all others, for good.
pub fn step_behind() {
    set_priority(LOWEST);
}

fn priority_of(share: f64) -> i32 {
    let share = share.clamp(0.001, 0.5);
    ((((1.0 - share) / share).ln() / STEP.ln()).round() as i32).min(LOWEST)
}

fn set_priority(priority: i32) {
    // On Linux a priority belongs to a thread, and nobody needs a right to lower it.
    if let Err(error) = setpriority_process(None, priority) {
        tracing::warn!(%error, "background work runs at normal priority");
    }
}

/// Processor time that this thread has used.
pub fn time_used() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let (seconds, nanos) = (u64::try_from(time.tv_sec), u32::try_from(time.tv_nsec));
    Duration::new(seconds.unwrap_or(0), nanos.unwrap_or(0))
}

/// A share of one core, over time. What is begun is finished, however long it takes: then the next has
/// to wait the longer.
#[derive(Debug)]
pub struct Budget {
    /// 0 to 1.
    share: f64,
    /// Seconds of work that may be done now; negative after more than that was done.
    left: f64,
    told: Instant,
}

impl Budget {
    /// Starts with what can be saved up.
    pub fn new(share: f64, now: Instant) -> Self {
        let share = share.clamp(0.0, 1.0);
        Self { share, left: share * SAVED.as_secs_f64(), told: now }
    }

    /// So much work was done.
    pub fn spend(&mut self, work: Duration) {
        self.left -= work.as_secs_f64();
    }

    /// How long to wait until work may be done; zero = now.
    pub fn wait(&mut self, now: Instant) -> Duration {
        let passed = now.saturating_duration_since(self.told).as_secs_f64();
        self.told = now;
        self.left = (self.left + passed * self.share).min(self.share * SAVED.as_secs_f64());
        if self.left > 0.0 {
            return Duration::ZERO;
        }
        // Without a share there is no work, ever; a look once a minute costs nothing.
        let seconds = if self.share > 0.0 { -self.left / self.share } else { f64::INFINITY };
        Duration::from_secs_f64(seconds.clamp(0.001, 60.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_takes_its_share_of_time_and_no_more() {
        let begun = Instant::now();
        let mut budget = Budget::new(0.02, begun);
        let (mut now, mut worked) = (begun, Duration::ZERO);
        let hour = Duration::from_secs(3_600);
        let mut piece = 1;
        while now < begun + hour {
            let wait = budget.wait(now);
            if wait.is_zero() {
                // 1 to 500 ms, in no order.
                piece = piece * 263 % 499 + 1;
                let work = Duration::from_millis(piece);
                budget.spend(work);
                (now, worked) = (now + work, worked + work);
            }
            now += wait;
        }
        let share = worked.as_secs_f64() / hour.as_secs_f64();
        assert!((0.0195..0.0205).contains(&share), "{share}");
    }

    #[test]
    fn idle_time_is_not_saved_up_for_long() {
        let begun = Instant::now();
        let mut budget = Budget::new(0.1, begun);
        assert!(budget.wait(begun + Duration::from_secs(1_000)).is_zero());
        budget.spend(Duration::from_millis(250));
        let wait = budget.wait(begun + Duration::from_secs(1_000));
        assert!((wait.as_secs_f64() - 0.5).abs() < 0.01, "{wait:?}");
        assert!(!Budget::new(0.0, begun).wait(begun + Duration::from_secs(1_000)).is_zero());
    }

    #[test]
    fn a_share_is_a_weight() {
        let shares = [1.0, 0.5, 0.45, 0.25, 0.1, 0.02, 0.0];
        assert_eq!(shares.map(priority_of), [0, 0, 1, 5, 10, 17, 19]);
    }

    #[test]
    fn a_thread_knows_what_it_used() {
        std::thread::spawn(|| {
            step_behind();
            let before = time_used();
            let mut sum = 0_u64;
            while time_used() < before + Duration::from_millis(2) {
                sum = std::hint::black_box(sum.wrapping_add(1));
            }
        })
        .join()
        .unwrap();
    }
}
