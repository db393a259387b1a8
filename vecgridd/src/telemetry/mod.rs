//! What the daemon tells its operator: numbers ([`Metrics`]) and events ([`logs`]).
//!
//! Everything here is handed around as a value, so several daemons can live in one process (tests)
//! without mixing their numbers. Traces are not here yet.

mod copies;
pub mod logs;
mod making;
mod metrics;
#[cfg(test)]
mod metrics_tests;

pub use copies::{CopyEvent, CopyMetrics};
pub use logs::LogFormat;
pub use metrics::{Metrics, Snapshot};
