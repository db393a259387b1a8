//! Unchecked input, as a door decoded it, and how it becomes checked types.
//!
//! Both doors build drafts and nothing else, so every rule of the contract is applied in one
//! place, before anything is stored.

use serde_json::Value;

use crate::types::{
    CollectionConfig, CollectionName, Durability, Entry, EntryId, Filter, IndexOptions, Invalid, Metadata,
    Metric, Query, RequestId, TargetRecall, Vector,
};

/// Most entries or ids of one batch.
pub const MAX_BATCH: usize = 10_000;
/// Most searches of one batch.
pub const MAX_SEARCHES: usize = 1_000;
/// How many problems of one request are listed.
const MAX_PROBLEMS: usize = 20;

/// A collection to create.
#[derive(Debug, Clone)]
pub struct CollectionDraft {
    /// Its name.
    pub name: String,
    /// Components per vector.
    pub dimension: u32,
    /// Default: cosine.
    pub metric: Metric,
    /// Default: see [`IndexOptions`].
    pub index: IndexOptions,
    /// Default: sync.
    pub durability: Durability,
}

impl CollectionDraft {
    /// Applies the rules.
    ///
    /// # Errors
    /// See [`CollectionName::new`] and [`CollectionConfig::checked`].
    pub fn check(self) -> Result<CollectionConfig, Invalid> {
        CollectionConfig {
            name: CollectionName::new(&self.name)?,
            dimension: self.dimension,
            metric: self.metric,
            index: self.index,
            durability: self.durability,
        }
        .checked()
    }
}

/// An entry to store.
#[derive(Debug, Clone)]
pub struct EntryDraft {
    /// Any non-empty UTF-8.
    pub id: String,
    /// Absent for an entry of metadata only.
    pub vector: Option<Vec<f32>>,
    /// What it carries.
    pub metadata: MetadataDraft,
}

/// Metadata as it came through the door.
#[derive(Debug, Clone)]
pub enum MetadataDraft {
    /// Parsed with the request (REST).
    Value(Value),
    /// JSON text (gRPC); empty = `{}`.
    Json(String),
    /// Not given.
    None,
}

impl EntryDraft {
    fn check(self, config: &CollectionConfig) -> Result<Entry, Invalid> {
        let vector =
            self.vector.map(|v| Vector::new(v, config.dimension as usize, config.metric)).transpose()?;
        let metadata = match self.metadata {
            MetadataDraft::Value(value) => Metadata::new(value)?,
            MetadataDraft::Json(json) => Metadata::parse(&json)?,
            MetadataDraft::None => Metadata::default(),
        };
        Ok(Entry { id: EntryId::new(&self.id)?, vector, metadata })
    }
}

/// Checks a whole batch: all or nothing. `field` is what the door calls the list (`entries`).
///
/// # Errors
/// Up to 20 problems, each with the index of its entry; `invalid_batch` for none or too many.
pub fn check_entries(
    drafts: Vec<EntryDraft>,
    config: &CollectionConfig,
    field: &str,
) -> Result<Vec<Entry>, Vec<Invalid>> {
    check_batch_len(drafts.len(), field)?;
    let mut entries = Vec::with_capacity(drafts.len());
    let mut problems = Vec::new();
    for (index, draft) in drafts.into_iter().enumerate() {
        match draft.check(config) {
            Ok(entry) => entries.push(entry),
            Err(problem) => problems.push(problem.within(&format!("{field}/{index}"))),
        }
        if problems.len() == MAX_PROBLEMS {
            break;
        }
    }
    if problems.is_empty() { Ok(entries) } else { Err(problems) }
}

/// Checks a list of ids: all or nothing.
///
/// # Errors
/// As [`check_entries`].
pub fn check_ids(ids: &[String]) -> Result<Vec<EntryId>, Vec<Invalid>> {
    check_batch_len(ids.len(), "ids")?;
    let check =
        |(index, id): (usize, &String)| EntryId::new(id).map_err(|p| p.within(&format!("ids/{index}")));
    ids.iter().enumerate().map(check).collect::<Result<_, _>>().map_err(|p| vec![p])
}

