//! Which write an entry comes from.

use std::fmt;

/// `(epoch, sequence)` of the log record that wrote an entry; ordered by epoch, then sequence.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, serde::Serialize, serde::Deserialize,
)]
pub struct Version {
    /// Term of a primary over the partition.
    pub epoch: u64,
    /// Position in the partition's log; grows across epochs.
    pub sequence: u64,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.epoch, self.sequence)
    }
}
