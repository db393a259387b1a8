//! Request ids that were applied, so that a retry takes effect once.

use super::{range_of, sequence_key};

const KIND: u8 = 0x02;

/// What a retry of the request is told.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Remembered {
    /// Chosen by the client.
    #[prost(string, tag = "1")]
    pub request_id: String,
    /// Hash of the content: the same id with other content is an error of the client.
    #[prost(fixed64, tag = "2")]
    pub fingerprint: u64,
    /// Epoch of the record.
    #[prost(uint64, tag = "3")]
    pub epoch: u64,
    /// Per mutation: did the entry exist before?
    #[prost(bool, repeated, tag = "4")]
    pub existed: Vec<bool>,
    /// The collection had been dropped: nothing happened.
    #[prost(bool, tag = "5")]
    pub collection_gone: bool,
}

/// Key of the record at `sequence`.
pub fn key(sequence: u64) -> Vec<u8> {
    sequence_key(KIND, sequence)
}

/// All keys of this kind.
pub fn all() -> (Vec<u8>, Vec<u8>) {
    range_of(&[KIND])
}

/// The sequence of a key.
pub fn sequence(key: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(*key.get(1..)?.first_chunk()?))
}
