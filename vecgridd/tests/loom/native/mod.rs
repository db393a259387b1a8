//! The arena of the daemon's graph.

pub mod growth;

#[path = "../../../src/index/native/arena.rs"]
#[allow(dead_code, unused_imports)]
mod arena;
