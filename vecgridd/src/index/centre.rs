//! Where the middle of a collection's vectors is, and when it is worth looking for again.
//!
//! An engine that compresses vectors keeps them relative to a centre: then its bits say how rows differ, and not
//! where they are together. A graph begins long before its collection is whole, and rows often come sorted by
//! subject, so the centre of the first ones may be far from that of all. The builder looks again whenever the
//! collection has grown by so much that the first rows no longer speak for it. That is a few times in its life, so it
//! costs next to nothing; and only a centre that has moved by more than chance is worth encoding all rows anew.

use super::rows::Rows;

/// Rows that a centre is taken from: then it is off by a thirtieth of their deviation.
const SAMPLE: u32 = 1_024;
/// A collection that has grown so many times has outgrown its centre.
const GROWTH: u32 = 4;
/// A centre has moved when the square of its way is more than this part of the mean square of the rows' distances from
/// it. By chance it is one part in 500 between two samples.
const MOVED: f64 = 0.02;

/// About the mean of a collection's vectors.
#[derive(Debug, Clone, Default)]
pub(super) struct Centre {
    /// In the form of [`Measure::prepare`](super::distance::Measure::prepare).
    pub point: Vec<f32>,
    /// Mean square of the distances of vectors from it.
    pub spread: f64,
    /// Slots that there were when it was taken; 0 when nobody knows.
    pub slots: u32,
}

impl Centre {
    /// A centre that nobody has measured.
    pub fn at(point: Vec<f32>) -> Self {
        Self { point, ..Self::default() }
    }

    /// That of some rows, evenly spaced.
    pub fn of(rows: &Rows, dimension: usize) -> Self {
        let step = (rows.len() / SAMPLE).max(1) as usize;
        let sample = (0..rows.len()).step_by(step).filter_map(|slot| rows.vector(slot));
        Self { slots: rows.len(), ..Self::of_vectors(sample, dimension) }
    }

    fn of_vectors<'a>(vectors: impl Iterator<Item = &'a [f32]>, dimension: usize) -> Self {
        let (mut sums, mut squares, mut count) = (vec![0.0_f64; dimension], 0.0_f64, 0_u32);
        for vector in vectors {
            count += 1;
            for (sum, x) in sums.iter_mut().zip(vector) {
                let x = f64::from(*x);
                *sum += x;
                squares += x * x;
            }
        }
        let count = f64::from(count.max(1));
        let square = sums.iter().map(|sum| (sum / count).powi(2)).sum::<f64>();
        let point = sums.into_iter().map(|sum| (sum / count) as f32).collect();
        Self { point, spread: (squares / count - square).max(0.0), slots: 0 }
    }

    /// Whether it is so far from the one before that rows are worth encoding anew.
    pub fn has_moved_from(&self, before: &[f32]) -> bool {
        let way = self.point.iter().zip(before).map(|(new, old)| f64::from(new - old).powi(2)).sum::<f64>();
        way > MOVED * self.spread
    }
}

/// Whether a collection has so many slots that its centre, which was taken when there were `then`, is to be looked at
/// again.
pub(super) fn is_outgrown(then: u32, now: u32) -> bool {
    now / GROWTH >= then
}

#[cfg(test)]
mod tests {
    use super::{super::draw::splitmix64, *};

    /// Around a point, by up to 1 in each of 8 components.
    fn centre(around: f32, seed: u64, count: usize) -> Centre {
        let mut state = seed;
        let mut unit = move || (splitmix64(&mut state) >> 40) as f32 / (1 << 23) as f32 - 1.0;
        let rows: Vec<Vec<f32>> = (0..count).map(|_| (0..8).map(|_| around + unit()).collect()).collect();
        Centre::of_vectors(rows.iter().map(|row| &row[..]), 8)
    }

    #[test]
    fn a_centre_is_the_mean_and_knows_how_far_rows_are() {
        let rows = [[1.0, 1.0], [3.0, 1.0], [2.0, 4.0]];
        let centre = Centre::of_vectors(rows.iter().map(|row| &row[..]), 2);
        assert_eq!(centre.point, [2.0, 2.0]);
        assert!((centre.spread - 8.0 / 3.0).abs() < 1e-12, "{}", centre.spread);
        let none = Centre::of_vectors(std::iter::empty(), 2);
        assert_eq!((none.point, none.spread), (vec![0.0; 2], 0.0));
    }

    #[test]
    fn a_centre_that_moved_by_chance_has_not_moved() {
        for seed in 1..100 {
            let (before, now) = (centre(5.0, seed, 1_024), centre(5.0, 1_000 + seed, 1_024));
            assert!(!now.has_moved_from(&before.point), "{seed}");
            // A seventh of the deviation of each component is 2 % of the squares.
            let near = centre(5.0 + 0.05, seed, 1_024);
            assert!(!near.has_moved_from(&before.point), "{seed}");
            let far = centre(5.0 + 0.12, seed, 1_024);
            assert!(far.has_moved_from(&before.point), "{seed}");
        }
        // Rows that are all the same have no spread, and a centre anywhere else has moved.
        let same = Centre::of_vectors([[1.0_f32, 2.0]; 3].iter().map(|row| &row[..]), 2);
        assert!(!same.has_moved_from(&[1.0, 2.0]) && same.has_moved_from(&[1.0, 2.1]));
    }

    #[test]
    fn a_collection_outgrows_its_centre_a_few_times() {
        assert!(is_outgrown(0, 1), "nobody knows when it was taken");
        assert!(!is_outgrown(1_000, 0) && !is_outgrown(1_000, 1_000) && !is_outgrown(1_000, 3_999));
        assert!(is_outgrown(1_000, 4_000) && is_outgrown(1_000, u32::MAX));
        let (mut then, mut times) = (4_096, 0);
        for now in (4_096..1_000_000).step_by(512) {
            if is_outgrown(then, now) {
                (then, times) = (now, times + 1);
            }
        }
        assert_eq!(times, 3);
    }
}
