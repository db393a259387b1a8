//! AVX2 with fused multiply-add, and F16C to widen halves: eight floats per instruction, two sums per row in flight.
//!
//! One generic function serves one row and four rows, so a row's result cannot depend on how it was
//! grouped. Four rows use eight of the sixteen registers as sums and load the query once.

#![allow(unsafe_code)]

use std::arch::x86_64::{
    __m256, _MM_HINT_T0, _mm_add_ps, _mm_add_ss, _mm_cvtss_f32, _mm_loadu_si128, _mm_movehl_ps, _mm_prefetch,
    _mm_shuffle_ps, _mm256_add_ps, _mm256_castps256_ps128, _mm256_castsi256_ps, _mm256_cvtepu16_epi32,
    _mm256_cvtph_ps, _mm256_extractf128_ps, _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_setzero_ps,
    _mm256_slli_epi32, _mm256_sub_ps,
};

use half::{bf16, f16};

use super::{Component, Kernels, Sums, safe::safe_sums};

/// Bytes of a cache line.
const LINE: usize = 64;
/// Floats of one register.
pub(super) const LANES: usize = 8;
/// Sums per row: whole blocks of [`LANES`] components take turns, the rest goes to the last.
pub(super) const SUMS: usize = 2;

/// Reached through [`kernels`] only.
const AVX2: Kernels = Kernels { name: "avx2", f32: sums(), f16: sums(), bf16: sums() };

/// The kernels, when this processor has the instructions.
pub(super) fn kernels() -> Option<&'static Kernels> {
    let known = is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("fma")
        && is_x86_feature_detected!("f16c");
    known.then_some(&AVX2)
}

/// Asks for all cache lines of these.
#[inline]
pub(super) fn prefetch<T>(items: &[T]) {
    let start = items.as_ptr().cast::<i8>();
    for at in (0..size_of_val(items)).step_by(LINE) {
        // SAFETY: a prefetch faults at no address; all x86-64 processors have it.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(start.wrapping_add(at)) };
    }
}

safe_sums!();

/// Squared differences when `L2`, products when not.
#[target_feature(enable = "avx2,fma,f16c")]
fn score<const L2: bool, const ROWS: usize, T: Load>(query: &[f32], rows: [&[T]; ROWS]) -> [f32; ROWS] {
    let length = query.len();
    for row in rows {
        assert_eq!(row.len(), length, "vectors of equal length");
    }
    let mut sums = [[_mm256_setzero_ps(); ROWS]; SUMS];
    let mut at = 0;
    while at + SUMS * LANES <= length {
        for (part, sums) in sums.iter_mut().enumerate() {
            // SAFETY: the block ends at or before `length`, the length of the query and (asserted) of every row.
            unsafe { block::<L2, ROWS, T>(sums, query, rows, at + part * LANES) };
        }
        at += SUMS * LANES;
    }
    for sums in &mut sums[..SUMS - 1] {
        if at + LANES <= length {
            // SAFETY: as above.
            unsafe { block::<L2, ROWS, T>(sums, query, rows, at) };
            at += LANES;
        }
    }
    if at < length {
        let rest = rows.map(|row| padded(&row[at..]));
        // SAFETY: the copies are one block long.
        unsafe {
            block::<L2, ROWS, T>(
                &mut sums[SUMS - 1],
                &padded(&query[at..]),
                rest.each_ref().map(|row| &row[..]),
                0,
            )
        };
    }
    let mut results = [0.0; ROWS];
    for (row, result) in results.iter_mut().enumerate() {
        *result = horizontal(_mm256_add_ps(sums[0][row], sums[1][row]));
    }
    results
}

/// One block of every row.
///
/// # Safety
/// The query and every row have `at + LANES` components or more.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn block<const L2: bool, const ROWS: usize, T: Load>(
    sums: &mut [__m256; ROWS],
    query: &[f32],
    rows: [&[T]; ROWS],
    at: usize,
) {
    debug_assert!(at + LANES <= query.len());
    // SAFETY: the caller's promise; the instructions are those of this function.
    let x = unsafe { f32::load(query.as_ptr().add(at)) };
    for (sum, row) in sums.iter_mut().zip(rows) {
        // SAFETY: as above.
        let y = unsafe { T::load(row.as_ptr().add(at)) };
        *sum = if L2 {
            let difference = _mm256_sub_ps(x, y);
            _mm256_fmadd_ps(difference, difference, *sum)
        } else {
            _mm256_fmadd_ps(x, y, *sum)
        };
    }
}

/// Up to one block, with zeros behind: they add nothing.
#[inline]
fn padded<T: Component>(rest: &[T]) -> [T; LANES] {
    let mut block = [T::default(); LANES];
    block[..rest.len()].copy_from_slice(rest);
    block
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn horizontal(lanes: __m256) -> f32 {
    let four = _mm_add_ps(_mm256_castps256_ps128(lanes), _mm256_extractf128_ps::<1>(lanes));
    let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps::<1>(two, two)))
}

/// Components as floats in a register.
trait Load: Component {
    /// The eight components that begin there, at any address.
    ///
    /// # Safety
    /// They can be read, and the processor has AVX2 and F16C.
    unsafe fn load(from: *const Self) -> __m256;
}

impl Load for f32 {
    // SAFETY: as the trait asks of its callers.
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn load(from: *const Self) -> __m256 {
        // SAFETY: the caller's promise; the load needs no alignment.
        unsafe { _mm256_loadu_ps(from) }
    }
}

impl Load for f16 {
    // SAFETY: as the trait asks of its callers.
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn load(from: *const Self) -> __m256 {
        // SAFETY: the caller's promise; the load needs no alignment.
        _mm256_cvtph_ps(unsafe { _mm_loadu_si128(from.cast()) })
    }
}

impl Load for bf16 {
    // SAFETY: as the trait asks of its callers.
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn load(from: *const Self) -> __m256 {
        // SAFETY: the caller's promise; the load needs no alignment.
        let halves = unsafe { _mm_loadu_si128(from.cast()) };
        _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(halves)))
    }
}
