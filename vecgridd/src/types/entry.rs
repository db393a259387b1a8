//! The unit of storage.

use super::{EntryId, Metadata, Vector, Version};

/// What a user writes.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Unique in its collection.
    pub id: EntryId,
    /// An entry without a vector is stored, counted and filtered, but no search finds it.
    pub vector: Option<Vector>,
    /// Free JSON object.
    pub metadata: Metadata,
}

/// What a user reads back.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredEntry {
    /// As written.
    pub entry: Entry,
    /// The write it comes from.
    pub version: Version,
}
