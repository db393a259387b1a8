//! A full block of rows, with what searches ask of many of its chunks side by side.
//!
//! A chunk is several pieces of memory, one behind the other: to learn of a chunk that all its rows live takes three
//! reads that wait for each other, and to find a vector four. A search with a narrow filter asks that of a chunk per
//! row. So a full block, which never changes but for its deaths, keeps the answers in one place, and chunks are only
//! looked at where the short answer is not enough.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use super::{
    chunk::{Chunk, Side},
    rows::BLOCK,
};

/// See the module.
pub(super) struct FullBlock {
    chunks: Vec<Arc<Chunk>>,
    /// Per chunk: the first death of any of its rows. Shared by all forms of a block.
    first_deaths: Arc<[AtomicU64]>,
    /// The vectors of all rows, if each has one, side by side.
    vectors: Option<Side>,
}

impl FullBlock {
    /// From [`BLOCK`] full chunks. Nothing may die meanwhile.
    pub fn new(chunks: Vec<Arc<Chunk>>) -> Self {
        debug_assert_eq!(chunks.len(), BLOCK);
        let first_deaths = chunks.iter().map(|chunk| AtomicU64::new(chunk.first_death())).collect();
        let vectors = Side::of(&chunks);
        Self { chunks, first_deaths, vectors }
    }

    /// The same rows, dying together with these, elsewhere.
    pub fn moved(&self, chunks: Vec<Arc<Chunk>>) -> Self {
        let vectors = Side::of(&chunks);
        Self { chunks, first_deaths: Arc::clone(&self.first_deaths), vectors }
    }

    pub fn chunks(&self) -> &[Arc<Chunk>] {
        &self.chunks
    }

    /// Bits of the rows of a chunk that live in a view of operation `now`.
    #[inline]
    pub fn alive(&self, chunk: usize, now: u64) -> u64 {
        // Relaxed is enough, as in `deaths`.
        if self.first_deaths[chunk].load(Relaxed) > now { u64::MAX } else { self.chunks[chunk].alive(now) }
    }

    /// Whether a row of a chunk lives in a view of operation `now`.
    #[inline]
    pub fn is_alive(&self, chunk: usize, at: usize, now: u64) -> bool {
        self.first_deaths[chunk].load(Relaxed) > now || self.chunks[chunk].is_alive(at, now)
    }

    /// Bits of the rows of a chunk that have a vector.
    #[inline]
    pub fn with_vector(&self, chunk: usize) -> u64 {
        if self.vectors.is_some() { u64::MAX } else { self.chunks[chunk].with_vector() }
    }

    /// A row dies for every view from operation `now` on.
    pub fn kill(&self, chunk: usize, at: usize, now: u64) {
        self.chunks[chunk].kill(at, now);
        self.first_deaths[chunk].fetch_min(now, Relaxed);
    }

    /// The vector at a place of the block, when all are side by side.
    #[inline]
    pub fn vector(&self, place: usize, dimension: usize) -> Option<&[f32]> {
        self.vectors.as_ref().map(|side| side.vector(place, dimension))
    }
}
