//! Status of the grid over REST.

use std::sync::Arc;

use axum::{extract::State, response::Response};
use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use super::{answer, problem::Problem};
use crate::{
    api::{door::Door, error::ApiError},
    service::{GridStatus, MemberStatus, PartitionStatus},
};

/// A daemon of the grid.
#[derive(Debug, Serialize, ToSchema)]
struct MemberBody {
    id: String,
    name: String,
    /// `up`, `suspect`, `away`, `draining`; of itself a member also says `read_only`.
    state: String,
    version: String,
    /// Where other members reach it; empty when it listens to none.
    address: String,
    zone: String,
    /// Takes part in decisions of the grid.
    votes: bool,
    /// Partitions whose writes it orders.
    primaries: usize,
    /// Partitions it holds in sync, those included.
    copies: usize,
    /// Partitions it should hold when all moves are done.
    wanted: usize,
}

impl From<&MemberStatus> for MemberBody {
    fn from(member: &MemberStatus) -> Self {
        Self {
            id: member.id.to_string(),
            name: member.name.clone(),
            state: member.state.to_owned(),
            version: member.version.clone(),
            address: member.address.clone(),
            zone: member.zone.clone(),
            votes: member.votes,
            primaries: member.primaries,
            copies: member.copies,
            wanted: member.wanted,
        }
    }
}

/// Who holds a partition.
#[derive(Debug, Serialize, ToSchema)]
struct PartitionBody {
    partition: u16,
    epoch: u64,
    /// A member's id.
    primary: String,
    /// Ids of members.
    in_sync: Vec<String>,
    state: String,
    /// Last committed.
    sequence: u64,
    /// Ids of members: who should hold it when all moves are done, the primary first.
    wanted: Vec<String>,
    /// It is not held like that yet.
    moving: bool,
}

impl From<&PartitionStatus> for PartitionBody {
    fn from(partition: &PartitionStatus) -> Self {
        Self {
            partition: partition.partition.0,
            epoch: partition.epoch,
            primary: partition.primary.to_string(),
            in_sync: partition.in_sync.iter().map(ToString::to_string).collect(),
            state: partition.state.to_owned(),
            sequence: partition.sequence,
            wanted: partition.wanted.iter().map(ToString::to_string).collect(),
            moving: partition.moving,
        }
    }
}

/// The grid, as the answering member sees it.
#[derive(Debug, Serialize, ToSchema)]
struct GridBody {
    grid: String,
    /// Made at the grid's birth.
    grid_id: String,
    /// Id of the member that answers.
    member: String,
    table_version: u64,
    /// Id of the member that leads; null when none is known.
    leader: Option<String>,
    /// Number of the leader's election.
    term: u64,
    /// How many there are.
    partitions: u16,
    /// How many of them are not held yet as they should be.
    moving: usize,
    /// Copies of each partition besides the first.
    backups: u8,
    /// Members that must be in sync for a partition to take writes.
    min_in_sync: u8,
    /// Partitions of which fewer copies are in sync than there should be, and members for.
    under_replicated: usize,
    members: Vec<MemberBody>,
}

/// All members.
#[derive(Debug, Serialize, ToSchema)]
struct MembersBody {
    /// Id of the member that leads; null when none is known.
    leader: Option<String>,
    members: Vec<MemberBody>,
}

/// All partitions.
#[derive(Debug, Serialize, ToSchema)]
struct PartitionsBody {
    table_version: u64,
    partitions: Vec<PartitionBody>,
}

fn member_bodies(status: &GridStatus) -> Vec<MemberBody> {
    status.members.iter().map(MemberBody::from).collect()
}

/// The grid.
#[utoipa::path(
    get, path = "/v1/grid", tag = "grid", operation_id = "grid",
    responses(
        (status = 200, description = "The grid", body = GridBody),
        (status = "default", description = "Failed", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn grid(State(door): State<Arc<Door>>) -> Result<Response, ApiError> {
    let status = door.service()?.grid_status();
    let body = GridBody {
        members: member_bodies(&status),
        member: status.member.to_string(),
        table_version: status.table_version,
        partitions: status.partitions_total,
        moving: status.partitions.iter().filter(|partition| partition.moving).count(),
        backups: status.copies.settings.backups,
        min_in_sync: status.copies.settings.min_in_sync,
        under_replicated: status.copies.under_replicated,
        leader: status.leader.as_ref().map(ToString::to_string),
        term: status.term,
        grid_id: status.grid_id,
        grid: status.grid,
    };
    answer::json(&door, StatusCode::OK, &body)
}

/// Its members.
#[utoipa::path(
    get, path = "/v1/grid/members", tag = "grid", operation_id = "grid_members",
    responses(
        (status = 200, description = "All members", body = MembersBody),
        (status = "default", description = "Failed", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn members(State(door): State<Arc<Door>>) -> Result<Response, ApiError> {
    let status = door.service()?.grid_status();
    let leader = status.leader.as_ref().map(ToString::to_string);
    answer::json(&door, StatusCode::OK, &MembersBody { leader, members: member_bodies(&status) })
}

/// Its partitions.
#[utoipa::path(
    get, path = "/v1/grid/partitions", tag = "grid", operation_id = "grid_partitions",
    responses(
        (status = 200, description = "All partitions", body = PartitionsBody),
        (status = "default", description = "Failed", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn partitions(State(door): State<Arc<Door>>) -> Result<Response, ApiError> {
    let status = door.service()?.grid_status();
    let partitions = status.partitions.iter().map(PartitionBody::from).collect();
    answer::json(&door, StatusCode::OK, &PartitionsBody { table_version: status.table_version, partitions })
}
