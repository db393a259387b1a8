//! What the grid looks like from here.

use std::collections::BTreeMap;

use super::{CopiesStatus, Service};
use crate::types::{ClusterView, Member, MemberId, MemberState, PartitionId};

/// Members and partitions at one version of the table.
#[derive(Debug, Clone)]
pub struct GridStatus {
    /// Name of the grid.
    pub grid: String,
    /// The member that answers.
    pub member: MemberId,
    /// Grows with each decision of the control plane.
    pub table_version: u64,
    /// Id of the grid, made at its birth.
    pub grid_id: String,
    /// Who leads, as far as this member knows.
    pub leader: Option<MemberId>,
    /// Number of the leader's election.
    pub term: u64,
    /// How many partitions the grid has.
    pub partitions_total: u16,
    /// How many copies of each are kept.
    pub copies: CopiesStatus,
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
    /// `up`, `suspect` when the leader has not heard it for a moment, `away`, `draining` when it is leaving the grid;
    /// of itself a member also says `draining` when it stops, and `read_only` after a disk failure.
    pub state: &'static str,
    /// Version of its daemon.
    pub version: String,
    /// Where other members reach it; empty when it listens to none.
    pub address: String,
    /// Where it is; empty = unknown.
    pub zone: String,
    /// It votes on decisions.
    pub votes: bool,
    /// Partitions whose writes it orders.
    pub primaries: usize,
    /// Partitions it holds in sync, those included.
    pub copies: usize,
    /// Partitions it should hold when all moves are done.
    pub wanted: usize,
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
    /// `serving`, `read_only` after a disk failure, or `unavailable` while all that are in sync are away.
    pub state: &'static str,
    /// Who should hold it when all moves are done, the wanted primary first.
    pub wanted: Vec<MemberId>,
    /// It is not held like that yet.
    pub moving: bool,
    /// Last applied sequence on this member; 0 when it does not hold it.
    pub sequence: u64,
}

/// How many partitions each member has, and should have.
#[derive(Default)]
struct Shares {
    primaries: BTreeMap<MemberId, usize>,
    copies: BTreeMap<MemberId, usize>,
    wanted: BTreeMap<MemberId, usize>,
}

impl Shares {
    fn of(view: &ClusterView) -> Self {
        let mut shares = Self::default();
        let add = |counts: &mut BTreeMap<MemberId, usize>, member: &MemberId| {
            *counts.entry(member.clone()).or_default() += 1;
        };
        for partition in (0..view.partitions()).map(PartitionId) {
            let placement = view.partition(partition);
            add(&mut shares.primaries, &placement.primary);
            placement.in_sync.iter().for_each(|member| add(&mut shares.copies, member));
            view.meant(partition).members().for_each(|member| add(&mut shares.wanted, member));
        }
        shares
    }
}

impl Service {
    /// What the grid looks like from here.
    pub fn grid_status(&self) -> GridStatus {
        let (view, decides) = (self.view(), self.parts.control.status());
        let shares = Shares::of(&view);
        let members = view.members().map(|member| MemberStatus {
            primaries: shares.primaries.get(&member.id).copied().unwrap_or(0),
            copies: shares.copies.get(&member.id).copied().unwrap_or(0),
            wanted: shares.wanted.get(&member.id).copied().unwrap_or(0),
            id: member.id.clone(),
            name: member.details.name.clone(),
            state: self.state_of(member, decides.suspects.contains(&member.id)),
            version: member.details.version.clone(),
            address: member.details.address.clone(),
            zone: member.details.zone.clone(),
            votes: decides.voters.contains(&member.id),
        });
        GridStatus {
            grid: view.grid().to_owned(),
            grid_id: view.id().to_owned(),
            member: self.parts.member.clone(),
            table_version: view.version(),
            partitions_total: view.partitions(),
            copies: CopiesStatus::of(&view),
            members: members.collect(),
            partitions: (0..view.partitions())
                .map(|n| self.partition_status(&view, PartitionId(n)))
                .collect(),
            leader: decides.leader,
            term: decides.term,
        }
    }

    fn state_of(&self, member: &Member, suspect: bool) -> &'static str {
        if member.id == self.parts.member {
            let failed = self.parts.health.failure().is_some();
            return match (failed, self.parts.health.is_draining() || member.leaving) {
                (true, _) => "read_only",
                (false, true) => "draining",
                (false, false) => "up",
            };
        }
        match member.state {
            MemberState::Alive if suspect => "suspect",
            MemberState::Alive if member.leaving => "draining",
            MemberState::Alive => "up",
            MemberState::Away => "away",
            MemberState::Left => "left",
        }
    }

    fn partition_status(&self, view: &ClusterView, partition: PartitionId) -> PartitionStatus {
        let placement = view.partition(partition);
        let here = self.parts.hosts.get(partition);
        let failed = here.is_some() && self.parts.health.failure().is_some();
        let gone = view.alive_in_sync(partition) == 0;
        let wanted = view.meant(partition);
        PartitionStatus {
            wanted: wanted.members().cloned().collect(),
            moving: view.is_moving(partition),
            partition,
            epoch: placement.epoch,
            primary: placement.primary.clone(),
            in_sync: placement.in_sync.clone(),
            state: match (failed, gone) {
                (true, _) => "read_only",
                (_, true) => "unavailable",
                _ => "serving",
            },
            sequence: here.as_ref().map_or(0, |partition| partition.applied().sequence),
        }
    }
}
