//! How far apart two vectors are.
//!
//! Two sums are enough for all metrics: the dot product and the squared L2 distance. Each has one
//! kernel per instruction set, picked once at run time ([`Kernels::detect`]); a [`Measure`] turns
//! their results into the distances of the public contract.
//!
//! - Cosine is a dot product: vectors are scaled to length 1 when they are stored.
//! - A kernel scores one row or four rows against a query, with the very same operations per row.
//!   So a row has one distance to a query, to the last bit, whoever computes it, and ties between
//!   equal vectors are real ties.
//! - Other instruction sets (NEON, AVX-512) fall back to the scalar kernel, which compilers turn
//!   into whatever vector code the target always has.

mod measure;
mod scalar;
#[cfg(target_arch = "x86_64")]
mod x86;

pub(crate) use measure::Measure;

/// The sums of one instruction set. All slices of one call have equal length.
pub(crate) struct Kernels {
    /// Dot product.
    pub dot: fn(&[f32], &[f32]) -> f32,
    /// Dot products of one query with four rows.
    pub dot_of_four: fn(&[f32], [&[f32]; 4]) -> [f32; 4],
    /// Squared L2 distance.
    pub l2: fn(&[f32], &[f32]) -> f32,
    /// Squared L2 distances of one query to four rows.
    pub l2_of_four: fn(&[f32], [&[f32]; 4]) -> [f32; 4],
}

/// Tells the processor that a row will be read soon.
pub(crate) fn prefetch(row: &[f32]) {
    #[cfg(target_arch = "x86_64")]
    x86::prefetch(row);
    #[cfg(not(target_arch = "x86_64"))]
    let _ = row;
}

impl Kernels {
    /// The fastest this machine can run.
    pub fn detect() -> &'static Self {
        #[cfg(target_arch = "x86_64")]
        if let Some(kernels) = x86::kernels() {
            return kernels;
        }
        &scalar::KERNELS
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Kernels, scalar};

    fn rows() -> impl Strategy<Value = (Vec<f32>, Vec<Vec<f32>>)> {
        (0_usize..200).prop_flat_map(|dimension| {
            let row = prop::collection::vec(-100_f32..100.0, dimension);
            (row.clone(), prop::collection::vec(row, 4))
        })
    }

    fn near(found: f32, expected: f32, magnitude: f64) -> bool {
        (f64::from(found) - f64::from(expected)).abs() <= 1e-5 * magnitude + 1e-30
    }

    proptest! {
        #[test]
        fn every_kernel_agrees_with_the_scalar_one((query, rows) in rows()) {
            let fast = Kernels::detect();
            for row in &rows {
                let products = query.iter().zip(row).map(|(a, b)| (f64::from(*a) * f64::from(*b)).abs()).sum();
                prop_assert!(near((fast.dot)(&query, row), (scalar::KERNELS.dot)(&query, row), products));
                let squares = query.iter().zip(row).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum();
                prop_assert!(near((fast.l2)(&query, row), (scalar::KERNELS.l2)(&query, row), squares));
            }
        }

        #[test]
        fn the_scalar_kernel_agrees_with_the_sum((query, rows) in rows()) {
            for row in &rows {
                let terms = || query.iter().zip(row).map(|(a, b)| f64::from(*a) * f64::from(*b));
                let found = f64::from((scalar::KERNELS.dot)(&query, row));
                prop_assert!((found - terms().sum::<f64>()).abs() <= 1e-5 * terms().map(f64::abs).sum::<f64>());
            }
        }

        #[test]
        fn four_rows_at_once_score_as_one_by_one((query, rows) in rows()) {
            let four = [&*rows[0], &*rows[1], &*rows[2], &*rows[3]];
            for kernels in [Kernels::detect(), &scalar::KERNELS] {
                let dots = four.map(|row| (kernels.dot)(&query, row).to_bits());
                prop_assert_eq!((kernels.dot_of_four)(&query, four).map(f32::to_bits), dots);
                let squares = four.map(|row| (kernels.l2)(&query, row).to_bits());
                prop_assert_eq!((kernels.l2_of_four)(&query, four).map(f32::to_bits), squares);
            }
        }
    }

    #[test]
    #[should_panic(expected = "equal length")]
    fn unequal_lengths_are_a_bug_not_a_wild_read() {
        (Kernels::detect().dot)(&[0.0; 32], &[0.0; 31]);
    }
}
