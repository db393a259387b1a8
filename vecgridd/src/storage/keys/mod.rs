//! The one catalogue of what is stored where, in which layout.
//!
//! | family | key | value | owner | lifetime |
//! |---|---|---|---|---|
//! | member | `format` | u32 big-endian, [`FORMAT_VERSION`] | node | for ever |
//! | member | `identity` | JSON, [`member::Identity`] | node | for ever |
//! | member | `grid` | JSON, [`member::Membership`] | node | for ever, once the member is in a grid |
//! | member | `control` | JSON, the control state | control | formats 1 and 2 only: carried over into the control store |
//! | member | `copy` partition u16 | JSON, [`copy::CopyState`] | partition owner | for ever: what a copy promised outlives it |
//! | oplog | partition u16, sequence u64 | [`log::LogRecord`] + CRC-32 | partition owner | until trimmed: within the retention, and applied |
//! | partition | `01` | [`applied::Applied`] + CRC-32 | applier | replaced by each batch, together with its effects |
//! | partition | `02` sequence u64 | [`dedup::Remembered`] + CRC-32 | applier | the window of request ids |
//! | partition | `03` sequence u64, index u32 | that an entry was deleted | – | not written any more: see [`tombstone`]; removed at the next start |
//! | partition | `04` collection u32 | [`digest::RowsDigest`] + CRC-32 | applier | replaced by each batch that changes rows; goes with the collection |
//! | partition | `10` collection u32, id | [`row::Row`] + CRC-32 | applier | until deleted, replaced or the collection is dropped |
//!
//! The control plane has a database of its own, with the same two families:
//!
//! | family | key | value | owner | lifetime |
//! |---|---|---|---|---|
//! | member | `owner` | [`control::Owner`] | control | for ever |
//! | member | `vote`, `committed`, `purged` | JSON of the consensus | control/raft | replaced |
//! | member | `snapshot` | JSON, the state as of an entry | control/raft | replaced by each snapshot |
//! | member | `rescued` | JSON, how a grid begins that `recover` made | control/raft | until that grid has begun |
//! | oplog | index u64 | JSON, an entry of the control log | control/raft | until purged behind a snapshot |
//!
//! Numbers in keys are big-endian, so keys sort as numbers do. Values are protobuf messages (old
//! versions can be read for ever), each followed by the CRC-32 of its bytes.

pub mod applied;
pub mod control;
pub mod copy;
pub mod dedup;
pub mod digest;
pub mod log;
pub mod member;
pub mod row;
pub mod tombstone;

use prost::Message;

use super::StorageError;

/// Version of everything in this catalogue. A daemon refuses a newer one.
///
/// 5: in `copy`, the oldest epochs may be missing, and a floor says so.
/// 4: `copy`, what the copies of partitions have promised; a log may have several epochs. Nothing is made at the first
/// start: without it, a copy was never shared.
/// 3: the control state is in a database of its own, carried over at the first start (`control/carry_over.rs`).
/// 2: `04`, and in `01` how long the log is. What a store of version 1 lacks is made at the first start,
/// partition by partition: see `partition/recover.rs`.
pub const FORMAT_VERSION: u32 = 5;
/// The oldest version that is read.
pub const OLDEST_FORMAT: u32 = 1;

/// The value of a record: protobuf and its checksum.
pub fn seal(message: &impl Message) -> Vec<u8> {
    let mut bytes = message.encode_to_vec();
    let crc = crc32fast::hash(&bytes);
    bytes.extend_from_slice(&crc.to_be_bytes());
    bytes
}

/// Reads what [`seal`] wrote.
///
/// # Errors
/// When the checksum or the message is wrong; `what` names the record.
pub fn open<M: Message + Default>(what: &str, bytes: &[u8]) -> Result<M, StorageError> {
    let Some((body, crc)) = bytes.split_last_chunk::<4>() else {
        return Err(StorageError::corrupt(what, "shorter than its checksum"));
    };
    if crc32fast::hash(body) != u32::from_be_bytes(*crc) {
        return Err(StorageError::corrupt(what, "its checksum does not match"));
    }
    M::decode(body).map_err(|e| StorageError::corrupt(what, e))
}

/// `prefix` as a half-open range of keys: from itself to the next prefix of the same length.
pub fn range_of(prefix: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            break;
        }
    }
    (prefix.to_vec(), end)
}

/// Kind byte and a sequence.
fn sequence_key(kind: u8, sequence: u64) -> Vec<u8> {
    let mut key = vec![kind];
    key.extend_from_slice(&sequence.to_be_bytes());
    key
}
