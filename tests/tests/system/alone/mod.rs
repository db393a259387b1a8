//! Tests that run one at a time: `cargo test … --test system alone:: -- --test-threads 1`.

mod builds;
mod copies;
mod crash;
mod grid;
mod grid_search;
mod memory_and_start;
mod move_progress;
mod moves;
mod new_collections;
mod overload;
mod recall;
mod recover;
mod sample_search;
mod two_grids;
mod verify;
mod wordnet;
