//! Names of things.

use std::{fmt, sync::Arc};

use super::Invalid;

/// Longest entry id, in bytes of UTF-8.
pub const MAX_ID_BYTES: usize = 512;
/// Longest collection name, in bytes.
pub const MAX_NAME_BYTES: usize = 128;
/// Longest request id, in bytes.
pub const MAX_REQUEST_ID_BYTES: usize = 64;

/// Partitions of a new grid unless told otherwise: a prime, as in Hazelcast, so that ids with a
/// regular pattern still spread.
pub const DEFAULT_PARTITIONS: u16 = 271;
/// More would only cost column families.
pub const MAX_PARTITIONS: u16 = 1024;

/// The unit of ownership, replication and migration: `hash(id) mod partitions`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub struct PartitionId(pub u16);

impl fmt::Display for PartitionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "p{:03}", self.0)
    }
}

/// Number of a collection: given once by the control plane, never used again after a drop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub struct CollectionId(pub u32);

/// Identity of one daemon, kept in its data directory. The empty one is nobody.
#[derive(
    Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
pub struct MemberId(pub String);

impl fmt::Display for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Id of an entry: any non-empty UTF-8 string of at most 512 bytes, kept byte for byte.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryId(Arc<str>);

impl EntryId {
    /// Checks the length.
    ///
    /// # Errors
    /// `invalid_id` when empty or longer than 512 bytes.
    pub fn new(id: &str) -> Result<Self, Invalid> {
        if id.is_empty() {
            return Err(Invalid::new("invalid_id", "id", "an id must not be empty"));
        }
        if id.len() > MAX_ID_BYTES {
            let message = format!("an id has at most {MAX_ID_BYTES} bytes, this one has {}", id.len());
            return Err(Invalid::new("invalid_id", "id", message));
        }
        Ok(Self(id.into()))
    }

    /// An id that was one before, from its text.
    pub(crate) fn of_valid(id: &str) -> Self {
        Self(id.into())
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Name of a collection: 1 to 128 of `[A-Za-z0-9_.-]`, not starting with `.` or `-`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub struct CollectionName(Arc<str>);

impl CollectionName {
    /// Checks length and letters.
    ///
    /// # Errors
    /// `invalid_collection_name`.
    pub fn new(name: &str) -> Result<Self, Invalid> {
        let letters = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
        let starts_well = !name.starts_with(['.', '-']);
        if name.is_empty() || name.len() > MAX_NAME_BYTES || !starts_well || !name.chars().all(letters) {
            return Err(Invalid::new(
                "invalid_collection_name",
                "collection",
                "a collection name has 1 to 128 characters of A-Z a-z 0-9 _ . - and does not start with . or -",
            ));
        }
        Ok(Self(name.into()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for CollectionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Chosen by a client so that a retried write takes effect once.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RequestId(Arc<str>);

impl RequestId {
    /// Checks the length.
    ///
    /// # Errors
    /// `invalid_request_id` when empty or longer than 64 bytes.
    pub fn new(id: &str) -> Result<Self, Invalid> {
        if id.is_empty() || id.len() > MAX_REQUEST_ID_BYTES {
            let message = format!("a request id has 1 to {MAX_REQUEST_ID_BYTES} bytes");
            return Err(Invalid::new("invalid_request_id", "request_id", message));
        }
        Ok(Self(id.into()))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}
