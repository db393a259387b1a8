//! AVX-512: VNNI for dot products, VPOPCNTDQ for bits.
//!
//! Four rows are in flight at a time, so that no row waits for another's additions, and their lanes are
//! added up together. A code of up to 384 bits, with what is kept beside it, is one register: two
//! differences, two counts.

#![allow(unsafe_code)]

use std::arch::x86_64::{
    __m128i, __m512i, _mm_add_epi32, _mm_add_ps, _mm_castps_si128, _mm_cvtepi32_ps, _mm_mul_ps,
    _mm_set1_epi32, _mm_set1_ps, _mm_setr_ps, _mm_slli_epi32, _mm_storeu_si128, _mm_sub_epi32, _mm_sub_ps,
    _mm256_add_epi32, _mm256_castsi256_si128, _mm256_extracti128_si256, _mm256_storeu_si256,
    _mm512_add_epi32, _mm512_add_epi64, _mm512_and_si512, _mm512_castsi512_si256, _mm512_cvtepi64_epi32,
    _mm512_dpbusd_epi32, _mm512_extracti64x4_epi64, _mm512_maskz_loadu_epi64, _mm512_popcnt_epi64,
    _mm512_set1_epi8, _mm512_set1_epi64, _mm512_setzero_si512, _mm512_slli_epi32, _mm512_srli_epi16,
    _mm512_srli_epi64, _mm512_sub_epi32, _mm512_unpackhi_epi32, _mm512_unpackhi_epi64, _mm512_unpacklo_epi32,
    _mm512_unpacklo_epi64, _mm512_xor_si512,
};

use super::{
    super::{
        arena::{Arena, Plain},
        columns::{Columns, EIGHT},
        frame::{Code, Query},
        nibbles::BLOCK,
    },
    Kernels, scalar,
};

/// Bytes of one register.
const BYTES: usize = 64;
/// Words of one register.
const WORDS: usize = 8;
/// Words of rows that lie side by side, in flight. There are a multiple of so many: they are of 64 numbers.
const TOGETHER: usize = 4;
/// Rows in flight.
const ROWS: usize = 4;

/// Reached through [`kernels`] only.
const AVX512: Kernels = Kernels { dots, whole_dots, leasts, leasts_of_eights, ranks_of_eights };

/// The kernels, when this processor has the instructions.
pub(super) fn kernels() -> Option<&'static Kernels> {
    (is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vnni")
        && is_x86_feature_detected!("avx512vpopcntdq"))
    .then_some(&AVX512)
}

fn dots(query: &[i8], rows: &Arena<u8>, slots: &[u32], out: &mut [i32]) {
    // SAFETY: `AVX512` is handed out by `kernels` alone, after the instructions were detected.
    unsafe { vnni_dots(query, rows, slots, out) }
}

