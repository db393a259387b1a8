//! How evenly something goes on: the worst that anybody had to wait.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// What went on, and how evenly.
#[derive(Debug)]
pub struct Pulse(Mutex<Beats>);

/// See [`Pulse`].
#[derive(Debug, Clone, Copy)]
pub struct Beats {
    /// Operations that succeeded.
    pub count: u64,
    /// The one that took longest, from its first try on.
    pub slowest: Duration,
    /// The longest time in which none succeeded.
    pub gap: Duration,
    last: Instant,
}

impl Pulse {
    /// Nothing yet.
    pub fn new() -> Self {
        Self(Mutex::new(Beats {
            count: 0,
            slowest: Duration::ZERO,
            gap: Duration::ZERO,
            last: Instant::now(),
        }))
    }

    /// An operation succeeded that was first tried at that time.
    pub fn beat(&self, begun: Instant) {
        let (mut beats, now) = (self.lock(), Instant::now());
        beats.count += 1;
        beats.slowest = beats.slowest.max(now - begun);
        beats.gap = beats.gap.max(now - beats.last);
        beats.last = now;
    }

    /// What was seen since the last call.
    pub fn take(&self) -> Beats {
        let (mut beats, now) = (self.lock(), Instant::now());
        let seen = Beats { gap: beats.gap.max(now - beats.last), ..*beats };
        *beats = Beats { count: 0, slowest: Duration::ZERO, gap: Duration::ZERO, last: beats.last };
        seen
    }

    /// How many succeeded since the last [`Pulse::take`].
    pub fn count(&self) -> u64 {
        self.lock().count
    }

    fn lock(&self) -> MutexGuard<'_, Beats> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Pulse {
    fn default() -> Self {
        Self::new()
    }
}
