//! NEON, as every 64-bit ARM processor has it: four floats per instruction, four sums per row in flight.
//!
//! One generic function serves one row and four rows, as in `avx2`; four rows use sixteen of the thirty-two registers
//! as sums.
//!
//! Halves are widened by the instruction `fcvtl`, of every such processor too. The standard library has it
//! since Rust 1.94 only, so it is written in assembly here.

#![allow(unsafe_code)]

use std::arch::{
    aarch64::{
        float32x4_t, uint16x4_t, vadd_f32, vaddq_f32, vdupq_n_f32, vfmaq_f32, vget_high_f32, vget_low_f32,
        vld1_u16, vld1q_f32, vpadds_f32, vreinterpretq_f32_u32, vshll_n_u16, vsubq_f32,
    },
    asm, is_aarch64_feature_detected,
};

use half::{bf16, f16};

use super::{Component, Kernels, Sums, safe::safe_sums};

/// Floats of one register.
pub(super) const LANES: usize = 4;
/// Sums per row: whole blocks of [`LANES`] components take turns, the rest goes to the last.
pub(super) const SUMS: usize = 4;

/// Reached through [`kernels`] only.
const NEON: Kernels = Kernels { name: "neon", f32: sums(), f16: sums(), bf16: sums() };

/// The kernels, when this processor has the instructions.
pub(super) fn kernels() -> Option<&'static Kernels> {
    is_aarch64_feature_detected!("neon").then_some(&NEON)
}

safe_sums!();

/// Squared differences when `L2`, products when not.
#[target_feature(enable = "neon")]
fn score<const L2: bool, const ROWS: usize, T: Load>(query: &[f32], rows: [&[T]; ROWS]) -> [f32; ROWS] {
    let length = query.len();
    for row in rows {
        assert_eq!(row.len(), length, "vectors of equal length");
    }
    let mut sums = [[vdupq_n_f32(0.0); ROWS]; SUMS];
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
        let sums = sums.map(|sums| sums[row]);
        *result = horizontal(vaddq_f32(vaddq_f32(sums[0], sums[1]), vaddq_f32(sums[2], sums[3])));
    }
    results
}

/// One block of every row.
///
/// # Safety
/// The query and every row have `at + LANES` components or more.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn block<const L2: bool, const ROWS: usize, T: Load>(
    sums: &mut [float32x4_t; ROWS],
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
            let difference = vsubq_f32(x, y);
            vfmaq_f32(*sum, difference, difference)
        } else {
            vfmaq_f32(*sum, x, y)
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
#[target_feature(enable = "neon")]
fn horizontal(lanes: float32x4_t) -> f32 {
    vpadds_f32(vadd_f32(vget_low_f32(lanes), vget_high_f32(lanes)))
}

/// Components as floats in a register.
trait Load: Component {
    /// The four components that begin there, at any address.
    ///
    /// # Safety
    /// They can be read, and the processor has NEON.
    unsafe fn load(from: *const Self) -> float32x4_t;
}

impl Load for f32 {
    // SAFETY: as the trait asks of its callers.
    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn load(from: *const Self) -> float32x4_t {
        // SAFETY: the caller's promise; the load needs no alignment.
        unsafe { vld1q_f32(from) }
    }
}

impl Load for f16 {
    // SAFETY: as the trait asks of its callers.
    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn load(from: *const Self) -> float32x4_t {
        // SAFETY: the caller's promise, for four times 16 bits.
        let halves: uint16x4_t = unsafe { vld1_u16(from.cast()) };
        let floats;
        // SAFETY: reads one register and writes the other; floating-point status may change (so no `preserves_flags`).
        unsafe {
            asm!(
                "fcvtl {floats:v}.4s, {halves:v}.4h",
                floats = lateout(vreg) floats,
                halves = in(vreg) halves,
                options(pure, nomem, nostack)
            );
        }
        floats
    }
}

impl Load for bf16 {
    // SAFETY: as the trait asks of its callers.
    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn load(from: *const Self) -> float32x4_t {
        // SAFETY: the caller's promise, for four times 16 bits.
        let halves = unsafe { vld1_u16(from.cast()) };
        vreinterpretq_f32_u32(vshll_n_u16::<16>(halves))
    }
}
