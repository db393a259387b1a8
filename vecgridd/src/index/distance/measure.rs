//! From sums to the distances of the public contract.

use std::borrow::Cow;

use super::Kernels;
use crate::types::{Metric, Vector};

/// Beyond any dot product of two valid vectors (1e18 long at most), and below where [`positive`]
/// would leave the finite numbers.
const MAX_DOT: f32 = 1e37;

/// A metric, and the kernels that compute it.
#[derive(Clone, Copy)]
pub(crate) struct Measure {
    metric: Metric,
    kernels: &'static Kernels,
}

impl Measure {
    pub fn new(metric: Metric) -> Self {
        Self { metric, kernels: Kernels::detect() }
    }

    /// The metric.
    pub fn metric(&self) -> Metric {
        self.metric
    }

    /// The form in which vectors are stored and asked for: of length 1 under cosine.
    pub fn prepare<'a>(&self, vector: &'a Vector) -> Cow<'a, [f32]> {
        match self.metric {
            Metric::Cosine => Cow::Owned(vector.normalized()),
            Metric::Euclidean | Metric::Dot => Cow::Borrowed(vector.as_slice()),
        }
    }

    /// The public distance of two prepared vectors.
    pub fn distance(&self, query: &[f32], row: &[f32]) -> f32 {
        match self.metric {
            Metric::Cosine | Metric::Dot => self.public((self.kernels.f32.dot)(query, row)),
            Metric::Euclidean => self.public((self.kernels.f32.l2)(query, row)),
        }
    }

    /// The public distances of four rows, each the same to the bit as [`distance`](Self::distance).
    pub fn distances(&self, query: &[f32], rows: [&[f32]; 4]) -> [f32; 4] {
        let sums = match self.metric {
            Metric::Cosine | Metric::Dot => (self.kernels.f32.dot_of_four)(query, rows),
            Metric::Euclidean => (self.kernels.f32.l2_of_four)(query, rows),
        };
        sums.map(|sum| self.public(sum))
    }

    /// A number for engines: in the order of the public distance, never negative, never NaN.
    pub fn rank(&self, a: &[f32], b: &[f32]) -> f32 {
        let rank = match self.metric {
            Metric::Cosine => (1.0 - (self.kernels.f32.dot)(a, b)).max(0.0),
            Metric::Euclidean => (self.kernels.f32.l2)(a, b),
            Metric::Dot => positive(-(self.kernels.f32.dot)(a, b)),
        };
        if rank >= 0.0 { rank } else { f32::MAX }
    }

    /// Rounding may push a cosine beyond 1, and `0.0 -` has no negative zero, which would be sorted
    /// before an equal positive one.
    fn public(&self, sum: f32) -> f32 {
        match self.metric {
            Metric::Cosine => (1.0 - sum).max(0.0),
            Metric::Euclidean => sum.sqrt(),
            Metric::Dot => 0.0 - sum,
        }
    }
}

/// Maps any number to a positive one in the same order, at the price of the last bit: the bits of
/// floats, with the sign turned, are ordered as the floats are; half of that range is the positive
/// floats. (`1 + x` would make all small numbers equal.)
fn positive(x: f32) -> f32 {
    if x.is_nan() {
        return f32::MAX;
    }
    let bits = x.clamp(-MAX_DOT, MAX_DOT).to_bits();
    let ordered = if bits >> 31 == 1 { !bits } else { bits | 0x8000_0000 };
    f32::from_bits(ordered >> 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{MAX_DOT, Measure, positive};
    use crate::types::{Metric, Vector};

    #[test]
    fn distances_are_those_of_the_contract() {
        let distance = |metric, a: &[f32], b: &[f32]| {
            let measure = Measure::new(metric);
            let [a, b] = [a, b].map(|v| Vector::new(v.to_vec(), v.len(), metric).unwrap());
            measure.distance(&measure.prepare(&a), &measure.prepare(&b))
        };
        assert_eq!(distance(Metric::Cosine, &[2.0, 0.0], &[5.0, 0.0]), 0.0);
        assert_eq!(distance(Metric::Cosine, &[2.0, 0.0], &[0.0, 3.0]), 1.0);
        assert_eq!(distance(Metric::Cosine, &[2.0, 0.0], &[-1.0, 0.0]), 2.0);
        assert_eq!(distance(Metric::Euclidean, &[0.0, 0.0], &[3.0, 4.0]), 5.0);
        assert_eq!(distance(Metric::Dot, &[1.0, 2.0], &[3.0, 4.0]), -11.0);
        assert!(distance(Metric::Dot, &[0.0], &[1.0]).is_sign_positive());
        let far = distance(Metric::Euclidean, &[1e18], &[-1e18]);
        assert!((far - 2e18).abs() < 1e12, "{far}");
    }

    #[test]
    fn even_what_cannot_happen_gets_a_rank() {
        for metric in [Metric::Cosine, Metric::Euclidean, Metric::Dot] {
            let rank = Measure::new(metric).rank(&[f32::NAN], &[1.0]);
            assert!(rank >= 0.0 && rank.is_finite());
        }
        for x in [f32::NEG_INFINITY, -MAX_DOT, -0.0, f32::INFINITY, f32::NAN] {
            assert!(positive(x) > 0.0 && positive(x).is_finite());
        }
    }

    proptest! {
        #[test]
        fn ranks_of_dot_products_keep_their_order(a in -1e36_f32..1e36, b in -1e36_f32..1e36, small in -1_f32..1.0) {
            for (a, b) in [(a, b), (small, -small), (small, small * 0.999), (a, small)] {
                prop_assert!(a.total_cmp(&b) == positive(a).total_cmp(&positive(b)) || (a - b).abs() <= a.abs() * 1e-6);
                prop_assert!((a < b) <= (positive(a) <= positive(b)));
            }
        }
    }
}
