//! The system tests: real daemons, real clients. One binary, because each links RocksDB; a module
//! per subject.
//!
//! Those in [`alone`] measure, fill memory or keep every core busy for minutes. They say so in
//! their path, and `deploy/test.sh` runs them one at a time, after all others.
#![allow(clippy::unwrap_used)]

mod alone;
mod bad_input;
mod bad_input_grpc;
mod checkpoints;
mod cli;
mod curl;
mod grpc_contract;
mod metrics;
mod networks;
mod rest_contract;
mod retries;
mod routing;
mod shutdown;
