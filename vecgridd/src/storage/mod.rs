//! Bytes on disk.
//!
//! [`Engine`] is what the daemon asks of a store: atomic batches over families of ordered keys,
//! with or without fsync. [`RocksEngine`] is the real one, [`MemoryEngine`] a fake for tests; both
//! pass `suite`. `keys` is the one catalogue of what is stored where, in which layout.
//! [`LogWriter`] is the member's group commit: one thread, one batch, one fsync for all partitions.
//!
//! Left out: checksums of rows (RocksDB checks its blocks), snapshots for migration, backups.

mod engine;
pub mod keys;
mod log_writer;
mod memory;
mod rocks;
#[cfg(test)]
mod suite;
mod under_way;

pub use engine::{Batch, Engine, Family, StorageError, Usage, Visit};
pub use log_writer::{Append, FsyncObserver, LogFailed, LogWriter};
pub use memory::MemoryEngine;
pub use rocks::{RocksEngine, RocksOptions};
