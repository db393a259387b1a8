//! Tests that run one at a time: `cargo test … --test system alone:: -- --test-threads 1`.

mod builds;
mod copies;
mod crash;
mod grid;
mod grid_search;
mod memory_and_start;
mod moves;
mod recall;
mod sample_search;
mod wordnet;
