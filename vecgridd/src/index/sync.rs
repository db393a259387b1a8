//! Atomics and locks of the parts that `tests/loom` tries in all orders: there they are those of loom.

pub(super) use std::sync::{
    Mutex,
    atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering},
};

/// Told of memory that is made and used, by chunk, and of each write to a plain record and each read, by slot. Here it
/// does nothing and is nothing; loom's twin fails when a use is not ordered after the making, or a read after the write.
pub(super) struct Watch;

impl Watch {
    pub fn new() -> Self {
        Self
    }

    #[inline(always)]
    pub fn made(&self, _chunk: usize) {}

    #[inline(always)]
    pub fn used(&self, _chunk: usize) {}

    #[inline(always)]
    pub fn wrote(&self, _slot: u32) {}

    #[inline(always)]
    pub fn read(&self, _slot: u32) {}
}