fn check_batch_len(len: usize, field: &str) -> Result<(), Vec<Invalid>> {
    if (1..=MAX_BATCH).contains(&len) {
        return Ok(());
    }
    let message = format!("a batch has 1 to {MAX_BATCH} items, this one has {len}");
    Err(vec![Invalid::new("invalid_batch", field, message)])
}

/// Checks an optional request id.
///
/// # Errors
/// See [`RequestId::new`].
pub fn check_request_id(id: Option<&str>) -> Result<Option<RequestId>, Invalid> {
    id.map(RequestId::new).transpose()
}

/// A filter as it came through the door.
#[derive(Debug, Clone)]
pub enum FilterDraft {
    /// Parsed with the request (REST).
    Value(Value),
    /// JSON text (gRPC).
    Json(String),
}

impl FilterDraft {
    /// Applies the grammar and its limits.
    ///
    /// # Errors
    /// `invalid_filter`.
    pub fn check(&self) -> Result<Filter, Invalid> {
        match self {
            Self::Value(value) => Filter::parse(value),
            Self::Json(json) => Filter::parse_json(json),
        }
    }

    /// As text, for another member.
    pub fn to_json(&self) -> String {
        match self {
            Self::Value(value) => value.to_string(),
            Self::Json(json) => json.clone(),
        }
    }

    /// Of what another member sent; empty = none.
    ///
    /// # Errors
    /// `invalid_filter`.
    pub fn of_json(json: &str) -> Result<Option<Filter>, Invalid> {
        if json.is_empty() { Ok(None) } else { Filter::parse_json(json).map(Some) }
    }
}

/// A search to run.
#[derive(Debug, Clone)]
pub struct QueryDraft {
    /// Query vector.
    pub vector: Vec<f32>,
    /// 1 to 10,000.
    pub k: usize,
    /// 1 to 10,000.
    pub ef: Option<usize>,
    /// 0.5 to 0.999, instead of `ef`.
    pub target_recall: Option<f64>,
    /// Which entries may be hits.
    pub filter: Option<FilterDraft>,
    /// Scan instead of walking.
    pub exact: bool,
    /// Drop farther hits.
    pub max_distance: Option<f32>,
    /// Answer with metadata.
    pub include_metadata: bool,
    /// Answer with vectors.
    pub include_vector: bool,
    /// Accept incomplete coverage.
    pub allow_partial: bool,
    /// Say how it was answered.
    pub explain: bool,
}

impl QueryDraft {
    /// Applies the rules.
    ///
    /// # Errors
    /// See [`Vector::new`], [`Query::checked`] and [`Filter::parse`].
    pub fn check(self, config: &CollectionConfig) -> Result<Query, Invalid> {
        Query {
            vector: Vector::new(self.vector, config.dimension as usize, config.metric)?,
            k: self.k,
            ef: self.ef,
            target_recall: self.target_recall.map(TargetRecall::new).transpose()?,
            filter: self.filter.map(|f| f.check()).transpose()?,
            exact: self.exact,
            max_distance: self.max_distance,
            include_metadata: self.include_metadata,
            include_vector: self.include_vector,
            allow_partial: self.allow_partial,
            explain: self.explain,
        }
        .checked()
    }
}

/// What to delete.
#[derive(Debug, Clone)]
pub enum DeleteDraft {
    /// These entries; missing ones are fine.
    Ids(Vec<String>),
    /// Every entry that matches.
    Filter(FilterDraft),
}

/// Where a walk over all entries goes on.
#[derive(Debug, Clone, Default)]
pub struct ScrollDraft {
    /// Only matching entries.
    pub filter: Option<FilterDraft>,
    /// 1 to 10,000; `None` = 100.
    pub limit: Option<usize>,
    /// From the last answer; `None` = from the start.
    pub cursor: Option<String>,
    /// Answer with vectors.
    pub include_vector: bool,
}
