//! The latest queries that were really made.
//!
//! Rows are questions from inside; what users ask may lie elsewhere, and is what counts. So a few of the
//! vectors that searches were made with are kept, in memory only, for the next measurement of breadths
//! (`calibrator`). They come from answers that are checked (`checker`): a sample of all walks without filter.

use std::{collections::VecDeque, sync::Arc};

/// Queries that are kept, and so many make a measurement.
pub(super) const ENOUGH: usize = 256;

#[derive(Debug, Clone, Default)]
pub(super) struct Asked {
    latest: VecDeque<Arc<[f32]>>,
    /// So far.
    total: u64,
}

impl Asked {
    /// Keeps a vector in the form it is searched in, and lets go of an old one.
    pub fn add(&mut self, vector: Arc<[f32]>) {
        if self.latest.len() == ENOUGH {
            self.latest.pop_front();
        }
        self.latest.push_back(vector);
        self.total += 1;
    }

    /// Queries so far.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// The latest; `None` while they are too few.
    pub fn enough(&self) -> Option<Vec<Arc<[f32]>>> {
        (self.latest.len() == ENOUGH).then(|| self.latest.iter().cloned().collect())
    }

    /// Whether there are twice as many as when so many were measured with.
    pub fn says_more_than(&self, measured: u64) -> bool {
        self.latest.len() == ENOUGH && self.total >= 2 * measured
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_are_kept_and_twice_as_many_say_more() {
        let mut asked = Asked::default();
        for number in 0..2 * ENOUGH {
            assert_eq!(asked.enough().is_some(), number >= ENOUGH, "{number}");
            assert_eq!(asked.says_more_than(0), number >= ENOUGH);
            asked.add(Arc::from([number as f32]));
        }
        assert!(asked.says_more_than(ENOUGH as u64) && !asked.says_more_than(ENOUGH as u64 + 1));
        let latest = asked.enough().unwrap();
        assert_eq!((latest.len(), latest[0][0], asked.total()), (ENOUGH, ENOUGH as f32, 2 * ENOUGH as u64));
    }
}
