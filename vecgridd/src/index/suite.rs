//! What every engine's index must do. Each test runs for each engine, and for each quantization.
//!
//! The index is held against a [`World`]: a plain map of rows, searched in `f64`.

mod checkpoint;
mod checks;
mod churn;
mod donor;
mod effort;
mod failure;
mod filters;
mod long;
mod quantization;
mod recall;
mod search;
mod world;
