//! When an index is to be saved.

use std::time::{Duration, Instant};

use super::checkpoint::Saved;

/// A checkpoint is due after the shortest pause when there were one change per so many rows: a new row is one,
/// its way into the graph another …
const CHANGED_SHARE: u64 = 4;
/// … and after so many pauses when any has.
const LONG_PAUSE: u32 = 20;
/// A checkpoint takes at most one part in this many of the time.
const SAVE_SHARE: u32 = 20;

/// When the index was saved, and why it should be again.
#[derive(Default)]
pub(super) struct Saving {
    /// Least time between two checkpoints; `None`: there are none.
    pub pause: Option<Duration>,
    /// Changes since the last one.
    pub changes: u64,
    /// When the last one ended, or the index began.
    pub last: Option<Instant>,
    pub saved: Option<Saved>,
    pub saves: u64,
    pub failures: u64,
    /// One more before the end.
    pub at_end: bool,
    /// One more at once.
    pub at_once: bool,
    /// The builder knows this time.
    pub told: Option<Instant>,
}

impl Saving {
    /// When the next checkpoint is due, of an index of so many rows.
    pub fn due(&self, live: u64) -> Option<Instant> {
        if self.at_once {
            return self.last;
        }
        let took = self.saved.map_or(Duration::ZERO, |saved| saved.took);
        let pause = self.pause?.max(took * SAVE_SHARE);
        let much = self.changes.saturating_mul(CHANGED_SHARE) >= live;
        (self.changes > 0).then_some(self.last? + if much { pause } else { pause * LONG_PAUSE })
    }
}
