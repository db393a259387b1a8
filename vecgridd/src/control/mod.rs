//! What the grid agreed on: members, collections, the partition table.
//!
//! `state` is a deterministic function of the committed commands, and pure. `handle` owns the one
//! copy: it decides a command, makes the decision durable, and only then publishes an immutable
//! [`ClusterView`](crate::types::ClusterView). With one member a decision is committed when it is on this member's disk;
//! consensus among members will stand in that place (`control/raft/`), and nothing above changes.

mod command;
mod handle;
mod state;

pub use command::{Command, Decision, Refused};
pub use handle::{Control, ControlError};
