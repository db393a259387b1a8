//! How many copies are kept, on the wire.

use vecgrid_proto::v1;

use crate::service::CopiesStatus;

/// The answer.
pub fn answer(status: CopiesStatus) -> v1::KeepCopiesResponse {
    v1::KeepCopiesResponse {
        backups: status.settings.backups.into(),
        min_in_sync: status.settings.min_in_sync.into(),
        under_replicated: super::grid::number(status.under_replicated),
    }
}
