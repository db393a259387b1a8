//! Loom's atomics and locks, under the names of `vecgridd/src/index/sync.rs`.

use std::array;

pub use loom::sync::{
    Mutex,
    atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering},
};

/// Slots that are told apart.
const CELLS: usize = 7;

/// A cell for each slot that loom watches, because it cannot see plain memory.
pub struct Watch([loom::cell::UnsafeCell<()>; CELLS]);

// SAFETY: there is nothing in the cells; that they are used from several threads is what they are for.
#[allow(unsafe_code)]
unsafe impl Sync for Watch {}

impl Watch {
    pub fn new() -> Self {
        Self(array::from_fn(|_| loom::cell::UnsafeCell::new(())))
    }

    pub fn wrote(&self, slot: u32) {
        self.0[slot as usize % CELLS].with_mut(|_| ());
    }

    pub fn read(&self, slot: u32) {
        self.0[slot as usize % CELLS].with(|_| ());
    }
}
