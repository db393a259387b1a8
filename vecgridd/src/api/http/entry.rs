//! Entries in JSON.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::{
    service::{EntryDraft, MetadataDraft},
    types::StoredEntry,
};

/// An entry to store.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct EntryInput {
    /// Any non-empty UTF-8, at most 512 bytes.
    id: String,
    /// As many numbers as the collection's dimension; absent for an entry of metadata only.
    #[serde(default, deserialize_with = "maybe_components")]
    vector: Option<Vec<f32>>,
    /// A JSON object of at most 1 MiB.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    metadata: Option<Value>,
}

impl EntryInput {
    pub(super) fn draft(self) -> EntryDraft {
        EntryDraft { id: self.id, vector: self.vector, metadata: metadata(self.metadata) }
    }
}

/// An entry whose id is in the path.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct EntryContent {
    /// As many numbers as the collection's dimension; absent for an entry of metadata only.
    #[serde(default, deserialize_with = "maybe_components")]
    vector: Option<Vec<f32>>,
    /// A JSON object of at most 1 MiB.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    metadata: Option<Value>,
}

impl EntryContent {
    pub(super) fn draft(self, id: String) -> EntryDraft {
        EntryDraft { id, vector: self.vector, metadata: metadata(self.metadata) }
    }
}

fn metadata(value: Option<Value>) -> MetadataDraft {
    value.map_or(MetadataDraft::None, MetadataDraft::Value)
}

/// Numbers of a vector. Read as `f64`: a number that JSON can hold and an `f32` cannot becomes an
/// infinity, which the rules for vectors refuse by its place; the parser alone would call the whole
/// body broken.
pub(super) fn components<'de, D: Deserializer<'de>>(input: D) -> Result<Vec<f32>, D::Error> {
    Ok(Vec::<f64>::deserialize(input)?.into_iter().map(|x| x as f32).collect())
}

fn maybe_components<'de, D: Deserializer<'de>>(input: D) -> Result<Option<Vec<f32>>, D::Error> {
    Option::<Vec<f64>>::deserialize(input)
        .map(|numbers| numbers.map(|numbers| numbers.into_iter().map(|x| x as f32).collect()))
}

/// What an answer carries of each entry or hit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Include {
    /// Its metadata.
    Metadata,
    /// Its vector, as written.
    Vector,
}

/// What nobody asks for by name.
pub(super) fn default_include() -> Vec<Include> {
    vec![Include::Metadata]
}

/// A stored entry.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct EntryAnswer<'a> {
    /// Its id.
    id: &'a str,
    /// Absent for an entry of metadata only, or when not asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<f32>>)]
    vector: Option<&'a [f32]>,
    /// Absent when not asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    metadata: Option<&'a Map<String, Value>>,
    /// `<epoch>-<sequence>` of the write it comes from.
    version: String,
}

impl<'a> EntryAnswer<'a> {
    pub(super) fn new(stored: &'a StoredEntry, include: &[Include]) -> Self {
        let entry = &stored.entry;
        let vector = entry.vector.as_ref().filter(|_| include.contains(&Include::Vector));
        Self {
            id: entry.id.as_str(),
            vector: vector.map(|vector| vector.as_slice()),
            metadata: include.contains(&Include::Metadata).then(|| entry.metadata.fields()),
            version: stored.version.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typo_is_not_ignored() {
        let parse = |text: &str| serde_json::from_str::<EntryInput>(text);
        assert!(parse(r#"{"id":"a","vector":[1,2.5],"metadata":{"x":1}}"#).is_ok());
        assert!(parse(r#"{"id":"a","vektor":[1]}"#).unwrap_err().to_string().starts_with("unknown field"));
        assert!(parse(r#"{"vector":[1]}"#).is_err());
        assert!(serde_json::from_str::<EntryContent>(r#"{"id":"a"}"#).is_err());
        let nulls = parse(r#"{"id":"a","vector":null,"metadata":null}"#).unwrap().draft();
        assert!(nulls.vector.is_none() && matches!(nulls.metadata, MetadataDraft::None));
    }
}
