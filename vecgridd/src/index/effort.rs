//! How long a search is likely to take, before it is run.
//!
//! A short search is run where its request is, on an I/O thread: handing it to another thread and
//! back costs two wake-ups, more than the search itself. A long one there would hold up every
//! other connection. The estimate is rough and may be: off by a factor of two, a short search
//! holds an I/O thread for half a millisecond. What it does not know is cold memory.
//!
//! A filter is always long: evaluating it over the rows has no bound that is known beforehand.

use std::time::Duration;

use super::view::View;
use crate::types::Query;

/// Longest search that is short. Measured on 2 cores: the hand-over costs about 100 µs while both
/// are busy, so beyond a few of these there is little left to win.
const SHORT: Duration = Duration::from_micros(250);
/// Together 156 ns for a scanned row of 384 floats, on a busy machine (see `plan.rs`).
const SCAN_NS_PER_ROW: f64 = 20.0;
const SCAN_NS_PER_COMPONENT: f64 = 0.35;
/// A row of the tail takes a third of that: it came not long ago, and most of the tail is still near the processor.
const TAIL: f64 = 0.35;
/// Making one hit: its id, its metadata, its place in the answer.
const HIT_NS: f64 = 200.0;

impl View {
    /// Whether a search is short enough to be run on an I/O thread.
    pub fn is_short(&self, query: &Query) -> bool {
        query.filter.is_none() && self.estimate(query) <= SHORT.as_nanos() as f64
    }

    /// Nanoseconds, for a search without a filter.
    fn estimate(&self, query: &Query) -> f64 {
        let dimension = self.shape.dimension as f64;
        let k = query.k.min(self.with_vector as usize) as f64;
        let row = SCAN_NS_PER_ROW + dimension * SCAN_NS_PER_COMPONENT;
        let scan = |rows: u64| rows as f64 * row;
        let everything = scan(self.with_vector);
        let work = match &self.linked {
            Some(linked) if !query.exact && self.with_vector > self.shape.small_rows as u64 => {
                let ef = self.breadth(query).0.max(query.k) as f64;
                let walk = row * ef * self.shape.m as f64 * linked.engine.rows_per_link();
                // The plan takes the cheaper way; a walk is followed by a scan of the tail.
                let tail = TAIL * scan(self.with_vector.saturating_sub(linked.live));
                (walk + tail).min(everything)
            }
            _ => everything,
        };
        work + k * HIT_NS
    }
}
