//! The control plane's own database: votes, log and snapshots of the consensus among members.
//!
//! It is apart from the rows, so that their fsyncs do not delay a vote and wiping rows cannot wipe
//! votes. Values are JSON (small, and readable when something is wrong), each with its CRC-32.

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::super::StorageError;
use crate::types::MemberId;

/// Whose database this is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// Version of the layout.
    pub format: u32,
    /// The member.
    pub member: MemberId,
    /// Its disk, as in the row store.
    pub store: String,
    /// Id of the grid.
    pub grid: String,
    /// It founded the grid: if that was interrupted, it goes on with it.
    pub founder: bool,
    /// How often the daemon has started.
    pub incarnation: u64,
}

/// Version of this layout.
///
/// 2: [`rescued_key`]. A daemon that does not know it would found an empty grid.
pub const CONTROL_FORMAT: u32 = 2;

/// Key of [`Owner`].
pub fn owner_key() -> Vec<u8> {
    b"owner".to_vec()
}

/// Key of the last vote.
pub fn vote_key() -> Vec<u8> {
    b"vote".to_vec()
}

/// Key of the last entry known to be committed.
pub fn committed_key() -> Vec<u8> {
    b"committed".to_vec()
}

/// Key of the last entry that was removed from the front of the log.
pub fn purged_key() -> Vec<u8> {
    b"purged".to_vec()
}

/// Key of the state as of some entry.
pub fn snapshot_key() -> Vec<u8> {
    b"snapshot".to_vec()
}

/// Key of how a grid is to begin that was made by force out of one member; there until it has begun.
pub fn rescued_key() -> Vec<u8> {
    b"rescued".to_vec()
}

/// Key of a log entry.
pub fn entry_key(index: u64) -> Vec<u8> {
    index.to_be_bytes().to_vec()
}

/// The value of a record.
///
/// # Errors
/// When it cannot be written as JSON, which is a bug.
pub fn seal(record: &impl Serialize) -> Result<Vec<u8>, StorageError> {
    let mut bytes = serde_json::to_vec(record).map_err(|e| StorageError::Io(e.to_string()))?;
    let crc = crc32fast::hash(&bytes);
    bytes.extend_from_slice(&crc.to_be_bytes());
    Ok(bytes)
}

/// Reads what [`seal`] wrote.
///
/// # Errors
/// When the checksum or the record is wrong; `what` names it.
pub fn open<T: DeserializeOwned>(what: &str, bytes: &[u8]) -> Result<T, StorageError> {
    let Some((body, crc)) = bytes.split_last_chunk::<4>() else {
        return Err(StorageError::corrupt(what, "shorter than its checksum"));
    };
    if crc32fast::hash(body) != u32::from_be_bytes(*crc) {
        return Err(StorageError::corrupt(what, "its checksum does not match"));
    }
    serde_json::from_slice(body).map_err(|e| StorageError::corrupt(what, e))
}
