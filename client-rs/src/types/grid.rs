//! The grid, as one member sees it.

use serde::Serialize;

/// State of the grid.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[non_exhaustive]
pub struct GridStatus {
    /// Name of the grid.
    pub grid: String,
    /// Id of the member that answers.
    pub member: String,
    /// Id of the grid, made at its birth.
    pub grid_id: String,
    /// Version of the partition table.
    pub table_version: u64,
    /// Id of the member that leads; empty when none is known.
    pub leader: String,
    /// Number of the leader's election.
    pub term: u64,
    /// How many copies are kept.
    pub copies: Copies,
    /// All members.
    pub members: Vec<Member>,
    /// All partitions.
    pub partitions: Vec<PartitionStatus>,
}

/// One daemon of the grid.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[non_exhaustive]
pub struct Member {
    /// Its id, kept in its data directory.
    pub id: String,
    /// Its name, for people.
    pub name: String,
    /// State.
    pub state: String,
    /// Version of the program.
    pub version: String,
    /// Where other members reach it; empty when it listens to none.
    pub address: String,
    /// Where it is; empty = unknown.
    pub zone: String,
    /// It takes part in decisions of the grid.
    pub votes: bool,
    /// Partitions whose writes it orders.
    pub primaries: u32,
    /// Partitions it holds in sync, those included.
    pub copies: u32,
    /// Partitions it should hold when all moves are done.
    pub wanted: u32,
}

/// How many copies of each partition the grid keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[non_exhaustive]
pub struct Copies {
    /// Besides the first.
    pub backups: u32,
    /// Members that must be in sync for a partition to take writes.
    pub min_in_sync: u32,
    /// Partitions of which fewer copies are in sync than there should be, and members for.
    pub under_replicated: u32,
}

/// How far a member is with leaving the grid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[non_exhaustive]
pub struct Drain {
    /// It is on its way out.
    pub draining: bool,
    /// Partitions that it still holds.
    pub partitions_left: u32,
}

/// One partition.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[non_exhaustive]
pub struct PartitionStatus {
    /// Its number.
    pub partition: u32,
    /// The primary's term.
    pub epoch: u64,
    /// Member that orders its writes.
    pub primary: String,
    /// Members that must have a write before it is acknowledged.
    pub in_sync: Vec<String>,
    /// State.
    pub state: String,
    /// Last committed write.
    pub sequence: u64,
    /// Members that should hold it when all moves are done, the primary first.
    pub wanted: Vec<String>,
    /// It is not held like that yet.
    pub moving: bool,
}

/// A copy that one member is making on another.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
#[non_exhaustive]
pub struct Move {
    /// Number of the partition.
    pub partition: u32,
    /// Id of the member that sends it.
    pub source: String,
    /// Id of the member that is to have it.
    pub target: String,
    /// `waiting` (others come first), `rows`, `log` (what was written meanwhile, or all that is missing).
    pub stage: String,
    /// Bytes of rows that were sent.
    pub sent_bytes: u64,
    /// Bytes of rows in all, about; 0 until they are sent.
    pub total_bytes: u64,
    /// Since they are sent.
    pub bytes_per_second: u64,
    /// Until the rows are there; `None` while nobody can say.
    pub seconds_left: Option<f64>,
}

/// What is on its way between members.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
#[non_exhaustive]
pub struct Moves {
    /// By partition.
    pub moves: Vec<Move>,
    /// Ids of members that were asked in vain: theirs are missing.
    pub unanswered: Vec<String>,
}
