//! Sums over compressed vectors: one kernel per instruction set, picked once at run time.
//!
//! Integers only, so every kernel gives the very same result as its scalar twin. A kernel takes one
//! query and several rows: the call, which is indirect, is paid once per step of a walk.

mod scalar;
#[cfg(target_arch = "x86_64")]
mod x86;

/// The kernels of one instruction set. Lengths are multiples of 64 numbers, and equal in one call.
pub(super) struct Kernels {
    /// Dot products of a query with rows of numbers from -127 to 127.
    pub dots: fn(query: &[i8], rows: &[&[i8]], out: &mut [i32]),
    /// For rows of sign bits: sum over bits of `±(2 ± 1)`, the signs of `±` being whether the bit
    /// equals that of the first and of the second plane. `planes` are the two, one after the other;
    /// a row may be longer than a plane, the rest is not looked at.
    pub agreements: fn(planes: &[u64], rows: &[&[u64]], out: &mut [i32]),
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

    fn numbers() -> impl Strategy<Value = (Vec<i8>, Vec<Vec<i8>>)> {
        (1_usize..20).prop_flat_map(|words| {
            let row = prop::collection::vec(-127_i8..=127, words * 64);
            (row.clone(), prop::collection::vec(row, 0..9))
        })
    }

    fn bits() -> impl Strategy<Value = (Vec<u64>, Vec<Vec<u64>>)> {
        (1_usize..20).prop_flat_map(|words| {
            let row = prop::collection::vec(any::<u64>(), words + 2);
            (prop::collection::vec(any::<u64>(), 2 * words), prop::collection::vec(row, 0..9))
        })
    }

    proptest! {
        #[test]
        fn dots_are_the_sums(((query, rows), full) in (numbers(), any::<bool>())) {
            let query = if full { vec![-127; query.len()] } else { query };
            let rows: Vec<_> = rows.iter().map(|row| &row[..]).collect();
            let sum = |row: &&[i8]| query.iter().zip(*row).map(|(a, b)| i32::from(*a) * i32::from(*b)).sum();
            let expected: Vec<i32> = rows.iter().map(sum).collect();
            for kernels in [Kernels::detect(), &scalar::KERNELS] {
                let mut found = vec![0; rows.len()];
                (kernels.dots)(&query, &rows, &mut found);
                prop_assert_eq!(&found, &expected);
            }
        }

        #[test]
        fn agreements_are_the_sums((planes, rows) in bits()) {
            let words = planes.len() / 2;
            let rows: Vec<_> = rows.iter().map(|row| &row[..]).collect();
            let sign = |words: &[u64], at: usize| if words[at / 64] >> (at % 64) & 1 == 1 { 1 } else { -1 };
            let sum = |row: &&[u64]| {
                let terms = (0..words * 64).map(|at| sign(row, at) * (2 * sign(&planes, at) + sign(&planes[words..], at)));
                terms.sum()
            };
            let expected: Vec<i32> = rows.iter().map(sum).collect();
            for kernels in [Kernels::detect(), &scalar::KERNELS] {
                let mut found = vec![0; rows.len()];
                (kernels.agreements)(&planes, &rows, &mut found);
                prop_assert_eq!(&found, &expected);
            }
        }
    }

    #[test]
    #[should_panic(expected = "equal length")]
    fn unequal_lengths_are_a_bug_not_a_wild_read() {
        (Kernels::detect().dots)(&[0; 128], &[&[0; 64]], &mut [0]);
    }
}