fn whole_dots(query: &[i8], rows: &Arena<i8>, slots: &[u32], out: &mut [i32]) {
    // SAFETY: as in `dots`.
    unsafe { vnni_whole_dots(query, rows, slots, out) }
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
    unsafe { vnni_ranks_of_eights(query, rows, out) }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn vnni_ranks_of_eights(query: &Query, rows: &Columns, out: &mut [[f32; EIGHT]]) {
    assert_eq!(rows.words(), query.pairs.len(), "rows have half as many bytes as the query has numbers");
    let mask = _mm512_set1_epi8(15);
    for ((columns, offsets, scales), out) in rows.eights().zip(out) {
        // Each adds to its own sums, so that none waits for another's.
        let mut sums = [_mm512_setzero_si512(); 2 * TOGETHER];
        for (columns, pairs) in columns.as_chunks::<TOGETHER>().0.iter().zip(query.pairs.as_chunks().0) {
            let pairs: &[_; TOGETHER] = pairs;
            for (sums, (column, [low, high])) in
                sums.as_chunks_mut::<2>().0.iter_mut().zip(columns.iter().zip(pairs))
            {
                let column = words_of(column);
                let (low, high) =
                    (_mm512_set1_epi64(low.cast_signed()), _mm512_set1_epi64(high.cast_signed()));
                sums[0] = _mm512_dpbusd_epi32(sums[0], _mm512_and_si512(column, mask), low);
                let upper = _mm512_and_si512(_mm512_srli_epi16::<4>(column), mask);
                sums[1] = _mm512_dpbusd_epi32(sums[1], upper, high);
            }
        }
        // Two lanes of 32 bits per row.
        let [a, b, c, d, e, f, g, h] = sums;
        let (ab, cd, ef, gh) =
            (_mm512_add_epi32(a, b), _mm512_add_epi32(c, d), _mm512_add_epi32(e, f), _mm512_add_epi32(g, h));
        let sum = _mm512_add_epi32(_mm512_add_epi32(ab, cd), _mm512_add_epi32(ef, gh));
        let sum = _mm512_add_epi32(sum, _mm512_srli_epi64::<32>(sum));
        *out = scalar::ranks(query, low_halves(sum), offsets, scales);
    }
}

/// The lower half of each word.
#[inline]
#[target_feature(enable = "avx512f")]
fn low_halves(words: __m512i) -> [i32; EIGHT] {
    let mut halves = [0; EIGHT];
    // SAFETY: a register of eight halves fills it.
    unsafe { _mm256_storeu_si256(halves.as_mut_ptr().cast(), _mm512_cvtepi64_epi32(words)) };
    halves
}

#[target_feature(enable = "avx512f,avx512vpopcntdq")]
fn popcnt_leasts_of_eights(query: &Query, rows: &Columns, out: &mut [[f32; EIGHT]]) {
    let words = query.planes.len() / 2;
    let (first, second) = query.planes.split_at(words);
    let bits = (words * 64) as i32;
    for ((columns, offsets, reaches), out) in rows.eights().zip(out) {
        let mut sum = _mm512_setzero_si512();
        for ((column, x), y) in columns.iter().zip(first).zip(second) {
            let column = words_of(column);
            let once = _mm512_popcnt_epi64(_mm512_xor_si512(column, _mm512_set1_epi64(x.cast_signed())));
            let twice = _mm512_popcnt_epi64(_mm512_xor_si512(column, _mm512_set1_epi64(y.cast_signed())));
            sum = _mm512_add_epi64(sum, _mm512_add_epi64(_mm512_add_epi64(once, once), twice));
        }
        let rows = low_halves(sum).into_iter().zip(offsets.iter().zip(reaches));
        for (out, (differ, (offset, reach))) in out.iter_mut().zip(rows) {
            *out = query.least(*offset, *reach, agreement(bits, differ));
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn vnni_dots(query: &[i8], rows: &Arena<u8>, slots: &[u32], out: &mut [i32]) {
    assert_eq!(query.len() % 64, 0, "whole blocks of 64 numbers");
    let mask = _mm512_set1_epi8(15);
    for (slots, out) in slots.chunks(ROWS).zip(out.chunks_mut(ROWS)) {
        let four = records(rows, slots);
        for row in four {
            assert_eq!(2 * row.len(), query.len(), "a row has half as many bytes as the query has numbers");
        }
        let mut sums = [_mm512_setzero_si512(); ROWS];
        let mut at = 0;
        while at < query.len() {
            // A block of 64 numbers at the end fills half a register.
            let half = ((query.len() - at) / 2).min(BLOCK / 2);
            // SAFETY: `at + 2 half <= query.len()`; rows have half as many bytes.
            let (low, high) =
                unsafe { (bytes(query.as_ptr().add(at), half), bytes(query.as_ptr().add(at + half), half)) };
            for (sum, row) in sums.iter_mut().zip(four) {
                // SAFETY: as above.
                let x = unsafe { bytes(row.as_ptr().add(at / 2), half) };
                *sum = _mm512_dpbusd_epi32(*sum, _mm512_and_si512(x, mask), low);
                *sum = _mm512_dpbusd_epi32(*sum, _mm512_and_si512(_mm512_srli_epi16::<4>(x), mask), high);
            }
            at += 2 * half;
        }
        let mut products = [0; ROWS];
        store(&mut products, add_up(sums));
        out.iter_mut().zip(products).for_each(|(out, product)| *out = product);
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn vnni_whole_dots(query: &[i8], rows: &Arena<i8>, slots: &[u32], out: &mut [i32]) {
    let (query, rest) = query.as_chunks::<BYTES>();
    assert!(rest.is_empty(), "whole blocks of 64 numbers");
    // One side has to be without signs: 128 is added to the rows' numbers, and what that adds is taken away.
    let (ones, signs) = (_mm512_set1_epi8(1), _mm512_set1_epi8(i8::MIN));
    let mut total = _mm512_setzero_si512();
    for query in query {
        // SAFETY: 64 bytes are there.
        total = _mm512_dpbusd_epi32(total, ones, unsafe { bytes(query.as_ptr(), BYTES) });
    }
    let less = _mm512_sub_epi32(_mm512_setzero_si512(), _mm512_slli_epi32::<7>(total));
    for (slots, out) in slots.chunks(ROWS).zip(out.chunks_mut(ROWS)) {
        let four = records(rows, slots);
        for row in four {
            assert_eq!(row.len(), BYTES * query.len(), "a row has as many numbers as the query");
        }
        let mut sums = [less; ROWS];
        for (at, query) in query.iter().enumerate() {
            // SAFETY: 64 bytes are there.
            let query = unsafe { bytes(query.as_ptr(), BYTES) };
            for (sum, row) in sums.iter_mut().zip(four) {
                // SAFETY: the row is as long as the query.
                let row = unsafe { bytes(row.as_ptr().add(BYTES * at), BYTES) };
                *sum = _mm512_dpbusd_epi32(*sum, _mm512_xor_si512(row, signs), query);
            }
        }
        let mut products = [0; ROWS];
        store(&mut products, add_up(sums));
        out.iter_mut().zip(products).for_each(|(out, product)| *out = product);
    }
}

#[target_feature(enable = "avx512f,avx512vpopcntdq")]
fn popcnt_leasts(query: &Query, rows: &Arena<u64>, slots: &[u32], out: &mut [f32]) {
    let words = query.planes.len() / 2;
    let (first, second) = query.planes.split_at(words);
    let bits = (words * 64) as i32;
    for (slots, out) in slots.chunks(ROWS).zip(out.chunks_mut(ROWS)) {
        let four = records(rows, slots);
        let mut sums = [_mm512_setzero_si512(); ROWS];
        for at in (0..words).step_by(WORDS) {
            let x = words_of(&first[at..]);
            let y = words_of(&second[at..]);
            for (sum, row) in sums.iter_mut().zip(four) {
                let row = words_of(&row[at..words]);
                let once = _mm512_popcnt_epi64(_mm512_xor_si512(row, x));
                let twice = _mm512_popcnt_epi64(_mm512_xor_si512(row, y));
                *sum = _mm512_add_epi64(*sum, _mm512_add_epi64(_mm512_add_epi64(once, once), twice));
            }
        }
        // Counts are in the lower halves of words, and the upper ones are zero.
        let leasts = leasts_of(query, four.map(Code), bits, add_up(sums));
        out.iter_mut().zip(leasts).for_each(|(out, least)| *out = least);
    }
}

/// [`Query::least_rank`] of four rows by how many bits differ.
// All lanes are given. Left to the compiler, two lanes may be computed of numbers that are there by chance: the row's sum
// as a float is so small that each such product takes some hundred cycles, and a walk twice the time.
#[inline]
#[target_feature(enable = "avx512f")]
fn leasts_of(query: &Query, rows: [Code<'_>; ROWS], bits: i32, differences: __m128i) -> [f32; ROWS] {
    // As in `agreement`: bits that differ count -1 and others +1, times 2 for the first plane.
    let agreement = _mm_sub_epi32(_mm_set1_epi32(3 * bits), _mm_slli_epi32::<1>(differences));
    let agreement = _mm_add_ps(_mm_cvtepi32_ps(agreement), _mm_set1_ps(query.doubt));
    let [a, b, c, d] = rows.map(|row| row.reach());
    let per_agreement = _mm_mul_ps(_mm_set1_ps(query.per_agreement), _mm_setr_ps(a, b, c, d));
    let [a, b, c, d] = rows.map(|row| row.offset());
    let leasts = _mm_sub_ps(_mm_setr_ps(a, b, c, d), _mm_mul_ps(per_agreement, agreement));
    let mut out = [0.0; ROWS];
    store(&mut out, _mm_castps_si128(leasts));
    out
}

/// Far from overflowing, which is not checked: see decision 12.
#[inline(always)]
fn agreement(bits: i32, differences: i32) -> i32 {
    bits.wrapping_mul(3).wrapping_sub(differences.wrapping_mul(2))
}

/// Up to four records; the first one again for those that are missing.
#[inline(always)]
fn records<'a, T: Plain>(rows: &'a Arena<T>, slots: &[u32]) -> [&'a [T]; ROWS] {
    let first = slots.first().copied().unwrap_or_default();
    let at = |at: usize| rows.get(slots.get(at).copied().unwrap_or(first));
    [at(0), at(1), at(2), at(3)]
}

/// 64 or 32 bytes, and zeros.
///
/// # Safety
/// So many bytes can be read.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn bytes<T>(from: *const T, count: usize) -> __m512i {
    let mask = if count == 64 { u8::MAX } else { 0x0f };
    // SAFETY: the caller's promise; what the mask leaves out is not read, and no alignment is needed.
    unsafe { _mm512_maskz_loadu_epi64(mask, from.cast()) }
}

/// The first eight words, or as many as there are and zeros.
#[inline]
#[target_feature(enable = "avx512f")]
fn words_of(words: &[u64]) -> __m512i {
    let mask = if words.len() >= WORDS { u8::MAX } else { (1 << words.len()) - 1 };
    // SAFETY: words that the mask leaves out are not read.
    unsafe { _mm512_maskz_loadu_epi64(mask, words.as_ptr().cast()) }
}

/// The sum of the lanes of each.
#[inline]
#[target_feature(enable = "avx512f")]
fn add_up([a, b, c, d]: [__m512i; ROWS]) -> __m128i {
    let ab = _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
    let cd = _mm512_add_epi32(_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
    let all = _mm512_add_epi32(_mm512_unpacklo_epi64(ab, cd), _mm512_unpackhi_epi64(ab, cd));
    let half = _mm256_add_epi32(_mm512_castsi512_si256(all), _mm512_extracti64x4_epi64::<1>(all));
    _mm_add_epi32(_mm256_castsi256_si128(half), _mm256_extracti128_si256::<1>(half))
}

#[inline]
#[target_feature(enable = "avx512f")]
fn store<T>(to: &mut [T], from: __m128i) {
    assert_eq!(size_of_val(to), size_of::<__m128i>(), "room for one register");
    // SAFETY: the room is asserted; the store needs no alignment, and any bits are numbers.
    unsafe { _mm_storeu_si128(to.as_mut_ptr().cast(), from) }
}
