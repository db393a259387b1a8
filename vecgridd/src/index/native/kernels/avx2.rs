//! AVX2 for dot products, the `popcnt` instruction for bits.
//!
//! Bits stay in general registers on purpose: counting them by table look-ups in vector registers,
//! which compilers choose when they may use AVX2, took twice as long (six words, Zen 3).

#![allow(unsafe_code)]

use std::arch::x86_64::{
    __m256i, _mm_add_epi32, _mm_cvtsi128_si32, _mm_shuffle_epi32, _mm256_abs_epi8, _mm256_add_epi16,
    _mm256_add_epi32, _mm256_and_si256, _mm256_castsi256_si128, _mm256_extracti128_si256, _mm256_loadu_si256,
    _mm256_madd_epi16, _mm256_maddubs_epi16, _mm256_set1_epi8, _mm256_set1_epi16, _mm256_set1_epi64x,
    _mm256_setzero_si256, _mm256_sign_epi8, _mm256_srli_epi16, _mm256_storeu_si256,
};

use super::{
    super::{
        arena::Arena,
        columns::{Columns, EIGHT},
        frame::Query,
        nibbles::BLOCK,
    },
    Kernels, Wide, scalar,
};

/// Bytes of one register.
const BYTES: usize = 32;

/// Reached through [`kernels`] only.
const AVX2: Kernels = Kernels { dots, whole_dots, leasts, leasts_of_eights, ranks_of_eights };

/// The kernels, when this processor has the instructions.
pub(super) fn kernels() -> Option<&'static Kernels> {
    (is_x86_feature_detected!("avx2") && is_x86_feature_detected!("popcnt")).then_some(&AVX2)
}

/// Does work with AVX2 where there is AVX2.
#[inline(always)]
pub(super) fn widest<W: Wide>(work: W) -> W::Done {
    if is_x86_feature_detected!("avx2") {
        // SAFETY: the instructions were detected.
        return unsafe { with_avx2(work) };
    }
    work.run()
}

#[target_feature(enable = "avx2")]
fn with_avx2<W: Wide>(work: W) -> W::Done {
    work.run()
}

fn dots(query: &[i8], rows: &Arena<u8>, slots: &[u32], out: &mut [i32]) {
    // SAFETY: `AVX2` is handed out by `kernels` alone, after the instructions were detected.
    unsafe { avx2_dots(query, rows, slots, out) }
}

fn whole_dots(query: &[i8], rows: &Arena<i8>, slots: &[u32], out: &mut [i32]) {
    // SAFETY: as in `dots`.
    unsafe { avx2_whole_dots(query, rows, slots, out) }
}

fn leasts(query: &Query, rows: &Arena<u64>, slots: &[u32], out: &mut [f32]) {
    // SAFETY: as in `dots`.
    unsafe { popcnt_leasts(query, rows, slots, out) }
}

fn leasts_of_eights(query: &Query, rows: &Columns, out: &mut [[f32; EIGHT]]) {
    // SAFETY: as in `dots`.
    unsafe { popcnt_leasts_of_eights(query, rows, out) }
}

fn ranks_of_eights(query: &Query, rows: &Columns, out: &mut [[f32; EIGHT]]) {
    // SAFETY: as in `dots`.
    unsafe { avx2_ranks_of_eights(query, rows, out) }
}

#[target_feature(enable = "avx2")]
fn avx2_ranks_of_eights(query: &Query, rows: &Columns, out: &mut [[f32; EIGHT]]) {
    assert_eq!(rows.words(), query.pairs.len(), "rows have half as many bytes as the query has numbers");
    for ((columns, offsets, scales), out) in rows.eights().zip(out) {
        let mut of_fours = [_mm256_setzero_si256(); 2];
        for (column, [low, high]) in columns.iter().zip(&query.pairs) {
            let (low, high) = (_mm256_set1_epi64x(low.cast_signed()), _mm256_set1_epi64x(high.cast_signed()));
            for (sum, four) in of_fours.iter_mut().zip(column.as_chunks::<4>().0) {
                // SAFETY: four words are 32 bytes.
                let bytes = unsafe { load(four.as_ptr().cast()) };
                *sum = _mm256_add_epi32(*sum, products(bytes, low, high));
            }
        }
        let mut sums = [[0; 2]; EIGHT];
        for (sum, lanes) in of_fours.iter().zip(sums.as_chunks_mut::<4>().0) {
            // SAFETY: a register of eight lanes fills four pairs of them.
            unsafe { _mm256_storeu_si256(lanes.as_mut_ptr().cast(), *sum) };
        }
        *out = scalar::ranks(query, sums.map(|[a, b]: [i32; 2]| a.wrapping_add(b)), offsets, scales);
    }
}

