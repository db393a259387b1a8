//! How a partition comes to another member while it is written and searched. Pure.
//!
//! Adding a replica, moving one, bringing one level that was away: one mechanism, three machines,
//! each "event in, effects out", and a log's shape that all of them compare.
//!
//! ```text
//!  primary                                                        the other member
//!  handoff.rs  who is in sync, one proposal at a time
//!      │ wanted: a member that has no copy
//!  stream.rs ── Ask ─────────────────────────────────────────────▶ replica.rs
//!            ◀─ Have: my chain, how far an installation has come ──
//!            ── Rows … (a snapshot, if the log does not reach) ──▶   stored, then Have
//!            ── Records … until level ───────────────────────────▶   stored, then Have
//!  handoff.rs  level: propose it into the in-sync set, and count it from now on
//!              in sync: propose it as primary, epoch + 1          ▶  its own handoff goes on:
//!                                                                    removes the old copy, epoch + 1
//! ```
//!
//! Promises, for any loss, duplication and delay of messages and proposals, and any crash of members
//! whose disks survive:
//!
//! 1. a member of the in-sync set has every acknowledged write on its disk;
//! 2. whatever is lost or late is asked for again: nothing here needs a message to arrive, and nothing is
//!    remembered that a restart would miss. A move is resumed by looking at the table and asking the target
//!    what it has; it is cancelled by wanting something else;
//! 3. nothing is merged: a copy goes through the log or begins with nothing. So a deleted entry does not come back, and
//!    nobody has to remember that it was deleted (`storage/keys/tombstone.rs`).
//!
//! Four rules keep the first promise where one does not expect it to be in danger. All were found by
//! `simulation/`, which drives these machines, the placement and a model of the control plane through
//! thousands of seeded schedules, and each is a planted bug there:
//!
//! - **A primary counts a newcomer from the moment of proposing**, not from the moment it sees the decision.
//! - **Taking a member out begins a new epoch.** Else a late copy of the proposal that once put it in fits
//!   again, and puts it back without the writes it missed.
//! - **A primary that has led in an epoch before, and forgot, begins a new one first.** After a start it
//!   acknowledges nothing until then: what it had proposed may still be decided, and it no longer knows
//!   whom to count. Its copy's promise on disk tells: it was made when it began to lead.
//! - **A new primary takes nobody in before it has committed a record of its own epoch.** How much was
//!   acknowledged before it may be more than it was told.
//!
//! Logs are compared by where their epochs end (`chain.rs`). Of those only the newest are remembered; a primary forgets none
//! while it leads in an epoch, so that whoever it has found to share a record stays comparable.
//!
//! Left out here: bytes, throttling, the network. The driver sends what the effects say.

mod chain;
mod handoff;
mod replica;
#[cfg(test)]
mod simulation;
mod stream;

pub use chain::Chain;
pub use handoff::{Handoff, HandoffEvent, Proposal};
pub use replica::{Attempt, Have, Replica, ReplicaEffect, ReplicaEvent};
pub use stream::{OwnLog, Stream, StreamEffect, StreamEvent};
