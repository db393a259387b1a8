//! Which breadth of a walk reaches which recall.
//!
//! A [`Calibration`] is what was measured on a collection's own rows (`calibrator`): for 10 and for 100
//! hits a curve of breadths and how much of the truth walks of that breadth miss. A search with a
//! target looks its breadth up; nothing is measured then.
//!
//! Between two measured breadths the logarithm of what is missed is taken for a straight line over
//! the logarithm of the breadth, which it nearly is. Between two numbers of hits, the same for the
//! breadth. Fewer than ten hits get the breadth of ten; beyond the last number, breadth grows in proportion to hits. A target that nothing measured
//! reaches gets the widest walk that was tried.
//!
//! Without a measurement there is [`GUESS`], which is on the wide side.

use crate::types::{Breadth, Query, TargetRecall};

use super::view::View;

/// What is missed of ten hits by walks of such breadth, before anything is measured: what was measured
/// with 115,659 rows of 384 components (decision 10), at half of these breadths.
const GUESS: &[(f64, f64)] =
    &[(40.0, 0.1), (70.0, 0.05), (112.0, 0.02), (182.0, 0.01), (282.0, 0.005), (606.0, 0.001)];
/// The hits that [`GUESS`] is about.
const GUESSED_K: usize = 10;
/// Less is as good as nothing.
const LEAST_MISS: f64 = 1e-5;

/// Which breadth reaches which recall, for searches of one collection.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Calibration {
    /// By number of hits.
    curves: Vec<Curve>,
    /// Rows in the graph when this was made.
    pub rows: u64,
    /// Real queries so far, when it was made with such.
    pub asked: u64,
}

/// Breadths for one number of hits.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Curve {
    k: usize,
    /// Breadth and the share that is missed; the first grows, the second falls.
    points: Vec<(f64, f64)>,
}

impl Curve {
    /// From what was measured, by growing breadth. A wider walk that seems to miss more was unlucky, and
    /// so was the narrower one lucky: they share what they missed.
    pub fn new(k: usize, measured: impl IntoIterator<Item = (usize, f64)>) -> Self {
        // Pools of adjacent violators: breadths, their sum of misses, how many.
        let mut pools: Vec<(Vec<f64>, f64)> = Vec::new();
        for (ef, miss) in measured {
            pools.push((vec![ef as f64], miss));
            while let [.., (before, more), (after, less)] = pools.as_slice()
                && less / after.len() as f64 > more / before.len() as f64
            {
                let (breadths, misses) = ([before.as_slice(), after].concat(), more + less);
                pools.truncate(pools.len() - 2);
                pools.push((breadths, misses));
            }
        }
        let flat = |(breadths, misses): (Vec<f64>, f64)| {
            let miss = misses / breadths.len() as f64;
            breadths.into_iter().map(move |ef| (ef, miss))
        };
        Self { k, points: pools.into_iter().flat_map(flat).collect() }
    }

    pub fn is_empty(&self) -> bool {
        self.points.is_empty()
    }

    /// The narrowest walk that misses no more than this.
    fn ef(&self, miss: f64) -> f64 {
        let reaches = self.points.iter().position(|(_, missed)| *missed <= miss);
        match (reaches, self.points.last()) {
            (Some(0), _) => self.points[0].0,
            (Some(at), _) => {
                let ((narrow, more), (wide, less)) = (self.points[at - 1], self.points[at]);
                let ln = |miss: f64| miss.max(LEAST_MISS).ln();
                let share = if more > less { (ln(more) - ln(miss)) / (ln(more) - ln(less)) } else { 1.0 };
                between(narrow, wide, share.clamp(0.0, 1.0))
            }
            (None, Some((widest, _))) => *widest,
            (None, None) => 1.0,
        }
    }
}

impl Calibration {
    /// What was measured with so many rows in the graph, when so many real queries were known (zero = with
    /// rows); curves by growing number of hits. Without any, the guess.
    pub fn new(curves: Vec<Curve>, rows: u64, asked: u64) -> Self {
        Self { curves, rows, asked }
    }

    /// Rows in the graph when it was measured; zero = it was not.
    pub fn measured_rows(&self) -> u64 {
        if self.curves.is_empty() { 0 } else { self.rows }
    }

