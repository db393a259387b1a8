//! What a copy of a partition has promised, and where its log comes from.

use serde::{Deserialize, Serialize};

use crate::{storage::StorageError, types::PartitionId};

/// Written before this member acts on it. A copy of a version that knew only one member has none: its log is of
/// one epoch, and nobody else ever had a part of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopyState {
    /// The newest epoch that it has promised to; it takes nothing of an older one.
    pub promised: u64,
    /// In the promised epoch this member has led, and others may have records of it, or be in sync by now.
    #[serde(default)]
    pub shared: bool,
    /// Rows are being installed: until that is over they are of no use.
    #[serde(default)]
    pub installing: bool,
    /// The last installation that was begun: the sender's epoch, and a number.
    #[serde(default)]
    pub attempt: (u64, u64),
    /// A committed record would have had to go: the copy must not be used.
    #[serde(default)]
    pub quarantined: bool,
    /// The last record of its log of which no more than this is remembered: epoch and sequence.
    #[serde(default)]
    pub floor: (u64, u64),
    /// Epoch and last sequence of each epoch of its log behind that, as of when the last of them began.
    #[serde(default)]
    pub epochs: Vec<(u64, u64)>,
}

/// The stored form.
pub fn encode(state: &CopyState) -> Vec<u8> {
    // Numbers and lists of them: this cannot fail.
    serde_json::to_vec(state).unwrap_or_default()
}

/// Reads what [`encode`] wrote.
///
/// # Errors
/// When it did not.
pub fn decode(bytes: &[u8]) -> Result<CopyState, StorageError> {
    serde_json::from_slice(bytes).map_err(|e| StorageError::corrupt("the state of a copy", e))
}

/// Key of the state of a copy.
pub fn key(partition: PartitionId) -> Vec<u8> {
    let mut key = b"copy".to_vec();
    key.extend_from_slice(&partition.0.to_be_bytes());
    key
}
