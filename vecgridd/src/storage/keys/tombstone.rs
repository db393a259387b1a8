//! That an entry was deleted, and when: kept until every replica has passed it.

use super::sequence_key;

const KIND: u8 = 0x03;

/// A deleted entry.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Tombstone {
    /// Epoch of the delete.
    #[prost(uint64, tag = "1")]
    pub epoch: u64,
    /// Its collection.
    #[prost(uint32, tag = "2")]
    pub collection: u32,
    /// Its id.
    #[prost(string, tag = "3")]
    pub id: String,
}

/// Key of the `index`-th delete of the record at `sequence`.
pub fn key(sequence: u64, index: u32) -> Vec<u8> {
    let mut key = sequence_key(KIND, sequence);
    key.extend_from_slice(&index.to_be_bytes());
    key
}

/// Keys of all deletes before `sequence`.
pub fn before(sequence: u64) -> (Vec<u8>, Vec<u8>) {
    (sequence_key(KIND, 0), sequence_key(KIND, sequence))
}
