//! Which rows are eligible, and the exact search over them.
//!
//! Eligible = alive in the view ∧ has a vector (for searches) ∧ partition in the answer set ∧ filter.
//! This is found out once per search, into one word of bits per chunk: the filter by the indexes of
//! metadata (`fields`), and by the row itself where those are not sure. When neither answer set nor
//! filter restricts anything, no bits are kept and chunks are asked directly.

use super::{
    chunk::{CHUNK, Chunk},
    distance::Measure,
    partition_set::PartitionSet,
    rows::{BLOCK, Rows},
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

    /// Alive, with a vector if need be, and in the answer set.
    fn here(&self, chunk: &Chunk) -> u64 {
        let bits = self.base(chunk);
        match self.partitions {
            Some(partitions) => keep(bits, |at| partitions.contains(chunk.partition(at))),
            None => bits,
        }
    }

    /// Finds the eligible rows.
    pub fn select(self) -> Eligible<'a> {
        let (bits, held) = match self.filter {
            None if self.is_plain() => (None, 0),
            None => {
                (Some((0..self.rows.chunks()).map(|index| self.here(self.rows.chunk(index))).collect()), 0)
            }
            Some(filter) => {
                let (bits, held) = self.hold(filter);
                (Some(bits), held)
            }
        };
        Eligible { wanted: self, bits, held }
    }

    /// The rows that match, and how many had to be looked at for it. The filter comes first: most chunks have no row
    /// that matches a narrow one, and are not touched.
    fn hold(&self, filter: &Filter) -> (Vec<u64>, usize) {
        let (keys, chunks) = (filter.keys(), self.rows.chunks());
        let (mut bits, mut held) = (Vec::with_capacity(chunks), 0);
        for block in 0..chunks.div_ceil(BLOCK) {
            let found = self.rows.select(block, filter);
            let words = found.yes.words().iter().zip(found.maybe.words());
            for ((yes, maybe), index) in words.zip(block * BLOCK..chunks) {
                if yes | maybe == 0 {
                    bits.push(0);
                    continue;
                }
                let chunk = self.rows.chunk(index);
                let here = self.here(chunk);
                let unsure = here & maybe & !yes;
                held += unsure.count_ones() as usize;
                let fields = |at| chunk.row(at).metadata.fields(keys.iter().copied());
                bits.push(here & yes | keep(unsure, |at| filter.matches(&fields(at))));
            }
        }
        (bits, held)
    }
}

/// The eligible rows of one search.
pub(super) struct Eligible<'a> {
    wanted: Wanted<'a>,
    /// A word per chunk; `None` when nothing is restricted.
    bits: Option<Vec<u64>>,
    /// Rows that the filter was held against, one by one.
    held: usize,
}

impl<'a> Eligible<'a> {
    /// Whether nothing is restricted.
    pub fn is_plain(&self) -> bool {
        self.bits.is_none()
    }

    /// Rows that the filter was held against, one by one.
    pub fn held(&self) -> usize {
        self.held
    }

    /// A word per chunk; `None` when nothing is restricted.
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
        let rows = self.wanted.rows;
        self.each(measure, dimension, query, from, |distance, slot| {
            top.offer(distance, slot, || rows.id(slot))
        });
    }

    /// Tells the exact distance of every eligible row from a slot on.
    pub fn each(
        &self,
        measure: Measure,
        dimension: usize,
        query: &[f32],
        from: u32,
        mut tell: impl FnMut(f32, u32),
    ) {
        let (first, skipped) = (from as usize / CHUNK, from as usize % CHUNK);
        for index in first..self.wanted.rows.chunks() {
            let mut bits = self.chunk_bits(index);
            if index == first {
                bits &= u64::MAX << skipped;
            }
            if bits == 0 {
                continue;
            }
            let chunk = self.wanted.rows.chunk(index);
            let mut tell = |distance, at| tell(distance, (index * CHUNK + at) as u32);
            let vector = |at| chunk.vector(at, dimension);
            let mut places = ones(bits);
            while let Some(a) = places.next() {
                let (b, c, d) = (places.next(), places.next(), places.next());
                if let (Some(b), Some(c), Some(d)) = (b, c, d) {
                    let four = [a, b, c, d];
                    let distances = measure.distances(query, four.map(vector));
                    distances.into_iter().zip(four).for_each(|(distance, at)| tell(distance, at));
                } else {
                    let rest = [Some(a), b, c].into_iter().flatten();
                    rest.for_each(|at| tell(measure.distance(query, vector(at)), at));
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
pub(super) fn ones(mut bits: u64) -> impl Iterator<Item = usize> {
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
