//! Indexes of metadata fields, made by themselves: from a filter to a bitmap over slots.
//!
//! ```text
//! block 0        block 1        block 2 (being filled)          16,384 slots each, as in `rows`
//! Sealed ─┐      Sealed ─┐      Open (behind a lock)
//!   "pos" ├ values: number, string, true … → places             exact answers
//!         └ elements of arrays → places
//!   "text": too long: only that it is a string → maybe           decided on the row
//! ```
//!
//! What it promises: [`Fields::select`] gives two sets per block, `yes` and `maybe`; every row of
//! `yes` matches, every row that matches is in one of them, and whoever asks holds the filter
//! against the rows of `maybe`. So any part of an index may be missing, and answers stay exact.
//!
//! How: a row is added when it is appended and never changes, so an index only grows, and knows
//! nothing of deaths: those who ask know which rows they can see. The block being filled is indexed
//! row by row (`open`), behind a lock that is held for at most a chunk of rows; a reader may see
//! rows ahead of its view and masks them. A full block is turned into compact, immutable arrays
//! (`sealed`) that are read without a lock. `evaluate` holds a filter against either.
//!
//! A field is found as `types/filter` finds it: a key, or, through nested objects, keys between dots.
//!
//! Memory: a field that costs too much is left to the rows. Strings longer than [`MAX_WORD`] are
//! never kept; when the different strings of a field cost more than a few bytes per row, only their
//! order is (two bytes per row), and a search looks a few of them up in the rows; and the dearest
//! fields of a block are dropped until the rest is within the budget per row.
//!
//! What it leaves out: parts of strings (`$contains` reads the rows of fields with many different
//! strings), equality with whole arrays and objects (reads the rows that have one).

mod evaluate;
mod open;
mod sealed;
mod segment;
mod set;
#[cfg(test)]
mod tests;

use std::sync::{Arc, PoisonError, RwLock};

use serde::{Deserialize, Serialize};

pub(super) use self::{evaluate::Found, set::PLACES};
use self::{open::Open, sealed::Sealed, segment::Segment};
use super::packed::Packed;
use crate::types::Filter;

/// Longest string that is kept, in bytes: names, codes, dates and most addresses, but not texts.
const MAX_WORD: usize = 128;
/// Deepest path, in keys.
const MAX_PARTS: usize = 4;
/// Fields of a block; rows with others are asked themselves.
const MAX_FIELDS: usize = 256;
/// Longest name of a field, in bytes.
const MAX_NAME: usize = 256;
/// Elements of one array; those of a longer one are looked up in the row.
const MAX_ELEMENTS: usize = 256;
/// Memory of the block being filled; what comes after is looked up in the rows.
const MAX_OPEN_BYTES: usize = 16 << 20;

/// The indexes of a full block.
#[derive(Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct SealedFields(Segment<Sealed>);

/// Reads strings of rows.
pub(super) trait Texts {
    /// The string of a field at a place of the block.
    fn text(&self, field: &str, place: u16) -> Option<String>;
}

/// The indexes of all fields. A clone costs two `Arc`s and sees the blocks that were full.
#[derive(Clone)]
pub(super) struct Fields {
    /// Bytes per row; zero = no indexes.
    budget: usize,
    sealed: Arc<Vec<Arc<SealedFields>>>,
    sealed_bytes: u64,
    open: Arc<RwLock<Segment<Open>>>,
}

impl Fields {
    pub fn new(budget: usize) -> Self {
        Self { budget, sealed: Arc::default(), sealed_bytes: 0, open: Arc::default() }
    }

    /// These indexes of full blocks instead of none.
    pub fn restored(self, sealed: Vec<SealedFields>) -> Self {
        let sealed_bytes = sealed.iter().map(|SealedFields(segment)| segment.bytes() as u64).sum();
        Self { sealed: Arc::new(sealed.into_iter().map(Arc::new).collect()), sealed_bytes, ..self }
    }

    /// The indexes of a full block.
    pub fn sealed(&self, block: usize) -> Option<&SealedFields> {
        self.sealed.get(block).map(|segment| &**segment)
    }

    pub fn bytes(&self) -> u64 {
        // A lock held by a writer for a moment, or for ever by a panic: either way a figure is due.
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        self.sealed_bytes + open.bytes() as u64
    }

    /// Adds the rows at the end, in order; `first` is the place in its block of the first one.
    pub fn append<'a>(&self, first: u16, rows: impl Iterator<Item = Packed<'a>>) {
        if self.budget == 0 {
            return;
        }
        let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
        (first..).zip(rows).for_each(|(place, row)| open.add(place, row));
    }

    /// The block is full: the next row begins a new one.
    pub fn seal(&mut self) {
        let segment = match self.open.read() {
            Ok(open) if self.budget > 0 => open.seal(self.budget * PLACES),
            // Someone panicked half-way: what is in there is not to be trusted.
            _ => Segment::unknown(),
        };
        self.sealed_bytes += segment.bytes() as u64;
        Arc::make_mut(&mut self.sealed).push(Arc::new(SealedFields(segment)));
        // Older views keep the old one.
        self.open = Arc::default();
    }

    /// Which rows of a block match.
    pub fn select(&self, block: usize, filter: &Filter, texts: &dyn Texts) -> Found {
        if let Some(segment) = self.sealed.get(block) {
            return segment.0.evaluate(filter.root(), texts);
        }
        match self.open.read() {
            Ok(open) if self.budget > 0 => open.evaluate(filter.root(), texts),
            _ => Found::unknown(),
        }
    }
}
