//! What an entry carries beside its vector.
//!
//! Metadata is kept as compact JSON text, which is what goes to disk and over the wire; it is
//! parsed when someone asks for a field.

use std::sync::{Arc, OnceLock};

use serde_json::{Map, Value};

use super::Invalid;

/// Longest metadata, in bytes of compact JSON.
pub const MAX_METADATA_BYTES: usize = 1 << 20;

/// A JSON object of at most 1 MiB. Cheap to clone. Of duplicate keys the last one wins.
#[derive(Clone)]
pub struct Metadata {
    /// Compact, keys in order: equal values have equal text.
    json: Arc<str>,
    fields: OnceLock<Arc<Map<String, Value>>>,
}

impl Metadata {
    /// Checks that the value is an object and not too large.
    ///
    /// # Errors
    /// `invalid_metadata`, `metadata_too_large`.
    pub fn new(value: Value) -> Result<Self, Invalid> {
        let Value::Object(map) = value else {
            return Err(Invalid::new("invalid_metadata", "metadata", "metadata must be a JSON object"));
        };
        let json = serde_json::to_string(&map).unwrap_or_else(|_| "{}".to_owned());
        if json.len() > MAX_METADATA_BYTES {
            let message =
                format!("metadata has at most {MAX_METADATA_BYTES} bytes of JSON, this has {}", json.len());
            return Err(Invalid::new("metadata_too_large", "metadata", message));
        }
        Ok(Self { json: json.into(), fields: OnceLock::from(Arc::new(map)) })
    }

    /// Parses JSON text; empty text is an empty object.
    ///
    /// # Errors
    /// `invalid_metadata`, `metadata_too_large`.
    pub fn parse(json: &str) -> Result<Self, Invalid> {
        if json.is_empty() {
            return Ok(Self::default());
        }
        let value = serde_json::from_str(json).map_err(|e| {
            Invalid::new("invalid_metadata", "metadata", format!("metadata is not JSON: {e}"))
        })?;
        Self::new(value)
    }

    /// Text that [`Metadata::to_json`] gave, parsed when someone asks for a field.
    pub(crate) fn of_valid(json: String) -> Self {
        Self { json: json.into(), fields: OnceLock::new() }
    }

    /// The fields.
    pub fn fields(&self) -> &Map<String, Value> {
        // The text was made from a map, so parsing it cannot fail.
        self.fields.get_or_init(|| serde_json::from_str(&self.json).unwrap_or_default())
    }

    /// Length of [`Metadata::to_json`].
    pub fn json_bytes(&self) -> usize {
        self.json.len()
    }

    /// Compact JSON.
    pub fn to_json(&self) -> String {
        self.json.as_ref().to_owned()
    }
}

impl Default for Metadata {
    fn default() -> Self {
        Self::of_valid("{}".to_owned())
    }
}

impl PartialEq for Metadata {
    fn eq(&self, other: &Self) -> bool {
        self.json == other.json
    }
}

impl std::fmt::Debug for Metadata {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Metadata").field(&self.json).finish()
    }
}