    /// The breadth for `k` hits with this recall.
    pub fn ef(&self, target: TargetRecall, k: usize) -> usize {
        let miss = 1.0 - target.share();
        let guess;
        let curves = if self.curves.is_empty() {
            guess = [Curve { k: GUESSED_K, points: GUESS.to_vec() }];
            &guess[..]
        } else {
            &self.curves
        };
        let over = curves.iter().position(|curve| curve.k >= k).unwrap_or(curves.len());
        let ef = match (over.checked_sub(1).map(|at| &curves[at]), curves.get(over)) {
            (Some(few), Some(many)) => {
                let share = (k as f64 / few.k as f64).ln() / (many.k as f64 / few.k as f64).ln();
                let narrow = few.ef(miss);
                between(narrow, many.ef(miss).max(narrow), share)
            }
            (Some(last), None) => last.ef(miss) * k as f64 / last.k as f64,
            (None, Some(first)) => first.ef(miss),
            (None, None) => k as f64,
        };
        // A hair's breadth above a whole number is rounding.
        ((ef - 1e-6).ceil() as usize).max(k)
    }
}

/// On a straight line between the logarithms of two numbers.
fn between(a: f64, b: f64, share: f64) -> f64 {
    a * (b / a).powf(share)
}

impl View {
    /// How wide a search should walk, and the recall this was chosen for.
    pub(super) fn breadth(&self, query: &Query) -> (usize, Option<TargetRecall>) {
        match query.breadth().unwrap_or(self.shape.breadth) {
            Breadth::Ef(ef) => (ef, None),
            Breadth::Recall(target) => (self.calibration.ef(target, query.k), Some(target)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn target(share: f64) -> TargetRecall {
        TargetRecall::new(share).unwrap()
    }

    fn measured() -> Calibration {
        let ten = Curve::new(10, [(10, 0.4), (20, 0.2), (40, 0.1), (80, 0.025), (160, 0.0)]);
        let hundred = Curve::new(100, [(100, 0.3), (200, 0.1), (400, 0.01)]);
        Calibration::new(vec![ten, hundred], 1_000, 0)
    }

    #[test]
    fn a_measured_recall_gets_its_breadth_and_one_between_gets_one_between() {
        let calibration = measured();
        assert_eq!(calibration.ef(target(0.8), 10), 20);
        assert_eq!(calibration.ef(target(0.9), 10), 40);
        assert_eq!(calibration.ef(target(0.95), 10), 57, "half of the way, in logarithms");
        assert_eq!(calibration.ef(target(0.9), 100), 200);
        let forty = calibration.ef(target(0.9), 40);
        assert!((40..200).contains(&forty), "{forty}");
    }

    #[test]
    fn beyond_what_was_measured() {
        let calibration = measured();
        assert_eq!(calibration.ef(target(0.5), 10), 10, "the narrowest that was tried");
        assert_eq!(calibration.ef(target(0.999), 100), 400, "the widest that was tried");
        assert_eq!(calibration.ef(target(0.9), 1_000), 2_000, "in proportion to hits");
        assert_eq!(calibration.ef(target(0.5), 1), 10);
        assert_eq!(Calibration::new(vec![Curve::new(10, [])], 1, 0).ef(target(0.9), 10), 10);
    }

    #[test]
    fn without_a_measurement_there_is_a_guess() {
        let none = Calibration::default();
        assert_eq!((none.measured_rows(), measured().measured_rows()), (0, 1_000));
        assert_eq!(none.ef(target(0.99), 10), 182);
        assert_eq!(none.ef(target(0.99), 100), 1_820);
        assert_eq!(none.ef(target(0.999), 1), 606);
    }

    #[test]
    fn luck_is_shared() {
        let curve = Curve::new(10, [(10, 0.3), (20, 0.1), (40, 0.2), (80, 0.0)]);
        let points: Vec<_> = curve.points.iter().map(|(ef, miss)| (*ef, (miss * 1e3).round())).collect();
        assert_eq!(points, [(10.0, 300.0), (20.0, 150.0), (40.0, 150.0), (80.0, 0.0)]);
    }

    proptest! {
        /// Whatever was measured: more recall and more hits never get a narrower walk, and each hit has room.
        #[test]
        fn breadth_grows_with_recall(misses in prop::collection::vec(0.0_f64..0.5, 1..8), k in 1_usize..2_000, a in 0.5_f64..0.999, b in 0.5_f64..0.999) {
            let measured = misses.iter().enumerate().map(|(at, miss)| (10 << at, *miss));
            let calibration = Calibration::new(vec![Curve::new(10, measured)], 1, 0);
            let (low, high) = if a < b { (a, b) } else { (b, a) };
            let (low, high) = (calibration.ef(target(low), k), calibration.ef(target(high), k));
            prop_assert!(low <= high && low >= k);
            prop_assert!(calibration.ef(target(a), k) <= calibration.ef(target(a), k + 1));
        }
    }
}
