//! Codes of rows that are looked at one after the other: side by side, and turned, eight rows at a time.
//!
//! Of eight rows the first words follow each other, then the second ones, and so on. So a register has a word of each
//! of eight rows, their differences from the query are counted in as many lanes, and nothing is added up across lanes
//! (as in the fast scan of André, Kermarrec and Le Scouarnec, VLDB 2015, and FAISS).

use super::frame::Code;

/// Rows that lie together.
pub(super) const EIGHT: usize = 8;

/// See the module.
pub(super) struct Columns {
    /// Words of bits per code.
    words: usize,
    /// Per eight rows: their first words, their second ones, …
    bits: Vec<[u64; EIGHT]>,
    offsets: Vec<[f32; EIGHT]>,
    reaches: Vec<[f32; EIGHT]>,
}

impl Columns {
    /// Of these codes, of so many words of bits each, in their order. What is missing of the last eight is zero.
    pub fn new<'a>(words: usize, codes: impl ExactSizeIterator<Item = Code<'a>>) -> Self {
        let eights = codes.len().div_ceil(EIGHT);
        let mut columns = Self {
            words,
            bits: vec![[0; EIGHT]; eights * words],
            offsets: vec![[0.0; EIGHT]; eights],
            reaches: vec![[0.0; EIGHT]; eights],
        };
        for (row, code) in codes.enumerate() {
            let (eight, lane) = (row / EIGHT, row % EIGHT);
            for (column, word) in columns.bits[eight * words..].iter_mut().zip(&code.0[..words]) {
                column[lane] = *word;
            }
            columns.offsets[eight][lane] = code.offset();
            columns.reaches[eight][lane] = code.reach();
        }
        columns
    }

    /// Memory.
    pub fn bytes(&self) -> usize {
        size_of_val(&*self.bits) + size_of_val(&*self.offsets) + size_of_val(&*self.reaches)
    }

    /// The words, offsets and reaches of some eights, from one on.
    #[inline(always)]
    pub fn eights(
        &self,
        from: usize,
    ) -> impl Iterator<Item = (&[[u64; EIGHT]], &[f32; EIGHT], &[f32; EIGHT])> {
        let bits = self.bits[from * self.words..].chunks_exact(self.words);
        let rest = self.offsets[from..].iter().zip(&self.reaches[from..]);
        bits.zip(rest).map(|(bits, (offsets, reaches))| (bits, offsets, reaches))
    }
}
