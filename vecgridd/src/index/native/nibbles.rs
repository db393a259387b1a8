//! The upper halves of whole numbers from -127 to 127: 4 bits of 8.
//!
//! A number is `16 upper + lower - 128`, both halves from 0 to 15. Upper halves alone give
//! the middles of the numbers they stand for, `8 (2 upper - 15)`, always an odd multiple of eight, so that
//! two vectors' middles have the same product from both sides.
//!
//! 128 numbers are 64 bytes: the lower four bits of a byte belong to the first 64, the upper four to the
//! last 64. A block of 64 at the end is 32 bytes in the same way. So a register of bytes becomes two
//! registers of numbers by a mask and a shift, in order.

use super::kernels::{Wide, widest};

/// Numbers that share an upper half.
pub(super) const STEP: f32 = 16.0;
/// Numbers of a block, but for one at the end.
pub(super) const BLOCK: usize = 128;

/// Bytes of a record of so many numbers, a multiple of 64.
pub(super) fn bytes(numbers: usize) -> usize {
    numbers / 2
}

/// The middle of the numbers that share the upper half of this one.
#[inline]
pub(super) fn middle_of(number: i8) -> i8 {
    (number & !15) | 8
}

/// The upper halves.
pub(super) fn pack(numbers: &[i8]) -> Vec<u8> {
    let bytes = numbers.chunks(BLOCK).flat_map(|block| {
        let (first, last) = block.split_at(block.len() / 2);
        // Adding 128 is turning the first bit.
        let upper = |x: i8| (x.cast_unsigned() ^ 0x80) >> 4;
        first.iter().zip(last).map(move |(a, b)| upper(*a) | upper(*b) << 4)
    });
    bytes.collect()
}

/// The middles of what upper halves stand for, as a query for other upper halves.
pub(super) fn middles(upper: &[u8], numbers: &mut Vec<i8>) {
    numbers.resize(2 * upper.len(), 0);
    widest(Middles { upper, numbers });
}

struct Middles<'a> {
    upper: &'a [u8],
    numbers: &'a mut [i8],
}

impl Wide for Middles<'_> {
    type Done = ();

    #[inline(always)]
    fn run(self) {
        // Bytes only, so that as many as a register holds are turned at once: 136 is -120.
        let middle = |half: u8| (half << 4).wrapping_add(136).cast_signed();
        for (block, numbers) in self.upper.chunks(BLOCK / 2).zip(self.numbers.chunks_mut(BLOCK)) {
            let (first, last) = numbers.split_at_mut(block.len());
            first.iter_mut().zip(block).for_each(|(number, byte)| *number = middle(byte & 15));
            last.iter_mut().zip(block).for_each(|(number, byte)| *number = middle(byte >> 4));
        }
    }
}

/// `Σ query · middle` from `Σ query · upper` and `Σ query`. Far from overflowing, which is not checked: see decision 12.
#[inline]
pub(super) fn coarse(upper: i32, query: i32) -> i32 {
    upper.wrapping_mul(16).wrapping_sub(query.wrapping_mul(120))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn halves_give_the_middles_back(numbers in (1_usize..8).prop_flat_map(|blocks| prop::collection::vec(-127_i8..=127, blocks * 64))) {
            let (upper, mut middles_of) = (pack(&numbers), Vec::new());
            prop_assert_eq!(upper.len(), bytes(numbers.len()));
            middles(&upper, &mut middles_of);
            prop_assert!(numbers.iter().zip(&middles_of).all(|(number, middle)| middle_of(*number) == *middle));
            prop_assert!(numbers.iter().zip(&middles_of).all(|(number, middle)| i32::from(*number).abs_diff(i32::from(*middle)) <= 8));
        }
    }
}
