//! Rows without the dead ones, in new memory, under new slot numbers.
//!
//! Copying takes long, as each row is linked anew, and the applier goes on meanwhile: so it is done piece by piece, until
//! little is left of what was appended since. Only the end runs under the owner's mutex: the last few rows, and
//! the deaths of rows that were copied alive.

use super::{chunk::Chunk, rows::Rows};

/// Of a slot that was dead when its turn came.
const NOWHERE: u32 = u32::MAX;

pub(super) struct Compaction {
    rows: Rows,
    /// New number of each old slot so far.
    numbers: Vec<u32>,
}

impl Compaction {
    /// Into rows of this kind, which must be empty.
    pub fn new(rows: Rows) -> Self {
        Self { rows, numbers: Vec::new() }
    }

    /// The compact rows so far.
    pub fn rows(&self) -> &Rows {
        &self.rows
    }

    /// Slots of the old rows that were looked at.
    pub fn seen(&self) -> u32 {
        self.numbers.len() as u32
    }

    /// These rows of the first full block in memory are elsewhere now.
    pub fn map(&mut self, chunks: Vec<Chunk>) {
        self.rows.map(chunks);
    }

    /// Copies the live ones of the next slots, at most so many, that were not looked at before; says
    /// whether there were any. `rows` must be the same rows as before, or later ones.
    pub fn copy(&mut self, rows: &Rows, slots: u32) -> bool {
        let mut next = self.rows.len();
        let from = self.numbers.len() as u32;
        let mut alive = Vec::new();
        let end = rows.len().min(from.saturating_add(slots));
        for slot in from..end {
            if rows.is_untouched(slot) {
                self.numbers.push(next);
                alive.push(slot);
                next += 1;
            } else {
                self.numbers.push(NOWHERE);
            }
        }
        self.rows.append(alive.into_iter().map(|slot| (rows.row(slot), rows.vector(slot))));
        from < end
    }

    /// Lets die, as of operation `now`, what died since it was copied. `rows` must be copied to the
    /// end, and nothing may die meanwhile.
    pub fn finish(self, rows: &Rows, now: u64) -> (Rows, Vec<u32>) {
        debug_assert_eq!(self.numbers.len(), rows.len() as usize);
        for (old, new) in (0..).zip(&self.numbers) {
            if *new != NOWHERE && !rows.is_untouched(old) {
                self.rows.kill(*new, now);
            }
        }
        (self.rows, self.numbers)
    }
}
