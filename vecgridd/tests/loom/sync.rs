//! Loom's atomics and locks, under the names of `vecgridd/src/index/sync.rs`.

use std::array;

use loom::cell::UnsafeCell;
pub use loom::sync::{
    Mutex,
    atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering},
};

/// Slots that are told apart, and chunks.
const SLOTS: usize = 7;
const CHUNKS: usize = 2;

/// A cell for each slot and chunk that loom watches, because it cannot see plain memory.
pub struct Watch {
    slots: [UnsafeCell<()>; SLOTS],
    chunks: [UnsafeCell<()>; CHUNKS],
}

// SAFETY: there is nothing in the cells; that they are used from several threads is what they are for.
#[allow(unsafe_code)]
unsafe impl Sync for Watch {}

impl Watch {
    pub fn new() -> Self {
        let cell = |_| UnsafeCell::new(());
        Self { slots: array::from_fn(cell), chunks: array::from_fn(cell) }
    }

    pub fn made(&self, chunk: usize) {
        self.chunks[chunk % CHUNKS].with_mut(|_| ());
    }

    pub fn used(&self, chunk: usize) {
        self.chunks[chunk % CHUNKS].with(|_| ());
    }

    pub fn wrote(&self, slot: u32) {
        self.slots[slot as usize % SLOTS].with_mut(|_| ());
    }

    pub fn read(&self, slot: u32) {
        self.slots[slot as usize % SLOTS].with(|_| ());
    }
}
