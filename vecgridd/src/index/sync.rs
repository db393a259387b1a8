//! Atomics and locks of the parts that `tests/loom` tries in all orders: there they are those of loom.

pub(super) use std::sync::{
    Mutex,
    atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering},
};

/// Told of each write to a plain record and of each read, by slot. Here it does nothing and is nothing; loom's twin
/// fails when a read is not ordered after the write.
pub(super) struct Watch;

impl Watch {
    pub fn new() -> Self {
        Self
    }

    #[inline(always)]
    pub fn wrote(&self, _slot: u32) {}

    #[inline(always)]
    pub fn read(&self, _slot: u32) {}
}
