//! AVX2 with fused multiply-add: eight floats per instruction, two sums per row in flight.
//!
//! One generic function serves one row and four rows, so a row's result cannot depend on how it was
//! grouped. Four rows use eight of the sixteen registers as sums and load the query once.

#![allow(unsafe_code)]

use std::arch::x86_64::{
    __m256, _MM_HINT_T0, _mm_add_ps, _mm_add_ss, _mm_cvtss_f32, _mm_movehl_ps, _mm_prefetch, _mm_shuffle_ps,
    _mm256_add_ps, _mm256_castps256_ps128, _mm256_extractf128_ps, _mm256_fmadd_ps, _mm256_loadu_ps,
    _mm256_setzero_ps, _mm256_sub_ps,
};

use super::Kernels;

/// Floats of one register.
const LANES: usize = 8;

/// Reached through [`kernels`] only.
const AVX2: Kernels = Kernels { dot, dot_of_four, l2, l2_of_four };

/// The kernels, when this processor has the instructions.
pub(super) fn kernels() -> Option<&'static Kernels> {
    (is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")).then_some(&AVX2)
}

/// Asks for all cache lines of a row.
pub(super) fn prefetch(row: &[f32]) {
    for line in row.chunks(16) {
        // SAFETY: a prefetch faults at no address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(line.as_ptr().cast()) };
    }
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    // SAFETY: `AVX2` is handed out by `kernels` alone, after the instructions were detected.
    let [dot] = unsafe { sums::<false, 1>(a, [b]) };
    dot
}

fn dot_of_four(query: &[f32], rows: [&[f32]; 4]) -> [f32; 4] {
    // SAFETY: as in `dot`.
    unsafe { sums::<false, 4>(query, rows) }
}

fn l2(a: &[f32], b: &[f32]) -> f32 {
    // SAFETY: as in `dot`.
    let [squares] = unsafe { sums::<true, 1>(a, [b]) };
    squares
}

fn l2_of_four(query: &[f32], rows: [&[f32]; 4]) -> [f32; 4] {
    // SAFETY: as in `dot`.
    unsafe { sums::<true, 4>(query, rows) }
}

/// Squared differences when `L2`, products when not.
#[target_feature(enable = "avx2,fma")]
fn sums<const L2: bool, const ROWS: usize>(query: &[f32], rows: [&[f32]; ROWS]) -> [f32; ROWS] {
    let length = query.len();
    for row in rows {
        assert_eq!(row.len(), length, "vectors of equal length");
    }
    let mut even = [_mm256_setzero_ps(); ROWS];
    let mut odd = [_mm256_setzero_ps(); ROWS];
    let mut at = 0;
    while at + 2 * LANES <= length {
        // SAFETY: `at + 2 * LANES <= length`, the length of the query and (asserted) of every row.
        unsafe {
            let x = load(query, at);
            let y = load(query, at + LANES);
            for row in 0..ROWS {
                even[row] = step::<L2>(even[row], x, load(rows[row], at));
                odd[row] = step::<L2>(odd[row], y, load(rows[row], at + LANES));
            }
        }
        at += 2 * LANES;
    }
    if at + LANES <= length {
        // SAFETY: `at + LANES <= length`, as above.
        unsafe {
            let x = load(query, at);
            for row in 0..ROWS {
                even[row] = step::<L2>(even[row], x, load(rows[row], at));
            }
        }
        at += LANES;
    }
    let mut results = [0.0; ROWS];
    for row in 0..ROWS {
        let mut sum = horizontal(_mm256_add_ps(even[row], odd[row]));
        for (x, y) in query[at..].iter().zip(&rows[row][at..]) {
            let (x, y) = if L2 { (x - y, x - y) } else { (*x, *y) };
            sum = x.mul_add(y, sum);
        }
        results[row] = sum;
    }
    results
}

/// Eight floats from `at`.
///
/// # Safety
/// `at + LANES <= floats.len()`.
#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn load(floats: &[f32], at: usize) -> __m256 {
    debug_assert!(at + LANES <= floats.len());
    // SAFETY: the caller's promise; the load needs no alignment.
    unsafe { _mm256_loadu_ps(floats.as_ptr().add(at)) }
}

#[inline]
#[target_feature(enable = "avx2,fma")]
fn step<const L2: bool>(sum: __m256, x: __m256, y: __m256) -> __m256 {
    if L2 {
        let difference = _mm256_sub_ps(x, y);
        return _mm256_fmadd_ps(difference, difference, sum);
    }
    _mm256_fmadd_ps(x, y, sum)
}

#[inline]
#[target_feature(enable = "avx2,fma")]
fn horizontal(lanes: __m256) -> f32 {
    let four = _mm_add_ps(_mm256_castps256_ps128(lanes), _mm256_extractf128_ps::<1>(lanes));
    let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps::<1>(two, two)))
}
