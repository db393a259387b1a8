//! One partition on this member: its log, its order, its answers.
//!
//! ```text
//!  service ──▶ Handle ──▶ owner task ──────▶ log writer (one thread, one fsync for all)
//!                          │  State::step ◀── durable
//!                          ├──────▶ applier (one thread: rows, then index)
//!                          │  State::step ◀── applied
//!                          └──▶ the client's answer
//! ```
//!
//! `state` decides and is pure: events in, effects out. `owner` has one and carries out its effects: with `leading`
//! while this member is the primary, with `following` while another one is. `hosts` says which copies are here and
//! which of them this member answers for, `keeper` begins and ends their owners by the table, `copying` shows how far copies on others are, `outside` is what they
//! ask of the rest of the grid. `applier` turns committed records into rows and index changes, for all partitions, in
//! one thread. `verify` compares copies, and each with its index. `recover` brings a partition back after a restart, `level` the indexes. A write is answered when it is
//! committed (durable on every in-sync replica) and applied (visible to every later read).

mod applier;
#[cfg(test)]
mod copies_fault_tests;
#[cfg(test)]
mod copies_tests;
#[cfg(test)]
mod copies_world;
mod copying;
mod dedup;
mod following;
mod handle;
mod hosts;
mod keeper;
mod lead;
mod leading;
mod level;
#[cfg(test)]
mod level_tests;
mod log_extent;
mod outside;
mod owner;
mod recent;
mod recover;
mod snapshot;
pub mod state;
#[cfg(test)]
mod state_tests;
mod verify;
mod versions;

pub use applier::{Applier, ApplierObserver, Looker, Purger};
pub use copying::{Copying, RowsSent, Stage};
pub use handle::{Handle, Taken, WriteError};
pub use hosts::{Hosts, Role, Who};
pub use keeper::{copies_here, keep};
pub use level::{LevelReport, level_indexes};
pub use log_extent::Retention;
pub use outside::{CopyMessage, Outside};
pub use owner::{OwnerParts, spawn};
pub use recover::{CopyOnDisk, Recovered, begin_empty, copy_on_disk, quarantine, recover};
pub use verify::{
    Answer, CopyVerdict, Difference, Findings, Others, QUICKLY, Question, Verifier, VerifierParts,
    VerifyOptions, run as keep_verifying,
};
pub use versions::Versions;
