//! When the rows of a chunk died, for everyone who looks at it.
//!
//! Shared by all copies of a chunk, and the only thing in it that changes under searches. A row is killed once, by the
//! operation that replaces or deletes it, before the view of that operation is published; so a look that came
//! by that view sees the death, and one that came by an older view does not mind whether it does.
//! `tests/loom` proves it by trying all orders.

use super::{
    chunk::CHUNK,
    sync::{AtomicU64, Ordering::Relaxed},
};

/// Of a row that lives.
const NEVER: u64 = u64::MAX;

/// When rows died.
pub(super) struct Deaths {
    /// The first death of any, so that a chunk without deaths costs one look.
    first: AtomicU64,
    /// Per row: the operation that killed it.
    each: [AtomicU64; CHUNK],
}

impl Deaths {
    /// All live.
    pub fn new() -> Self {
        Self { first: AtomicU64::new(NEVER), each: std::array::from_fn(|_| AtomicU64::new(NEVER)) }
    }

    /// Bits of the places that live in a view of operation `now`.
    pub fn alive(&self, now: u64) -> u64 {
        // Relaxed is enough: a view that must see a death was published after it.
        if self.first.load(Relaxed) > now {
            return u64::MAX;
        }
        let bit = |(at, died): (usize, &AtomicU64)| u64::from(died.load(Relaxed) > now) << at;
        self.each.iter().enumerate().map(bit).fold(0, |bits, bit| bits | bit)
    }

    /// Operation of the first death; no operation has this number when there was none.
    pub fn first(&self) -> u64 {
        self.first.load(Relaxed)
    }

    pub fn is_alive(&self, at: usize, now: u64) -> bool {
        self.first.load(Relaxed) > now || self.each[at].load(Relaxed) > now
    }

    /// The row at a place dies for every view from operation `now` on.
    pub fn kill(&self, at: usize, now: u64) {
        self.each[at].store(now, Relaxed);
        self.first.fetch_min(now, Relaxed);
    }
}
