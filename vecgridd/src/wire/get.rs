//! Get on the wire.

use vecgrid_proto::v1;

use crate::types::StoredEntry;

/// The answer.
pub fn answer(entry: &StoredEntry) -> v1::GetResponse {
    v1::GetResponse { entry: Some(super::entry::encode(entry)) }
}
