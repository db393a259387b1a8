//! Status of the grid on the wire.

use vecgrid_proto::v1;

use crate::service::GridStatus;

/// There are few partitions.
pub(super) fn number(partitions: usize) -> u32 {
    u32::try_from(partitions).unwrap_or(u32::MAX)
}

/// The answer.
pub fn answer(status: &GridStatus) -> v1::GridStatusResponse {
    v1::GridStatusResponse {
        grid: status.grid.clone(),
        member: status.member.to_string(),
        table_version: status.table_version,
        grid_id: status.grid_id.clone(),
        leader: status.leader.as_ref().map(ToString::to_string).unwrap_or_default(),
        term: status.term,
        backups: status.copies.settings.backups.into(),
        min_in_sync: status.copies.settings.min_in_sync.into(),
        under_replicated: number(status.copies.under_replicated),
        members: status
            .members
            .iter()
            .map(|member| v1::Member {
                id: member.id.to_string(),
                name: member.name.clone(),
                state: member.state.to_owned(),
                version: member.version.clone(),
                address: member.address.clone(),
                zone: member.zone.clone(),
                votes: member.votes,
                primaries: number(member.primaries),
                copies: number(member.copies),
                wanted: number(member.wanted),
            })
            .collect(),
        partitions: status
            .partitions
            .iter()
            .map(|partition| v1::PartitionStatus {
                partition: partition.partition.0.into(),
                epoch: partition.epoch,
                primary: partition.primary.to_string(),
                in_sync: partition.in_sync.iter().map(ToString::to_string).collect(),
                state: partition.state.to_owned(),
                sequence: partition.sequence,
                wanted: partition.wanted.iter().map(ToString::to_string).collect(),
                moving: partition.moving,
            })
            .collect(),
    }
}
