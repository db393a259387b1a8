//! AVX2 for dot products, the `popcnt` instruction for bits.
//!
//! Bits stay in general registers on purpose: counting them by table look-ups in vector registers,
//! which compilers choose when they may use AVX2, took twice as long (six words, Zen 3).

#![allow(unsafe_code)]

use std::arch::x86_64::{
    __m256i, _mm_add_epi32, _mm_cvtsi128_si32, _mm_shuffle_epi32, _mm256_abs_epi8, _mm256_add_epi32,
    _mm256_castsi256_si128, _mm256_extracti128_si256, _mm256_loadu_si256, _mm256_madd_epi16,
    _mm256_maddubs_epi16, _mm256_set1_epi16, _mm256_setzero_si256, _mm256_sign_epi8,
};

use super::{Kernels, scalar};

/// Reached through [`kernels`] only.
const AVX2: Kernels = Kernels { dots, agreements };

/// The kernels, when this processor has the instructions.
pub(super) fn kernels() -> Option<&'static Kernels> {
    (is_x86_feature_detected!("avx2") && is_x86_feature_detected!("popcnt")).then_some(&AVX2)
}

fn dots(query: &[i8], rows: &[&[i8]], out: &mut [i32]) {
    // SAFETY: `AVX2` is handed out by `kernels` alone, after the instructions were detected.
    unsafe { avx2_dots(query, rows, out) }
}

fn agreements(planes: &[u64], rows: &[&[u64]], out: &mut [i32]) {
    // SAFETY: as in `dots`.
    unsafe { popcnt_agreements(planes, rows, out) }
}

#[target_feature(enable = "popcnt")]
fn popcnt_agreements(planes: &[u64], rows: &[&[u64]], out: &mut [i32]) {
    scalar::agree(planes, rows, out);
}

#[target_feature(enable = "avx2")]
fn avx2_dots(query: &[i8], rows: &[&[i8]], out: &mut [i32]) {
    assert_eq!(query.len() % 64, 0, "whole blocks of 64 numbers");
    for (row, out) in rows.iter().zip(out) {
        assert_eq!(row.len(), query.len(), "vectors of equal length");
        let mut even = _mm256_setzero_si256();
        let mut odd = _mm256_setzero_si256();
        let mut at = 0;
        while at < query.len() {
            // SAFETY: `at + 64 <= query.len()`, which is the length of the row too.
            let (x, y) = unsafe { (load(query, at), load(query, at + 32)) };
            // SAFETY: as above.
            let (a, b) = unsafe { (load(row, at), load(row, at + 32)) };
            even = _mm256_add_epi32(even, products(x, a));
            odd = _mm256_add_epi32(odd, products(y, b));
            at += 64;
        }
        *out = horizontal(_mm256_add_epi32(even, odd));
    }
}

/// Sums of four neighbouring products. Numbers are -127 to 127, so two products fit 16 bits, and -128,
/// whose absolute value does not fit, never occurs.
#[inline]
#[target_feature(enable = "avx2")]
fn products(x: __m256i, y: __m256i) -> __m256i {
    let pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(x), _mm256_sign_epi8(y, x));
    _mm256_madd_epi16(pairs, _mm256_set1_epi16(1))
}

/// 32 numbers from `at`.
///
/// # Safety
/// `at + 32 <= numbers.len()`.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn load(numbers: &[i8], at: usize) -> __m256i {
    debug_assert!(at + 32 <= numbers.len());
    // SAFETY: the caller's promise; the load needs no alignment.
    unsafe { _mm256_loadu_si256(numbers.as_ptr().add(at).cast()) }
}

#[inline]
#[target_feature(enable = "avx2")]
fn horizontal(lanes: __m256i) -> i32 {
    let four = _mm_add_epi32(_mm256_castsi256_si128(lanes), _mm256_extracti128_si256::<1>(lanes));
    let two = _mm_add_epi32(four, _mm_shuffle_epi32::<0b01_00_11_10>(four));
    _mm_cvtsi128_si32(_mm_add_epi32(two, _mm_shuffle_epi32::<0b10_11_00_01>(two)))
}
