//! What the grid can decide.

use crate::types::{Collection, CollectionConfig, CollectionId, CollectionName};

/// A proposed change.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// Make a collection, or find an equal one.
    CreateCollection(CollectionConfig),
    /// Drop a collection: from now on it does not exist; its rows are removed afterwards.
    DropCollection(CollectionName),
    /// The rows of a dropped collection are gone.
    Purged(CollectionId),
}

/// What was decided.
#[derive(Debug, Clone, PartialEq)]
pub enum Decision {
    /// A new collection.
    Created(Collection),
    /// An equal collection exists.
    Exists(Collection),
    /// The collection that was dropped; `None` = there was none.
    Dropped(Option<CollectionId>),
    /// Noted.
    Purged,
}

/// Why a command was not accepted. Nothing changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    /// A collection of that name exists and is different.
    CollectionExists(CollectionName),
}
