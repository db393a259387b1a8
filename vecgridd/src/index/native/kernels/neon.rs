//! NEON, as every 64-bit ARM processor has it.
//!
//! The instruction that is made for this, `sdot`, is not in the stable standard library. Without it products
//! are added up in 16 bits, where those of a whole block fit, so that only one addition in sixteen widens.
//!
//! Bits are counted per byte, of sixteen bytes at a time.

#![allow(unsafe_code)]

use std::arch::{
    aarch64::{
        int8x16_t, uint8x16_t, vaddq_u8, vaddvq_s32, vaddvq_u32, vandq_u8, vcntq_u8, vdupq_n_s16,
        vdupq_n_s32, vdupq_n_u8, vdupq_n_u32, veorq_u8, vget_low_s8, vld1q_s8, vld1q_u8, vmlal_high_s8,
        vmlal_s8, vmull_high_s8, vmull_s8, vpadalq_s16, vpadalq_u16, vpaddlq_u8, vreinterpretq_s8_u8,
        vshrq_n_u8,
    },
    is_aarch64_feature_detected,
};

use super::{
    super::{
        arena::Arena,
        columns::{Columns, EIGHT},
        frame::{Code, Query},
        nibbles::BLOCK,
    },
    Kernels, scalar,
};

/// Bytes of one register.
const BYTES: usize = 16;

/// Reached through [`kernels`] only.
const NEON: Kernels = Kernels { dots, whole_dots, leasts, leasts_of_eights, ranks_of_eights };

/// The kernels, when this processor has the instructions.
pub(super) fn kernels() -> Option<&'static Kernels> {
    is_aarch64_feature_detected!("neon").then_some(&NEON)
}

fn dots(query: &[i8], rows: &Arena<u8>, slots: &[u32], out: &mut [i32]) {
    // SAFETY: `NEON` is handed out by `kernels` alone, after the instructions were detected.
    unsafe { neon_dots(query, rows, slots, out) }
}

fn whole_dots(query: &[i8], rows: &Arena<i8>, slots: &[u32], out: &mut [i32]) {
    // SAFETY: as in `dots`.
    unsafe { neon_whole_dots(query, rows, slots, out) }
}

fn leasts(query: &Query, rows: &Arena<u64>, slots: &[u32], out: &mut [f32]) {
    // SAFETY: as in `dots`.
    unsafe { neon_leasts(query, rows, slots, out) }
}

/// Compilers count bits with NEON by themselves.
fn leasts_of_eights(query: &Query, rows: &Columns, out: &mut [[f32; EIGHT]]) {
    scalar::leasts_of_eights_here(query, rows, out);
}

fn ranks_of_eights(query: &Query, rows: &Columns, out: &mut [[f32; EIGHT]]) {
    // SAFETY: as in `dots`.
    unsafe { neon_ranks_of_eights(query, rows, out) }
}

#[target_feature(enable = "neon")]
fn neon_ranks_of_eights(query: &Query, rows: &Columns, out: &mut [[f32; EIGHT]]) {
    assert_eq!(rows.words(), query.pairs.len(), "rows have half as many bytes as the query has numbers");
    let mask = vdupq_n_u8(15);
    for ((columns, offsets, scales), out) in rows.eights().zip(out) {
        let mut sums = [vdupq_n_s32(0); EIGHT];
        for (column, [low, high]) in columns.iter().zip(&query.pairs) {
            // The eight numbers twice: for two rows.
            let (low, high) =
                (vreinterpretq_s8_u8(two_words(&[*low; 2])), vreinterpretq_s8_u8(two_words(&[*high; 2])));
            for (sums, two) in sums.as_chunks_mut::<2>().0.iter_mut().zip(column.as_chunks().0) {
                let two = two_words(two);
                let lower = vreinterpretq_s8_u8(vandq_u8(two, mask));
                let upper = vreinterpretq_s8_u8(vshrq_n_u8::<4>(two));
                let first = vmlal_s8(
                    vmull_s8(vget_low_s8(lower), vget_low_s8(low)),
                    vget_low_s8(upper),
                    vget_low_s8(high),
                );
                let second = vmlal_high_s8(vmull_high_s8(lower, low), upper, high);
                sums[0] = vpadalq_s16(sums[0], first);
                sums[1] = vpadalq_s16(sums[1], second);
            }
        }
        *out = scalar::ranks(query, sums.map(|sum| vaddvq_s32(sum)), offsets, scales);
    }
}

