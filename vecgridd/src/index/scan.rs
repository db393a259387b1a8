//! Which rows are eligible, and the exact search over them.
//!
//! Eligible = alive in the view ∧ has a vector (for searches) ∧ partition in the answer set ∧ filter.
//! The last two are evaluated row by row, once per search, into one word of bits per chunk. When
//! neither restricts anything, no bits are kept and chunks are asked directly.

use super::{
    distance::Measure,
    partition_set::PartitionSet,
    rows::{CHUNK, Chunk, Rows},
    top_k::TopK,
};
use crate::types::Filter;

/// What a row must have to be eligible.
#[derive(Clone, Copy)]
pub(super) struct Wanted<'a> {
    pub rows: &'a Rows,
    /// Operation of the view.
    pub now: u64,
    /// Only rows with a vector.
    pub vectors: bool,
    /// `None` = any.
    pub partitions: Option<&'a PartitionSet>,
    /// `None` = any.
    pub filter: Option<&'a Filter>,
}

impl<'a> Wanted<'a> {
    /// Whether being alive (with a vector) is all it takes.
    pub fn is_plain(&self) -> bool {
        self.partitions.is_none() && self.filter.is_none()
    }

    fn base(&self, chunk: &Chunk) -> u64 {
        let vectors = if self.vectors { chunk.with_vector() } else { u64::MAX };
        chunk.alive(self.now) & vectors
    }

    fn bits(&self, chunk: &Chunk) -> u64 {
        let mut bits = self.base(chunk);
        if let Some(partitions) = self.partitions {
            bits = keep(bits, |at| partitions.contains(chunk.row(at).partition));
        }
        if let Some(filter) = self.filter {
            bits = keep(bits, |at| filter.matches(chunk.row(at).metadata.fields()));
        }
        bits
    }

    /// Finds the eligible rows.
    pub fn select(self) -> Eligible<'a> {
        let bits = (!self.is_plain())
            .then(|| (0..self.rows.chunks()).map(|index| self.bits(self.rows.chunk(index))).collect());
        Eligible { wanted: self, bits }
    }
}

/// The eligible rows of one search.
pub(super) struct Eligible<'a> {
    wanted: Wanted<'a>,
    /// A word per chunk; `None` when nothing is restricted.
    bits: Option<Vec<u64>>,
}

impl<'a> Eligible<'a> {
    /// Whether nothing is restricted.
    pub fn is_plain(&self) -> bool {
        self.bits.is_none()
    }

    /// A bit per slot of the view, when something is restricted.
    pub fn words(&self) -> Option<&[u64]> {
        self.bits.as_deref()
    }

    fn chunk_bits(&self, index: usize) -> u64 {
        match &self.bits {
            Some(bits) => bits[index],
            None => self.wanted.base(self.wanted.rows.chunk(index)),
        }
    }

    /// Whether a slot of the view is eligible.
    pub fn contains(&self, slot: u32) -> bool {
        match &self.bits {
            Some(bits) => bits[slot as usize / CHUNK] >> (slot as usize % CHUNK) & 1 == 1,
            // Slots in question come from the graph: they have a vector.
            None => self.wanted.rows.is_alive(slot, self.wanted.now),
        }
    }

    /// How many are eligible below a slot.
    pub fn count_below(&self, slot: u32) -> usize {
        let (whole, rest) = (slot as usize / CHUNK, slot as usize % CHUNK);
        let count: usize = (0..whole).map(|index| self.chunk_bits(index).count_ones() as usize).sum();
        if rest == 0 {
            return count;
        }
        count + (self.chunk_bits(whole) & !(u64::MAX << rest)).count_ones() as usize
    }

    /// How many are eligible.
    pub fn count(&self) -> usize {
        self.count_below(self.wanted.rows.len())
    }

    /// The eligible slots, in order.
    pub fn slots(&self) -> impl Iterator<Item = u32> {
        let chunks = 0..self.wanted.rows.chunks();
        chunks.flat_map(|index| ones(self.chunk_bits(index)).map(move |at| (index * CHUNK + at) as u32))
    }

    /// Offers every eligible row from a slot on, with its exact distance.
    pub fn scan(&self, measure: Measure, dimension: usize, query: &[f32], from: u32, top: &mut TopK<'a>) {
        let (first, skipped) = (from as usize / CHUNK, from as usize % CHUNK);
        for index in first..self.wanted.rows.chunks() {
            let mut bits = self.chunk_bits(index);
            if index == first {
                bits &= u64::MAX << skipped;
            }
            let chunk = self.wanted.rows.chunk(index);
            let mut offer =
                |distance, at| top.offer(distance, &chunk.row(at).id, (index * CHUNK + at) as u32);
            let vector = |at| chunk.vector(at, dimension);
            let mut places = ones(bits);
            while let Some(a) = places.next() {
                let (b, c, d) = (places.next(), places.next(), places.next());
                if let (Some(b), Some(c), Some(d)) = (b, c, d) {
                    let four = [a, b, c, d];
                    let distances = measure.distances(query, four.map(vector));
                    distances.into_iter().zip(four).for_each(|(distance, at)| offer(distance, at));
                } else {
                    let rest = [Some(a), b, c].into_iter().flatten();
                    rest.for_each(|at| offer(measure.distance(query, vector(at)), at));
                }
            }
        }
    }
}

/// The bits whose places satisfy a test.
fn keep(bits: u64, test: impl Fn(usize) -> bool) -> u64 {
    ones(bits).filter(|at| test(*at)).fold(0, |kept, at| kept | 1 << at)
}

/// Places of the ones, in order.
fn ones(mut bits: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let at = (bits != 0).then(|| bits.trailing_zeros() as usize)?;
        bits &= bits - 1;
        Some(at)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ones_are_found_in_order() {
        assert_eq!(ones(0).count(), 0);
        assert_eq!(ones(1 << 63 | 0b101).collect::<Vec<_>>(), [0, 2, 63]);
        assert_eq!(ones(u64::MAX).count(), 64);
        assert_eq!(keep(0b1111, |at| at % 2 == 1), 0b1010);
    }
}
