//! Entries on the wire.

use vecgrid_proto::v1;

use crate::{
    service::{EntryDraft, MetadataDraft},
    types::{Invalid, StoredEntry, Version},
};

/// An entry to store; a version that came along is ignored.
///
/// # Errors
/// `invalid_vector`, see [`super::vector::decode`].
pub(super) fn decode(entry: v1::Entry) -> Result<EntryDraft, Invalid> {
    let v1::Entry { id, vector, metadata_json, version: _ } = entry;
    let vector = vector.map(super::vector::decode).transpose()?;
    Ok(EntryDraft { id, vector, metadata: MetadataDraft::Json(metadata_json) })
}

/// An entry in an answer.
pub(super) fn encode(stored: &StoredEntry) -> v1::Entry {
    v1::Entry {
        id: stored.entry.id.as_str().to_owned(),
        vector: stored.entry.vector.as_ref().map(super::vector::encode),
        metadata_json: stored.entry.metadata.to_json(),
        version: Some(version(stored.version)),
    }
}

/// A version in an answer.
pub(super) fn version(version: Version) -> v1::Version {
    v1::Version { epoch: version.epoch, sequence: version.sequence }
}
