//! Which rows of a collection a partition has, in one number.

use super::range_of;
use crate::types::CollectionId;

const KIND: u8 = 0x04;

/// Count and XOR of hashes over `(id, version)`; see `index/digest.rs`. Written in the same batch as the
/// rows, so that an index can be compared with them without reading them. Absent: no rows.
#[derive(Clone, PartialEq, prost::Message)]
pub struct RowsDigest {
    /// How many rows.
    #[prost(uint64, tag = "1")]
    pub count: u64,
    /// All their hashes.
    #[prost(fixed64, tag = "2")]
    pub hash: u64,
}

/// Key of the digest of a collection.
pub fn key(collection: CollectionId) -> Vec<u8> {
    let mut key = vec![KIND];
    key.extend_from_slice(&collection.0.to_be_bytes());
    key
}

/// All keys of this kind.
pub fn all() -> (Vec<u8>, Vec<u8>) {
    range_of(&[KIND])
}

/// The collection of a key of this kind.
pub fn collection(key: &[u8]) -> Option<CollectionId> {
    let (kind, collection) = key.split_first()?;
    (*kind == KIND).then_some(CollectionId(u32::from_be_bytes(*collection.first_chunk()?)))
}
