//! One entry.

use bytes::Bytes;

use super::{range_of, seal};
use crate::{
    storage::StorageError,
    types::{CollectionId, Entry, EntryId, Metadata, StoredEntry, Vector, Version},
};

const KIND: u8 = 0x10;

/// An entry as stored.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Row {
    /// Epoch of the write.
    #[prost(uint64, tag = "1")]
    pub epoch: u64,
    /// Sequence of the write.
    #[prost(uint64, tag = "2")]
    pub sequence: u64,
    /// Components as the user gave them, little-endian f32; empty = no vector.
    #[prost(bytes = "bytes", tag = "3")]
    pub vector: Bytes,
    /// Compact JSON object.
    #[prost(string, tag = "4")]
    pub metadata: String,
}

/// The version of a row, which is all of it that is read.
#[derive(Clone, PartialEq, prost::Message)]
struct RowVersion {
    #[prost(uint64, tag = "1")]
    epoch: u64,
    #[prost(uint64, tag = "2")]
    sequence: u64,
}

/// Key of an entry.
pub fn key(collection: CollectionId, id: &EntryId) -> Vec<u8> {
    let mut key = prefix(collection);
    key.extend_from_slice(id.as_str().as_bytes());
    key
}

/// Whether this is the key of an entry.
pub fn is_key(key: &[u8]) -> bool {
    key.first() == Some(&KIND)
}

/// Keys of all rows.
pub fn all() -> (Vec<u8>, Vec<u8>) {
    range_of(&[KIND])
}

/// Keys of all rows of a collection.
pub fn all_of(collection: CollectionId) -> (Vec<u8>, Vec<u8>) {
    range_of(&prefix(collection))
}

fn prefix(collection: CollectionId) -> Vec<u8> {
    let mut key = vec![KIND];
    key.extend_from_slice(&collection.0.to_be_bytes());
    key
}

/// Collection and id of a key.
///
/// # Errors
/// When it is not the key of a row.
pub fn parse_key(key: &[u8]) -> Result<(CollectionId, EntryId), StorageError> {
    let damaged = || StorageError::corrupt("the key of a row", "unexpected layout");
    let (head, id) = key.split_first_chunk::<5>().ok_or_else(damaged)?;
    let [KIND, a, b, c, d] = *head else { return Err(damaged()) };
    let id = std::str::from_utf8(id).map_err(|_| damaged())?;
    let id = EntryId::new(id).map_err(|_| damaged())?;
    Ok((CollectionId(u32::from_be_bytes([a, b, c, d])), id))
}

/// The stored form of an entry.
pub fn encode(entry: &Entry, version: Version) -> Vec<u8> {
    seal(&Row {
        epoch: version.epoch,
        sequence: version.sequence,
        vector: entry.vector.as_ref().map_or_else(Bytes::new, |v| to_bytes(v.as_slice())),
        metadata: entry.metadata.to_json(),
    })
}

/// Reads what [`encode`] wrote.
///
/// # Errors
/// When the row is damaged.
pub fn decode(id: EntryId, bytes: &[u8]) -> Result<StoredEntry, StorageError> {
    let row: Row = super::open("a row", bytes)?;
    let metadata =
        Metadata::parse(&row.metadata).map_err(|e| StorageError::corrupt("a row's metadata", e))?;
    let vector = (!row.vector.is_empty()).then(|| Vector::stored(from_bytes(&row.vector)));
    let version = Version { epoch: row.epoch, sequence: row.sequence };
    Ok(StoredEntry { entry: Entry { id, vector, metadata }, version })
}

/// Reads the version of what [`encode`] wrote.
///
/// # Errors
/// When the row is damaged.
pub fn version(bytes: &[u8]) -> Result<Version, StorageError> {
    let row: RowVersion = super::open("a row", bytes)?;
    Ok(Version { epoch: row.epoch, sequence: row.sequence })
}

/// Little-endian f32.
pub fn to_bytes(components: &[f32]) -> Bytes {
    components.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>().into()
}

/// Reads [`to_bytes`]; a trailing partial component is dropped.
pub fn from_bytes(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks::<4>().0.iter().map(|chunk| f32::from_le_bytes(*chunk)).collect()
}
