//! What is kept of each point: its vector in a few bytes, and its code. All of it is relative to one centre.
//!
//! Links are elsewhere (`graph`), and are the same whatever the centre is. So when a collection has outgrown its centre
//! (`index/centre.rs`) there are new records beside the old, and then in their place; the graph stays as it is.
//!
//! ```text
//! recentre ─▶ new records of all points ─▶ swap ─▶ walks from now on
//!                                           └──▶ the old ones, as long as a walk that began before is under way
//! ```
//!
//! **A walk has one set of records from its start to the last rank that is made for it**: a query, its ranks and their
//! slack are of one centre. So a walk that began before a swap goes on with the old records, while links change under
//! it; and it may be led to a point that was added after the swap. Therefore whoever adds a point fills its record in
//! *all* sets that anyone may read, before the first link to it is made.
//!
//! Why that is enough:
//!
//! - Which sets may be read? The current one, and each that a walk took before it was replaced. `ArcSwap::swap` returns
//!   when every walk that got the old set is counted among its owners, and afterwards nobody gets it anew. So from then
//!   on its owners only go away (walks, and what they brought), and a `Weak` that cannot be upgraded once says that there
//!   is no reader left, for good. The thread that swaps is the one that hands out rows to insert, so it sees its own
//!   swap, and no row is inserted while records are made or swapped.
//! - Is a record written before it is read? It is filled in all sets, then linked: links are stored with Release and
//!   loaded with Acquire (`graph`), so who finds a link finds the record behind it and the memory that it is in, in
//!   whichever of the sets. That is the rule of the arena, for each of them.
//! - And points from before the swap? Their records are in the new set before the swap, which walks see with Acquire. A
//!   search that is told that a point is in the graph (a sift is told so by its view) takes its records after that, and
//!   views are published after the insert: so it has that set, or a later one.

#![allow(unsafe_code)]

use std::{
    fmt, io,
    sync::{Arc, Weak},
};

use super::{
    arena::{Arena, Stored},
    frame::{Code, EXTRA_WORDS, Frame},
    vectors::Vectors,
};

/// See the module.
pub(in crate::index) struct Records {
    frame: Frame,
    vectors: Vectors,
    codes: Arena<u64>,
}

impl Records {
    /// Of no points yet.
    pub(super) fn new(frame: Frame, expected: usize) -> Self {
        let vectors = Vectors::new(&frame, expected);
        let codes = Arena::new(frame.words() + EXTRA_WORDS, expected);
        Self { frame, vectors, codes }
    }

    /// How they are made, and compared.
    #[inline]
    pub(super) fn frame(&self) -> &Frame {
        &self.frame
    }

    #[inline]
    pub(super) fn vectors(&self) -> &Vectors {
        &self.vectors
    }

    #[inline]
    pub(super) fn codes(&self) -> &Arena<u64> {
        &self.codes
    }

    #[inline]
    pub(super) fn code(&self, slot: u32) -> Code<'_> {
        Code(self.codes.get(slot))
    }

    /// Makes room for points below this.
    pub(super) fn make_room(&self, end: u32) -> io::Result<()> {
        let Some(last) = end.checked_sub(1) else { return Ok(()) };
        self.vectors.reserve(last)?;
        self.codes.reserve(last)
    }

    /// Adds a point. Until this returns nobody but the caller may know the slot, or nobody but the caller these records.
    pub(super) fn add(&self, slot: u32, vector: &[f32]) -> io::Result<()> {
        self.make_room(slot + 1)?;
        let encoded = self.frame.encode(vector);
        // SAFETY: walks get slots from links, and this one has none yet; or there are no walks with these records yet.
        unsafe {
            self.vectors.fill(slot, &encoded.own);
            self.codes.fill(slot, &encoded.code);
        }
        Ok(())
    }

    /// Everything that is stored of them besides the centre.
    pub(super) fn arenas(&self) -> Vec<(&'static str, &dyn Stored)> {
        let codes: (_, &dyn Stored) = ("codes", &self.codes);
        self.vectors.arenas().into_iter().chain([codes]).collect()
    }

    /// As [`arenas`](Self::arenas), to be filled.
    pub(super) fn arenas_mut(&mut self) -> Vec<(&'static str, &mut dyn Stored)> {
        let codes: (_, &mut dyn Stored) = ("codes", &mut self.codes);
        self.vectors.arenas_mut().into_iter().chain([codes]).collect()
    }

    pub(super) fn bytes(&self) -> u64 {
        self.arenas().iter().map(|(_, arena)| arena.bytes()).sum()
    }
}

/// What walks bring is shown, too, but not this.
impl fmt::Debug for Records {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Records").finish_non_exhaustive()
    }
}

/// Records that were replaced.
#[derive(Default)]
pub(super) struct Former(Vec<Weak<Records>>);

impl Former {
    pub fn push(&mut self, records: &Arc<Records>) {
        self.0.push(Arc::downgrade(records));
    }

    /// Those that a walk may still read; the others are forgotten.
    pub fn in_use(&mut self) -> Vec<Arc<Records>> {
        let in_use: Vec<_> = self.0.iter().filter_map(Weak::upgrade).collect();
        self.0.retain(|records| records.strong_count() > 0);
        in_use
    }
}
