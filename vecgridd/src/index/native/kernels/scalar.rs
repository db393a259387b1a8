//! Plain loops: what the others must equal, and what machines without a kernel of their own use.

use super::Kernels;

pub(super) const KERNELS: Kernels = Kernels { dots, agreements };

fn dots(query: &[i8], rows: &[&[i8]], out: &mut [i32]) {
    for (row, out) in rows.iter().zip(out) {
        assert_eq!(row.len(), query.len(), "vectors of equal length");
        *out = query.iter().zip(*row).map(|(a, b)| i32::from(*a) * i32::from(*b)).sum();
    }
}

fn agreements(planes: &[u64], rows: &[&[u64]], out: &mut [i32]) {
    agree(planes, rows, out);
}

/// Bits that differ count -1 and others +1, times 2 for the first plane.
#[inline(always)]
pub(super) fn agree(planes: &[u64], rows: &[&[u64]], out: &mut [i32]) {
    let words = planes.len() / 2;
    let (first, second) = planes.split_at(words);
    for (row, out) in rows.iter().zip(out) {
        let row = &row[..words];
        let mut differ = [0_u32; 2];
        for ((row, first), second) in row.iter().zip(first).zip(second) {
            differ[0] += (row ^ first).count_ones();
            differ[1] += (row ^ second).count_ones();
        }
        let bits = (words * 64) as i32;
        *out = 2 * (bits - 2 * differ[0] as i32) + (bits - 2 * differ[1] as i32);
    }
}
