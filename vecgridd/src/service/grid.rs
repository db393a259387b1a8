//! What the grid looks like from here.

use super::Service;
use crate::types::{MemberId, PartitionId};

/// Members and partitions at one version of the table.
#[derive(Debug, Clone)]
pub struct GridStatus {
    /// Name of the grid.
    pub grid: String,
    /// The member that answers.
    pub member: MemberId,
    /// Grows with each decision of the control plane.
    pub table_version: u64,
    /// How many partitions the grid has.
    pub partitions_total: u16,
    /// All members.
    pub members: Vec<MemberStatus>,
    /// All partitions, by number.
    pub partitions: Vec<PartitionStatus>,
}

/// A member, as others see it.
#[derive(Debug, Clone)]
pub struct MemberStatus {
    /// Its id.
    pub id: MemberId,
    /// For people.
    pub name: String,
    /// `up`, `draining`, or `read_only` after a disk failure.
    pub state: &'static str,
    /// Version of its daemon.
    pub version: &'static str,
}

/// A partition, as the table has it.
#[derive(Debug, Clone)]
pub struct PartitionStatus {
    /// Which one.
    pub partition: PartitionId,
    /// Term of the primary.
    pub epoch: u64,
    /// Orders the writes.
    pub primary: MemberId,
    /// Must have a write before it counts.
    pub in_sync: Vec<MemberId>,
    /// `serving`, or `read_only` after a disk failure.
    pub state: &'static str,
    /// Last applied sequence on this member.
    pub sequence: u64,
}

impl Service {
    /// What the grid looks like from here.
    pub fn grid_status(&self) -> GridStatus {
        let view = self.view();
        let failed = self.parts.health.failure().is_some();
        let state = match (failed, self.parts.health.is_draining()) {
            (true, _) => "read_only",
            (false, true) => "draining",
            (false, false) => "up",
        };
        let partition = |number: u16| {
            let partition = PartitionId(number);
            let placement = view.partition(partition);
            PartitionStatus {
                partition,
                epoch: placement.epoch,
                primary: placement.primary.clone(),
                in_sync: placement.in_sync.clone(),
                state: if failed { "read_only" } else { "serving" },
                sequence: self.parts.partitions.get(usize::from(number)).map_or(0, |p| p.applied().sequence),
            }
        };
        GridStatus {
            grid: view.grid().to_owned(),
            member: self.parts.member.clone(),
            table_version: view.version(),
            partitions_total: view.partitions(),
            members: vec![MemberStatus {
                id: self.parts.member.clone(),
                name: self.parts.name.clone(),
                state,
                version: env!("CARGO_PKG_VERSION"),
            }],
            partitions: (0..view.partitions()).map(partition).collect(),
        }
    }
}
