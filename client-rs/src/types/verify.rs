//! What comparing the copies of a partition gave.

use serde::Serialize;

/// What was found out about a partition.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[non_exhaustive]
pub struct Verified {
    /// Its number.
    pub partition: u32,
    /// `equal`, `differs`, or `unverified`: nothing was found, and not all copies could be compared.
    pub verdict: String,
    /// The primary's copy, then the others that are in sync.
    pub copies: Vec<CopyVerdict>,
}

/// What was found out about a copy.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[non_exhaustive]
pub struct CopyVerdict {
    /// Id of the member that holds it.
    pub member: String,
    /// Rows that were read.
    pub rows: u64,
    /// The version at which they were; empty when the copy was not read.
    pub version: String,
    /// What is wrong with it.
    pub differences: Vec<Difference>,
    /// Why it was not compared; empty when it was.
    pub unverified: String,
}

/// A difference.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[non_exhaustive]
pub struct Difference {
    /// `rows`, `index`, `copy` or `content`.
    pub what: String,
    /// In which collection; empty = the copy as a whole.
    pub collection: String,
    /// Rows that differ, as far as is known: at least one.
    pub rows: u64,
    /// Some of their ids.
    pub ids: Vec<String>,
}
