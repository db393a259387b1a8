//! What the grid agreed on: members, collections, the partition table.
//!
//! ```text
//! Control::propose ─► the leader's core ─► a majority's disks ─► state.rs decides ─► ClusterView, everywhere
//! beat.rs ──► sessions.rs (failure_detector.rs) ─► Fence      leader: who is alive
//!             autopilot.rs (voters.rs) ──────────► raft/      leader: who votes
//!             planner.rs (plan.rs, placement/) ──► Want       leader: who should hold what
//! ```
//!
//! Promises: `state` is a deterministic function of the committed commands, and pure; a decision is published
//! only when it is durable on a majority of the voters, as an immutable [`ClusterView`](crate::types::ClusterView)
//! that grows in version, the same on every member; a proposal made anywhere is answered as decided, refused, certainly
//! not done, or unknown; fencing is a decision, never one member's opinion; [`Control::lease`] says whether
//! this member may act on what it knows (a member alone always may).
//!
//! All of it, with `peer/`, runs on threads of its own. `raft/` hides the consensus library. What decides is pure:
//! `state`, `failure_detector`, `voters`, `plan`, `lease`, `rescue`, `raft/campaign`.
//!
//! When a majority of the voters is lost for good nothing is decided any more, ever. Then an operator may make a new
//! grid out of one member that is left: `rescue`.
//!
//! Left out: reads that certainly see the newest decision (propose something; `catch_up` nearly does).

mod autopilot;
mod beat;
mod carry_over;
mod catch_up;
mod command;
pub(crate) mod failure_detector;
mod handle;
mod lease;
mod plan;
mod planner;
mod raft;
mod rescue;
mod sessions;
mod state;
#[cfg(test)]
mod state_tests;
mod voters;
mod withdraw;

pub(crate) use beat::details_for;
pub use carry_over::carried_over;
pub use command::{Command, Decision, Refused};
pub use handle::{Control, ControlError, ControlParts, ControlStatus, ControlTiming, Entry};
pub use lease::{Lease, Leases};
pub use raft::{ControlStore, LastKnown, RaftTiming, Rescued, StartError};
pub use rescue::{Rescue, rescue};
