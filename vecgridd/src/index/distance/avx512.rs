//! AVX-512: sixteen floats per instruction, four sums per row in flight, masked loads for the rest.
//!
//! One generic function serves one row and four rows, as in `avx2`; four rows use sixteen of the thirty-two registers
//! as sums.
//!
//! Rows of `bf16` are widened, not multiplied by the instructions of AVX512_BF16: those take both sides as `bf16`, so a
//! query would be rounded to 8 bits, and they round and flush in ways of their own that no twin could follow.

#![allow(unsafe_code)]

use std::arch::x86_64::{
    __m512, __mmask16, _mm256_add_ps, _mm256_loadu_si256, _mm256_maskz_loadu_epi16, _mm512_add_ps,
    _mm512_castps512_ps256, _mm512_castsi512_ps, _mm512_cvtepu16_epi32, _mm512_cvtph_ps,
    _mm512_extractf32x8_ps, _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_maskz_loadu_ps, _mm512_setzero_ps,
    _mm512_slli_epi32, _mm512_sub_ps,
};

use half::{bf16, f16};

use super::{Component, Kernels, Sums, avx2, safe::safe_sums};

/// Floats of one register.
pub(super) const LANES: usize = 16;
/// Sums per row: whole blocks of [`LANES`] components take turns, the rest goes to the last.
pub(super) const SUMS: usize = 4;

/// Reached through [`kernels`] only.
const AVX512: Kernels = Kernels { name: "avx512", f32: sums(), f16: sums(), bf16: sums() };

/// The kernels, when this processor has the instructions.
pub(super) fn kernels() -> Option<&'static Kernels> {
    let known = is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vl");
    // Only for `horizontal`; every processor with the others has them.
    (known && avx2::kernels().is_some()).then_some(&AVX512)
}

safe_sums!();

/// Squared differences when `L2`, products when not.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
fn score<const L2: bool, const ROWS: usize, T: Load>(query: &[f32], rows: [&[T]; ROWS]) -> [f32; ROWS] {
    let length = query.len();
    for row in rows {
        assert_eq!(row.len(), length, "vectors of equal length");
    }
    let mut sums = [[_mm512_setzero_ps(); ROWS]; SUMS];
    let mut at = 0;
    while at + SUMS * LANES <= length {
        for (part, sums) in sums.iter_mut().enumerate() {
            // SAFETY: the block ends at or before `length`, the length of the query and (asserted) of every row.
            unsafe { block::<L2, false, ROWS, T>(sums, query, rows, at + part * LANES) };
        }
        at += SUMS * LANES;
    }
    for sums in &mut sums[..SUMS - 1] {
        if at + LANES <= length {
            // SAFETY: as above.
            unsafe { block::<L2, false, ROWS, T>(sums, query, rows, at) };
            at += LANES;
        }
    }
    if at < length {
        // SAFETY: fewer than `LANES` components are left in the query and every row.
        unsafe { block::<L2, true, ROWS, T>(&mut sums[SUMS - 1], query, rows, at) };
    }
    let mut results = [0.0; ROWS];
    for (row, result) in results.iter_mut().enumerate() {
        let sums = sums.map(|sums| sums[row]);
        let all = _mm512_add_ps(_mm512_add_ps(sums[0], sums[1]), _mm512_add_ps(sums[2], sums[3]));
        *result =
            avx2::horizontal(_mm256_add_ps(_mm512_castps512_ps256(all), _mm512_extractf32x8_ps::<1>(all)));
    }
    results
}

/// One block of every row; the last one, with zeros behind, when `REST`.
///
/// # Safety
/// The query and every row have `at + LANES` components or more; or, when `REST`, fewer, but more than `at`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn block<const L2: bool, const REST: bool, const ROWS: usize, T: Load>(
    sums: &mut [__m512; ROWS],
    query: &[f32],
    rows: [&[T]; ROWS],
    at: usize,
) {
    let mask = if REST { (1 << (query.len() - at)) - 1 } else { __mmask16::MAX };
    debug_assert!(at + mask.count_ones() as usize <= query.len());
    // SAFETY: the caller's promise; the instructions are those of this function.
    let x = unsafe { component::<REST, f32>(query, at, mask) };
    for (sum, row) in sums.iter_mut().zip(rows) {
        // SAFETY: as above.
        let y = unsafe { component::<REST, T>(row, at, mask) };
        *sum = if L2 {
            let difference = _mm512_sub_ps(x, y);
            _mm512_fmadd_ps(difference, difference, *sum)
        } else {
            _mm512_fmadd_ps(x, y, *sum)
        };
    }
}

/// # Safety
/// As many components as `mask` has bits can be read from `at` on; sixteen when not `REST`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn component<const REST: bool, T: Load>(row: &[T], at: usize, mask: __mmask16) -> __m512 {
    // SAFETY: the caller's promise; the instructions are those of this function.
    unsafe {
        let from = row.as_ptr().add(at);
        if REST { T::load_some(mask, from) } else { T::load(from) }
    }
}

/// Components as floats in a register.
trait Load: Component {
    /// The sixteen components that begin there, at any address.
    ///
    /// # Safety
    /// They can be read, and the processor has AVX-512 F, BW, DQ and VL.
    unsafe fn load(from: *const Self) -> __m512;

    /// Those with a bit in the mask, and zeros.
    ///
    /// # Safety
    /// As in [`load`](Self::load), but only those with a bit need be readable.
    unsafe fn load_some(mask: __mmask16, from: *const Self) -> __m512;
}

impl Load for f32 {
    // SAFETY: as the trait asks of its callers.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    unsafe fn load(from: *const Self) -> __m512 {
        // SAFETY: the caller's promise; the load needs no alignment.
        unsafe { _mm512_loadu_ps(from) }
    }

    // SAFETY: as the trait asks of its callers.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    unsafe fn load_some(mask: __mmask16, from: *const Self) -> __m512 {
        // SAFETY: the caller's promise; what the mask leaves out is not read.
        unsafe { _mm512_maskz_loadu_ps(mask, from) }
    }
}

impl Load for f16 {
    // SAFETY: as the trait asks of its callers.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    unsafe fn load(from: *const Self) -> __m512 {
        // SAFETY: the caller's promise; the load needs no alignment.
        _mm512_cvtph_ps(unsafe { _mm256_loadu_si256(from.cast()) })
    }

    // SAFETY: as the trait asks of its callers.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    unsafe fn load_some(mask: __mmask16, from: *const Self) -> __m512 {
        // SAFETY: the caller's promise; what the mask leaves out is not read.
        _mm512_cvtph_ps(unsafe { _mm256_maskz_loadu_epi16(mask, from.cast()) })
    }
}

impl Load for bf16 {
    // SAFETY: as the trait asks of its callers.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    unsafe fn load(from: *const Self) -> __m512 {
        // SAFETY: the caller's promise; the load needs no alignment.
        let halves = unsafe { _mm256_loadu_si256(from.cast()) };
        _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(halves)))
    }

    // SAFETY: as the trait asks of its callers.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    unsafe fn load_some(mask: __mmask16, from: *const Self) -> __m512 {
        // SAFETY: the caller's promise; what the mask leaves out is not read.
        let halves = unsafe { _mm256_maskz_loadu_epi16(mask, from.cast()) };
        _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(halves)))
    }
}
