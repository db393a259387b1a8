//! vecgridd: the rooms, lowest first. Each room imports only rooms above it in this list.
//! ARCHITECTURE.md is the map.

pub mod types;

pub mod config;

pub mod task;

pub mod telemetry;

pub mod storage;

pub mod index;

pub mod placement;

pub mod migration;

pub mod partition;

pub mod peer;

pub mod control;

pub mod replication;

pub mod cluster;

pub mod service;

pub mod wire;

pub mod api;

pub mod node;

/// Where memory comes from, RocksDB's too: an allocator that keeps sizes apart, so that what stays does not hold the
/// pages of requests that are gone (decision 18).
#[cfg(not(miri))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;
