//! The replicated log of decisions: `openraft` 0.9 behind a door of our own. Nothing outside this
//! folder sees one of its types, so that its next version is a change of this folder.
//!
//! ```text
//! propose ─► raft core ─► log_store.rs  (this member's disk, synced)
//!                │   └──► network.rs ──► peer/ ──► the other members' raft core
//!                ▼ committed
//!           machine.rs ─► state.rs decide ─► the published view
//! ```
//!
//! What is ours besides storage and transport:
//!
//! - **When to stand for election** (`campaign.rs`). openraft 0.9 draws one random timeout per process, so
//!   two survivors can split every vote for ever. Its own timer is off. Ours draws anew each time, staggers
//!   voters by their rank, and first asks the others whether they would vote (a *canvass*), so a member that was
//!   cut off does not depose a leader when it comes back.
//! - **How long a leader may be sure that it leads** (`quorum.rs`): since it sent what a majority accepted.
//!   Leases are counted from there.
//!
//! Left out: reads through the log (whoever needs the newest view proposes), more than one group.

mod campaign;
mod core;
mod log_store;
mod machine;
mod network;
mod quorum;
mod rescue;
mod store;

use std::io::Cursor;

use serde::{Deserialize, Serialize};

use super::{Command, Decision, Refused};
use crate::types::MemberId;

pub(super) use self::core::{Core, CoreError, CoreParts, Role};
pub use self::{
    core::RaftTiming,
    rescue::{LastKnown, Rescued},
    store::{ControlStore, StartError},
};

/// What applying one entry of the log gave; `None` for entries of the consensus itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Applied(pub(super) Option<Result<Decision, Refused>>);

openraft::declare_raft_types!(
    /// The types of our one group. Nodes have no addresses here: where a member can be reached is known
    /// to `peer/`, and may change while no majority is there to agree on it.
    pub(super) Types:
        D = Command,
        R = Applied,
        NodeId = NodeId,
        Node = openraft::EmptyNode,
        Entry = openraft::Entry<Types>,
        SnapshotData = Cursor<Vec<u8>>,
        AsyncRuntime = openraft::TokioRuntime,
);

/// A member in openraft, which wants a number: the id of a member is a UUID in text.
type NodeId = uuid::Uuid;

fn node_of(member: &MemberId) -> Result<NodeId, CoreError> {
    NodeId::parse_str(&member.0).map_err(|e| CoreError::Malformed(format!("member id {member}: {e}")))
}

fn member_of(node: NodeId) -> MemberId {
    MemberId(node.to_string())
}

type LogId = openraft::LogId<NodeId>;
type Vote = openraft::Vote<NodeId>;
type Entry = openraft::Entry<Types>;
type Membership = openraft::StoredMembership<NodeId, openraft::EmptyNode>;
type RaftStorageError = openraft::StorageError<NodeId>;
