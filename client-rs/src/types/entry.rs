//! Entries, and what comes of writing and walking them.

use std::fmt;

use serde::Serialize;
use serde_json::Value;

use crate::Outcome;

/// Which write an entry comes from: `(epoch, sequence)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize)]
pub struct Version {
    /// Term of a primary over the partition.
    pub epoch: u64,
    /// Position in the partition's log.
    pub sequence: u64,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.epoch, self.sequence)
    }
}

/// The unit of storage.
///
/// ```
/// use serde_json::json;
/// use vecgrid_client::Entry;
/// let entry = Entry::new("alien").vector([0.1, 0.9]).metadata(json!({"year": 1979}));
/// ```
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct Entry {
    /// Non-empty, at most 512 bytes of UTF-8, kept byte for byte.
    pub id: String,
    /// An entry without a vector is stored, counted and filtered, but no search finds it.
    pub vector: Option<Vec<f32>>,
    /// A JSON object; `Null` stands for the empty object.
    pub metadata: Value,
    /// Set in answers.
    pub version: Option<Version>,
}

impl Entry {
    /// An entry without vector and metadata.
    pub fn new(id: impl Into<String>) -> Self {
        Self { id: id.into(), ..Self::default() }
    }

    /// Gives it a vector.
    #[must_use]
    pub fn vector(mut self, vector: impl Into<Vec<f32>>) -> Self {
        self.vector = Some(vector.into());
        self
    }

    /// Gives it metadata: a JSON object.
    #[must_use]
    pub fn metadata(mut self, metadata: impl Into<Value>) -> Self {
        self.metadata = metadata.into();
        self
    }
}

/// What came of a write of one batch.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[non_exhaustive]
pub struct UpsertSummary {
    /// Distinct ids stored.
    pub upserted: u64,
    /// Entries that were not (known to be) stored.
    pub errors: Vec<EntryError>,
    /// Per entry of the batch, in order; `None` where it failed.
    pub versions: Vec<Option<Version>>,
    /// For another app, beside another daemon of the grid: with [`crate::Consistency::AtLeast`] its reads show this
    /// write.
    pub token: String,
}

/// What a delete did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct DeleteSummary {
    /// Entries that existed and are gone.
    pub deleted: u64,
    /// As of [`UpsertSummary`].
    pub token: String,
}

/// Why one entry of a batch was not stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct EntryError {
    /// Position in the batch; in a bulk load, position in the whole input.
    pub index: u64,
    /// Id of the entry.
    pub id: String,
    /// Stable code.
    pub code: String,
    /// A sentence for a person.
    pub message: String,
    /// Failed or unknown.
    #[serde(serialize_with = "outcome_word")]
    pub outcome: Outcome,
}

// serde hands over a reference.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn outcome_word<S: serde::Serializer>(outcome: &Outcome, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(outcome.as_str())
}

/// A walk over all entries in a stable order.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
#[must_use = "a walk does nothing until given to `Client::scroll`"]
pub struct Scroll {
    /// Where to walk.
    pub collection: String,
    /// Which entries; `None` = all.
    pub filter: Option<Value>,
    /// Entries per page, 1 to 10,000.
    pub page: u32,
    /// Answer with vectors.
    pub include_vector: bool,
    /// Where to go on; empty = from the start.
    pub cursor: String,
}

impl Scroll {
    /// All entries, without vectors, 1,000 per page.
    pub fn new(collection: impl Into<String>) -> Self {
        let (collection, cursor) = (collection.into(), String::new());
        Self { collection, filter: None, page: 1_000, include_vector: false, cursor }
    }

    /// Only entries that match.
    pub fn filter(mut self, filter: impl Into<Value>) -> Self {
        self.filter = Some(filter.into());
        self
    }

    /// Entries per page, 1 to 10,000.
    pub fn page(mut self, entries: u32) -> Self {
        self.page = entries;
        self
    }

    /// Answer with vectors.
    pub fn include_vector(mut self, include: bool) -> Self {
        self.include_vector = include;
        self
    }

    /// Goes on where an earlier page ended.
    pub fn cursor(mut self, cursor: impl Into<String>) -> Self {
        self.cursor = cursor.into();
        self
    }
}

/// One page of a walk.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct ScrollPage {
    /// Its entries.
    pub entries: Vec<Entry>,
    /// Where the next page starts; `None` at the end.
    pub cursor: Option<String>,
}
