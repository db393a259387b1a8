//! One record of a partition's log.

use bytes::Bytes;

use super::row::{from_bytes, to_bytes};
use crate::{
    storage::StorageError,
    types::{
        CollectionId, Entry, EntryId, Metadata, Mutation, Operation, PartitionId, RequestId, Vector, Version,
    },
};

/// An operation with its place in the order.
#[derive(Clone, PartialEq, prost::Message)]
pub struct LogRecord {
    /// Term of the primary that ordered it.
    #[prost(uint64, tag = "1")]
    pub epoch: u64,
    /// Its place; equal to the one in the key.
    #[prost(uint64, tag = "2")]
    pub sequence: u64,
    /// Whose entries.
    #[prost(uint32, tag = "3")]
    pub collection: u32,
    /// Empty = none.
    #[prost(string, tag = "4")]
    pub request_id: String,
    /// What changes.
    #[prost(message, repeated, tag = "5")]
    pub mutations: Vec<LogMutation>,
}

/// One change to one entry.
#[derive(Clone, PartialEq, prost::Message)]
pub struct LogMutation {
    /// Concerned entry.
    #[prost(string, tag = "1")]
    pub id: String,
    /// The entry is removed; the other fields are empty.
    #[prost(bool, tag = "2")]
    pub delete: bool,
    /// Little-endian f32; empty = no vector.
    #[prost(bytes = "bytes", tag = "3")]
    pub vector: Bytes,
    /// Compact JSON object.
    #[prost(string, tag = "4")]
    pub metadata: String,
}

/// Key of a record.
pub fn key(partition: PartitionId, sequence: u64) -> Vec<u8> {
    let mut key = partition.0.to_be_bytes().to_vec();
    key.extend_from_slice(&sequence.to_be_bytes());
    key
}

/// Keys of the records of a partition in `from..to` (sequences).
pub fn range(partition: PartitionId, from: u64, to: u64) -> (Vec<u8>, Vec<u8>) {
    (key(partition, from), key(partition, to))
}

/// The stored form of an operation.
pub fn record(operation: &Operation, version: Version) -> LogRecord {
    let mutation = |mutation: &Mutation| match mutation {
        Mutation::Put(entry) => LogMutation {
            id: entry.id.as_str().to_owned(),
            delete: false,
            vector: entry.vector.as_ref().map_or_else(Bytes::new, |v| to_bytes(v.as_slice())),
            metadata: entry.metadata.to_json(),
        },
        Mutation::Delete(id) => {
            LogMutation { id: id.as_str().to_owned(), delete: true, ..LogMutation::default() }
        }
    };
    LogRecord {
        epoch: version.epoch,
        sequence: version.sequence,
        collection: operation.collection.0,
        request_id: operation.request_id.as_ref().map_or_else(String::new, |id| id.as_str().to_owned()),
        mutations: operation.mutations.iter().map(mutation).collect(),
    }
}

/// Reads what [`record`] made.
///
/// # Errors
/// When a part of it could not have been written by this version.
pub fn operation(record: LogRecord) -> Result<(Version, Operation), StorageError> {
    let damaged = |e: crate::types::Invalid| StorageError::corrupt("a log record", e);
    let mutation = |m: LogMutation| -> Result<Mutation, StorageError> {
        let id = EntryId::new(&m.id).map_err(damaged)?;
        if m.delete {
            return Ok(Mutation::Delete(id));
        }
        let vector = (!m.vector.is_empty()).then(|| Vector::stored(from_bytes(&m.vector)));
        Ok(Mutation::Put(Entry { id, vector, metadata: Metadata::parse(&m.metadata).map_err(damaged)? }))
    };
    let request_id = match record.request_id.as_str() {
        "" => None,
        id => Some(RequestId::new(id).map_err(damaged)?),
    };
    let version = Version { epoch: record.epoch, sequence: record.sequence };
    let mutations = record.mutations.into_iter().map(mutation).collect::<Result<_, _>>()?;
    Ok((version, Operation { collection: CollectionId(record.collection), request_id, mutations }))
}