#[target_feature(enable = "popcnt")]
fn popcnt_leasts_of_eights(query: &Query, rows: &Columns, out: &mut [[f32; EIGHT]]) {
    scalar::leasts_of_eights_here(query, rows, out);
}

#[target_feature(enable = "popcnt")]
fn popcnt_leasts(query: &Query, rows: &Arena<u64>, slots: &[u32], out: &mut [f32]) {
    scalar::leasts_here(query, rows, slots, out);
}

#[target_feature(enable = "avx2")]
fn avx2_dots(query: &[i8], rows: &Arena<u8>, slots: &[u32], out: &mut [i32]) {
    assert_eq!(query.len() % 64, 0, "whole blocks of 64 numbers");
    for (slot, out) in slots.iter().zip(out) {
        let row = rows.get(*slot);
        assert_eq!(2 * row.len(), query.len(), "a row has half as many bytes as the query has numbers");
        let mut sum = _mm256_setzero_si256();
        let mut at = 0;
        while at < row.len() {
            // Of the block: its first number, and how many of its numbers are in lower halves of bytes.
            let first = at / (BLOCK / 2) * BLOCK;
            let half = ((query.len() - first) / 2).min(BLOCK / 2);
            let from = first + at % (BLOCK / 2);
            // SAFETY: rows are multiples of 32 bytes, so `at + 32 <= row.len()`; `from + 32 <= first +
            // half`, and `first + 2 half <= query.len()`.
            let (bytes, low, high) = unsafe {
                (
                    load(row.as_ptr().add(at)),
                    load(query.as_ptr().add(from).cast()),
                    load(query.as_ptr().add(from + half).cast()),
                )
            };
            sum = _mm256_add_epi32(sum, products(bytes, low, high));
            at += BYTES;
        }
        *out = horizontal(sum);
    }
}

#[target_feature(enable = "avx2")]
fn avx2_whole_dots(query: &[i8], rows: &Arena<i8>, slots: &[u32], out: &mut [i32]) {
    assert_eq!(query.len() % 64, 0, "whole blocks of 64 numbers");
    for (slot, out) in slots.iter().zip(out) {
        let row = rows.get(*slot);
        assert_eq!(row.len(), query.len(), "a row has as many numbers as the query");
        let mut sum = _mm256_setzero_si256();
        for (row, query) in row.as_chunks::<BYTES>().0.iter().zip(query.as_chunks::<BYTES>().0) {
            // SAFETY: both are of 32 bytes.
            let (row, query) = unsafe { (load(row.as_ptr().cast()), load(query.as_ptr().cast())) };
            // One side has to be without signs. A product is at most 127 · 127, so two of them fit 16 bits.
            let pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(row), _mm256_sign_epi8(query, row));
            sum = _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
        }
        *out = horizontal(sum);
    }
}

/// Sums of eight products each. A product is at most 15 · 128, so four of them fit 16 bits.
#[inline]
#[target_feature(enable = "avx2")]
fn products(bytes: __m256i, low: __m256i, high: __m256i) -> __m256i {
    let mask = _mm256_set1_epi8(15);
    let lower = _mm256_maddubs_epi16(_mm256_and_si256(bytes, mask), low);
    let upper = _mm256_maddubs_epi16(_mm256_and_si256(_mm256_srli_epi16::<4>(bytes), mask), high);
    _mm256_madd_epi16(_mm256_add_epi16(lower, upper), _mm256_set1_epi16(1))
}

/// 32 bytes.
///
/// # Safety
/// They can be read.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn load(from: *const u8) -> __m256i {
    // SAFETY: the caller's promise; the load needs no alignment.
    unsafe { _mm256_loadu_si256(from.cast()) }
}

#[inline]
#[target_feature(enable = "avx2")]
fn horizontal(lanes: __m256i) -> i32 {
    let four = _mm_add_epi32(_mm256_castsi256_si128(lanes), _mm256_extracti128_si256::<1>(lanes));
    let two = _mm_add_epi32(four, _mm_shuffle_epi32::<0b01_00_11_10>(four));
    _mm_cvtsi128_si32(_mm_add_epi32(two, _mm_shuffle_epi32::<0b10_11_00_01>(two)))
}
