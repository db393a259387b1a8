//! Plain loops: what the others must equal, and what machines without a kernel of their own use.

use super::{
    super::{
        arena::Arena,
        columns::{Columns, EIGHT},
        frame::{Code, Query},
        nibbles::{self, BLOCK},
    },
    Kernels,
};

pub(super) const KERNELS: Kernels = Kernels { dots, whole_dots, leasts, leasts_of_eights, ranks_of_eights };

fn dots(query: &[i8], rows: &Arena<u8>, slots: &[u32], out: &mut [i32]) {
    for (slot, out) in slots.iter().zip(out) {
        let row = rows.get(*slot);
        assert_eq!(2 * row.len(), query.len(), "a row has half as many bytes as the query has numbers");
        let blocks = query.chunks(BLOCK).zip(row.chunks(BLOCK / 2));
        let sums = blocks.map(|(query, row)| {
            let (first, last) = query.split_at(row.len());
            let products = row.iter().zip(first.iter().zip(last)).map(|(byte, (a, b))| {
                i32::from(*a) * i32::from(byte & 15) + i32::from(*b) * i32::from(byte >> 4)
            });
            products.sum::<i32>()
        });
        *out = sums.sum();
    }
}

fn whole_dots(query: &[i8], rows: &Arena<i8>, slots: &[u32], out: &mut [i32]) {
    for (slot, out) in slots.iter().zip(out) {
        let row = rows.get(*slot);
        assert_eq!(row.len(), query.len(), "a row has as many numbers as the query");
        *out = query.iter().zip(row).map(|(a, b)| i32::from(*a) * i32::from(*b)).sum();
    }
}

fn leasts(query: &Query, rows: &Arena<u64>, slots: &[u32], out: &mut [f32]) {
    leasts_here(query, rows, slots, out);
}

/// Bits that differ count -1 and others +1, times 2 for the first plane.
#[inline(always)]
pub(super) fn leasts_here(query: &Query, rows: &Arena<u64>, slots: &[u32], out: &mut [f32]) {
    let words = query.planes.len() / 2;
    let (first, second) = query.planes.split_at(words);
    for (slot, out) in slots.iter().zip(out) {
        let row = rows.get(*slot);
        let mut differ = [0_u32; 2];
        for ((row, first), second) in row[..words].iter().zip(first).zip(second) {
            differ[0] += (row ^ first).count_ones();
            differ[1] += (row ^ second).count_ones();
        }
        let bits = (words * 64) as i32;
        let agreement = 2 * (bits - 2 * differ[0] as i32) + (bits - 2 * differ[1] as i32);
        *out = query.least_rank(Code(row), agreement);
    }
}

fn leasts_of_eights(query: &Query, rows: &Columns, out: &mut [[f32; EIGHT]]) {
    leasts_of_eights_here(query, rows, out);
}

/// As [`leasts_here`].
#[inline(always)]
pub(super) fn leasts_of_eights_here(query: &Query, rows: &Columns, out: &mut [[f32; EIGHT]]) {
    let words = query.planes.len() / 2;
    let (first, second) = query.planes.split_at(words);
    let bits = (words * 64) as i32;
    for ((columns, offsets, reaches), out) in rows.eights().zip(out) {
        let mut differ = [0_u32; EIGHT];
        for ((column, first), second) in columns.iter().zip(first).zip(second) {
            for (differ, word) in differ.iter_mut().zip(column) {
                *differ += 2 * (word ^ first).count_ones() + (word ^ second).count_ones();
            }
        }
        let rows = differ.iter().zip(offsets.iter().zip(reaches));
        for (out, (differ, (offset, reach))) in out.iter_mut().zip(rows) {
            *out = query.least(*offset, *reach, 3 * bits - 2 * *differ as i32);
        }
    }
}

fn ranks_of_eights(query: &Query, rows: &Columns, out: &mut [[f32; EIGHT]]) {
    assert_eq!(rows.words(), query.pairs.len(), "rows have half as many bytes as the query has numbers");
    for ((columns, offsets, scales), out) in rows.eights().zip(out) {
        let mut sums = [0; EIGHT];
        for (column, [low, high]) in columns.iter().zip(&query.pairs) {
            for (sum, word) in sums.iter_mut().zip(column) {
                let pairs = low.to_le_bytes().into_iter().zip(high.to_le_bytes());
                let products = word.to_le_bytes().into_iter().zip(pairs).map(|(byte, (a, b))| {
                    i32::from(a.cast_signed()) * i32::from(byte & 15)
                        + i32::from(b.cast_signed()) * i32::from(byte >> 4)
                });
                *sum += products.sum::<i32>();
            }
        }
        *out = ranks(query, sums, offsets, scales);
    }
}

/// From sums over the upper halves of eight rows to their ranks.
#[inline(always)]
pub(super) fn ranks(
    query: &Query,
    sums: [i32; EIGHT],
    offsets: &[f32; EIGHT],
    scales: &[f32; EIGHT],
) -> [f32; EIGHT] {
    let mut ranks = [0.0; EIGHT];
    for (rank, (sum, (offset, scale))) in
        ranks.iter_mut().zip(sums.into_iter().zip(offsets.iter().zip(scales)))
    {
        *rank = query.rank_of(*offset, *scale, nibbles::coarse(sum, query.own.sum) as f32);
    }
    ranks
}
