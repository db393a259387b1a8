//! The kernels alone, with their own tests: for processors that one has no machine of.
//!
//! The sources are those of the daemon, included by path, and so are the tests in them. What the kernels stand on comes
//! along (the arena, frames, nibbles); the rest of the daemon does not, so nothing here needs RocksDB, and a
//! cross compiler is done in seconds. `deploy/test-neon.sh` runs this for 64-bit ARM under qemu. On the machine
//! itself it says nothing new, but that it still compiles.
//!
//! Each test runs whatever kernels the processor has, and says so when NEON is not among those of an ARM processor.

// What only the rest of the daemon uses.
#![allow(dead_code, unused_imports)]

#[path = "../../vecgridd/src/index"]
mod index {
    mod distance;
    mod draw;
    mod native {
        mod arena;
        mod columns;
        mod frame;
        mod kernels;
        mod nibbles;
        mod rotation;
        mod vectors;
    }
    mod sync;
}

#[path = "../../vecgridd/src/types"]
mod types {
    mod invalid;
    mod metric;
    mod quantization;
    mod vector;

    pub use self::{invalid::Invalid, metric::Metric, quantization::Quantization, vector::Vector};
}