#[target_feature(enable = "neon")]
fn neon_dots(query: &[i8], rows: &Arena<u8>, slots: &[u32], out: &mut [i32]) {
    assert_eq!(query.len() % 64, 0, "whole blocks of 64 numbers");
    let mask = vdupq_n_u8(15);
    for (slot, out) in slots.iter().zip(out) {
        let row = rows.get(*slot);
        assert_eq!(2 * row.len(), query.len(), "a row has half as many bytes as the query has numbers");
        let mut sum = vdupq_n_s32(0);
        for (query, row) in query.chunks(BLOCK).zip(row.chunks(BLOCK / 2)) {
            // Lower halves of bytes go with the first half of the block, upper ones with the last.
            let (first, last) = query.split_at(row.len());
            let registers = row.as_chunks().0.iter().zip(first.as_chunks().0.iter().zip(last.as_chunks().0));
            // A product is at most 15 · 128, and a lane gets sixteen of a block: 30,720.
            let mut products = vdupq_n_s16(0);
            for (row, (first, last)) in registers {
                let (row, first, last) = (bytes(row), numbers(first), numbers(last));
                let lower = vreinterpretq_s8_u8(vandq_u8(row, mask));
                let upper = vreinterpretq_s8_u8(vshrq_n_u8::<4>(row));
                products = vmlal_s8(products, vget_low_s8(lower), vget_low_s8(first));
                products = vmlal_high_s8(products, lower, first);
                products = vmlal_s8(products, vget_low_s8(upper), vget_low_s8(last));
                products = vmlal_high_s8(products, upper, last);
            }
            sum = vpadalq_s16(sum, products);
        }
        *out = vaddvq_s32(sum);
    }
}

#[target_feature(enable = "neon")]
fn neon_whole_dots(query: &[i8], rows: &Arena<i8>, slots: &[u32], out: &mut [i32]) {
    assert_eq!(query.len() % 64, 0, "whole blocks of 64 numbers");
    for (slot, out) in slots.iter().zip(out) {
        let row = rows.get(*slot);
        assert_eq!(row.len(), query.len(), "a row has as many numbers as the query");
        let mut sum = vdupq_n_s32(0);
        for (row, query) in row.as_chunks().0.iter().zip(query.as_chunks().0) {
            let (row, query) = (numbers(row), numbers(query));
            // A product is at most 127 · 127, so two of them fit 16 bits.
            let pairs = vmull_s8(vget_low_s8(row), vget_low_s8(query));
            sum = vpadalq_s16(sum, vmlal_high_s8(pairs, row, query));
        }
        *out = vaddvq_s32(sum);
    }
}

#[target_feature(enable = "neon")]
fn neon_leasts(query: &Query, rows: &Arena<u64>, slots: &[u32], out: &mut [f32]) {
    let words = query.planes.len() / 2;
    let (first, second) = query.planes.split_at(words);
    let (firsts, first_rest) = first.as_chunks();
    let (seconds, second_rest) = second.as_chunks();
    let bits = (words * 64) as i32;
    for (slot, out) in slots.iter().zip(out) {
        let row = rows.get(*slot);
        let (pairs, rest) = row[..words].as_chunks();
        let mut sum = vdupq_n_u32(0);
        for (row, (first, second)) in pairs.iter().zip(firsts.iter().zip(seconds)) {
            let row = two_words(row);
            let once = vcntq_u8(veorq_u8(row, two_words(first)));
            let twice = vcntq_u8(veorq_u8(row, two_words(second)));
            // At most 24 per byte.
            let differ = vaddq_u8(vaddq_u8(once, once), twice);
            sum = vpadalq_u16(sum, vpaddlq_u8(differ));
        }
        let mut differ = vaddvq_u32(sum);
        for (row, (first, second)) in rest.iter().zip(first_rest.iter().zip(second_rest)) {
            differ += 2 * (row ^ first).count_ones() + (row ^ second).count_ones();
        }
        // Bits that differ count -1 and others +1, times 2 for the first plane.
        *out = query.least_rank(Code(row), 3 * bits - 2 * differ as i32);
    }
}

#[inline]
#[target_feature(enable = "neon")]
fn bytes(from: &[u8; BYTES]) -> uint8x16_t {
    // SAFETY: sixteen bytes are there; the load needs no alignment.
    unsafe { vld1q_u8(from.as_ptr()) }
}

#[inline]
#[target_feature(enable = "neon")]
fn numbers(from: &[i8; BYTES]) -> int8x16_t {
    // SAFETY: as in `bytes`.
    unsafe { vld1q_s8(from.as_ptr()) }
}

/// Two words as bytes, which one is which does not matter.
#[inline]
#[target_feature(enable = "neon")]
fn two_words(from: &[u64; 2]) -> uint8x16_t {
    // SAFETY: as in `bytes`.
    unsafe { vld1q_u8(from.as_ptr().cast()) }
}
