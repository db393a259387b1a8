//! Codes of rows that are looked at one after the other, or the upper halves of their numbers: side by side, and turned,
//! eight rows at a time.
//!
//! Of eight rows the first words follow each other, then the second ones, and so on. So a register has a word of each
//! of eight rows, what it makes with the query is summed in as many lanes, and nothing is added up across lanes
//! (as in the fast scan of André, Kermarrec and Le Scouarnec, VLDB 2015, and FAISS).

use super::frame::Code;

/// Rows that lie together.
pub(super) const EIGHT: usize = 8;

/// See the module.
pub(super) struct Columns {
    /// Words per row.
    words: usize,
    /// Per eight rows: their first words, their second ones, …
    columns: Vec<[u64; EIGHT]>,
    offsets: Vec<[f32; EIGHT]>,
    /// What a sum over words counts for: the reach of a code, the scale of numbers.
    factors: Vec<[f32; EIGHT]>,
}

impl Columns {
    /// Of these codes, of so many words of bits each, in their order.
    pub fn of_codes<'a>(words: usize, codes: impl ExactSizeIterator<Item = Code<'a>>) -> Self {
        let rows = codes.map(|code| (code.0[..words].iter().copied(), code.offset(), code.reach()));
        Self::new(words, rows)
    }

    /// Of these upper halves, of so many bytes each and as `nibbles` packs them, with the codes of their rows.
    pub fn of_halves<'a>(bytes: usize, rows: impl ExactSizeIterator<Item = (&'a [u8], Code<'a>)>) -> Self {
        let rows = rows.map(|(halves, code)| {
            let words = halves.as_chunks().0.iter().map(|bytes| u64::from_le_bytes(*bytes));
            (words, code.offset(), code.scale())
        });
        Self::new(bytes / size_of::<u64>(), rows)
    }

    /// What is missing of the last eight is zero.
    fn new(words: usize, rows: impl ExactSizeIterator<Item = (impl Iterator<Item = u64>, f32, f32)>) -> Self {
        let eights = rows.len().div_ceil(EIGHT);
        let mut columns = Self {
            words,
            columns: vec![[0; EIGHT]; eights * words],
            offsets: vec![[0.0; EIGHT]; eights],
            factors: vec![[0.0; EIGHT]; eights],
        };
        for (row, (of_row, offset, factor)) in rows.enumerate() {
            let (eight, lane) = (row / EIGHT, row % EIGHT);
            for (column, word) in columns.columns[eight * words..][..words].iter_mut().zip(of_row) {
                column[lane] = word;
            }
            columns.offsets[eight][lane] = offset;
            columns.factors[eight][lane] = factor;
        }
        columns
    }

    /// Words per row.
    pub fn words(&self) -> usize {
        self.words
    }

    /// Memory.
    pub fn bytes(&self) -> usize {
        size_of_val(&*self.columns) + size_of_val(&*self.offsets) + size_of_val(&*self.factors)
    }

    /// The words, offsets and factors of each eight.
    #[inline(always)]
    pub fn eights(&self) -> impl Iterator<Item = (&[[u64; EIGHT]], &[f32; EIGHT], &[f32; EIGHT])> {
        let columns = self.columns.chunks_exact(self.words);
        let rest = self.offsets.iter().zip(&self.factors);
        columns.zip(rest).map(|(columns, (offsets, factors))| (columns, offsets, factors))
    }
}
