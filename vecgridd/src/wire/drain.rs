//! Leaving the grid on the wire.

use vecgrid_proto::v1;

use crate::service::DrainStatus;

/// The answer.
pub fn answer(status: DrainStatus) -> v1::DrainResponse {
    let partitions_left = super::grid::number(status.partitions_left);
    v1::DrainResponse { draining: status.draining, partitions_left }
}
