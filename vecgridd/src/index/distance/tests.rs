//! Every kernel against its twin, to the last bit, and against the exact sum, within what floats can do.

use half::{bf16, f16};
use proptest::prelude::*;

use super::{Component, Kernels, scalar};

/// The order in which a wide kernel adds, in plain Rust: whole blocks take turns at `SUMS` rows of `LANES` sums, the
/// rest, with zeros behind, goes to the last one; then halves are added until one number is left. Every step is fused.
fn twin<const LANES: usize, const SUMS: usize, T: Component>(l2: bool, query: &[f32], row: &[T]) -> f32 {
    let mut sums = [[0.0_f32; LANES]; SUMS];
    let blocks = query.chunks(LANES).zip(row.chunks(LANES)).enumerate();
    for (at, (x, y)) in blocks {
        let sums = &mut sums[if x.len() == LANES { at % SUMS } else { SUMS - 1 }];
        for (lane, sum) in sums.iter_mut().enumerate() {
            let x = x.get(lane).copied().unwrap_or_default();
            let y = y.get(lane).copied().unwrap_or_default().to_f32();
            *sum = if l2 { (x - y).mul_add(x - y, *sum) } else { x.mul_add(y, *sum) };
        }
    }
    let mut lanes: Vec<f32> = (0..LANES)
        .map(|lane| {
            let column = sums.map(|sums| sums[lane]);
            column
                .chunks(2)
                .map(|pair| pair.iter().copied().reduce(|a, b| a + b).unwrap())
                .reduce(|a, b| a + b)
                .unwrap()
        })
        .collect();
    let mut lanes = &mut lanes[..];
    while lanes.len() > 1 {
        let (low, high) = lanes.split_at_mut(lanes.len() / 2);
        low.iter_mut().zip(high).for_each(|(x, y)| *x += *y);
        lanes = low;
    }
    lanes[0]
}

/// The twin of a kernel; the scalar kernel is its own.
fn twin_of<T: Component>(kernels: &Kernels, l2: bool, query: &[f32], row: &[T]) -> f32 {
    match kernels.name {
        #[cfg(target_arch = "x86_64")]
        "avx512" => twin::<{ super::avx512::LANES }, { super::avx512::SUMS }, T>(l2, query, row),
        #[cfg(target_arch = "x86_64")]
        "avx2" => twin::<{ super::avx2::LANES }, { super::avx2::SUMS }, T>(l2, query, row),
        #[cfg(target_arch = "aarch64")]
        "neon" => twin::<{ super::neon::LANES }, { super::neon::SUMS }, T>(l2, query, row),
        _ if l2 => (T::sums(&scalar::KERNELS).l2)(query, row),
        _ => (T::sums(&scalar::KERNELS).dot)(query, row),
    }
}

/// A query and four rows, of any length, at any address.
fn vectors() -> impl Strategy<Value = (Vec<f32>, Vec<Vec<f32>>)> {
    // Also what is subnormal, or nothing, as a half.
    let number = prop_oneof![8 => -100_f32..100.0, 1 => -1e-7_f32..1e-7, 1 => Just(0.0_f32)];
    (0_usize..300).prop_flat_map(move |dimension| {
        let row = prop::collection::vec(number.clone(), dimension + 1);
        (row.clone(), prop::collection::vec(row, 4))
    })
}

fn check<T: Component>(query: &[f32], rows: &[Vec<f32>]) -> Result<(), TestCaseError> {
    let query = &query[1..];
    let rows: Vec<Vec<T>> = rows.iter().map(|row| row.iter().map(|x| T::of(*x)).collect()).collect();
    let rows = [0, 1, 2, 3].map(|at| &rows[at][1..]);
    for kernels in Kernels::all() {
        let sums = T::sums(kernels);
        let name = format!("{} {}", kernels.name, T::PRECISION.name());
        for (l2, one, four) in [(false, sums.dot, sums.dot_of_four), (true, sums.l2, sums.l2_of_four)] {
            let alone = rows.map(|row| one(query, row));
            let together = four(query, rows);
            for (at, row) in rows.iter().enumerate() {
                prop_assert_eq!(alone[at].to_bits(), together[at].to_bits(), "{} four at once", &name);
                let twin = twin_of(kernels, l2, query, row);
                prop_assert_eq!(alone[at].to_bits(), twin.to_bits(), "{}: {} and {}", &name, alone[at], twin);
                let terms = query.iter().zip(*row).map(|(x, y)| {
                    let (x, y) = (f64::from(*x), f64::from(y.to_f32()));
                    if l2 { (x - y) * (x - y) } else { x * y }
                });
                let (exact, size) =
                    terms.fold((0.0, 0.0), |(sum, size), term| (sum + term, size + term.abs()));
                // The last summand: products below the smallest float vanish.
                let bound = (query.len() as f64 / 8.0 + 20.0) * size / f64::from(1 << 24) + 1e-38;
                let off = (f64::from(alone[at]) - exact).abs();
                prop_assert!(off <= bound, "{}: off by {}, {} is allowed", &name, off, bound);
            }
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn every_kernel_is_its_twin_and_near_the_exact_sum((query, rows) in vectors()) {
        check::<f32>(&query, &rows)?;
        check::<f16>(&query, &rows)?;
        check::<bf16>(&query, &rows)?;
    }
}

/// Every value a half can have, widened by the kernels as the crate does.
#[test]
fn every_half_is_widened_exactly() {
    fn check<T: Component>(of_bits: fn(u16) -> T) {
        let halves: Vec<T> = (0..=u16::MAX).map(of_bits).filter(|half| half.to_f32().is_finite()).collect();
        let mut numbers = vec![1.0; 7];
        T::widen(&halves, &mut numbers);
        assert!(numbers.iter().map(|x| x.to_bits()).eq(halves.iter().map(|half| half.to_f32().to_bits())));
        for kernels in Kernels::all() {
            for half in &halves {
                assert_eq!((T::sums(kernels).dot)(&[1.0], &[*half]), half.to_f32(), "{}", kernels.name);
            }
        }
    }
    check(f16::from_bits);
    check(bf16::from_bits);
}

#[test]
fn the_fastest_kernels_are_taken_and_the_scalar_ones_are_always_there() {
    let names: Vec<&str> = Kernels::all().map(|kernels| kernels.name).collect();
    assert_eq!(names.last(), Some(&"scalar"));
    assert_eq!(Kernels::detect().name, names[0]);
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx512bw") {
        assert_eq!(names, ["avx512", "avx2", "scalar"]);
    }
    #[cfg(target_arch = "aarch64")]
    assert_eq!(names, ["neon", "scalar"]);
}

#[test]
#[should_panic(expected = "equal length")]
fn unequal_lengths_are_a_bug_not_a_wild_read() {
    (Kernels::detect().f32.dot)(&[0.0; 32], &[0.0; 31]);
}
