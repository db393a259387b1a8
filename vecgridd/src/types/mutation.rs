//! What a partition's log holds.

use super::{CollectionId, Entry, EntryId, RequestId, Version};

/// One change to one entry.
#[derive(Debug, Clone, PartialEq)]
pub enum Mutation {
    /// Insert or replace.
    Put(Entry),
    /// Remove; removing what is not there is fine.
    Delete(EntryId),
}

impl Mutation {
    /// The entry concerned.
    pub fn id(&self) -> &EntryId {
        match self {
            Self::Put(entry) => &entry.id,
            Self::Delete(id) => id,
        }
    }
}

/// One record of a partition's log: mutations that take effect together, under one sequence.
/// Ids inside one operation are distinct.
#[derive(Debug, Clone, PartialEq)]
pub struct Operation {
    /// Whose entries.
    pub collection: CollectionId,
    /// Makes a retry harmless.
    pub request_id: Option<RequestId>,
    /// What changes, in order.
    pub mutations: Vec<Mutation>,
}

/// What an applied operation did, as told to the client and to every retry of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MutationOutcome {
    /// Version of everything the operation wrote.
    pub version: Version,
    /// Per mutation: did the entry exist before?
    pub existed: Vec<bool>,
}
