//! What an entry carries beside its vector.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::Invalid;

/// Longest metadata, in bytes of compact JSON.
pub const MAX_METADATA_BYTES: usize = 1 << 20;

/// A JSON object of at most 1 MiB. Cheap to clone. Of duplicate keys the last one wins.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Metadata {
    fields: Arc<Map<String, Value>>,
    json_bytes: usize,
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
        let mut this = Self { fields: Arc::new(map), json_bytes: 0 };
        this.json_bytes = this.to_json().len();
        if this.json_bytes > MAX_METADATA_BYTES {
            let message = format!(
                "metadata has at most {MAX_METADATA_BYTES} bytes of JSON, this has {}",
                this.json_bytes
            );
            return Err(Invalid::new("metadata_too_large", "metadata", message));
        }
        Ok(this)
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

    /// The fields.
    pub fn fields(&self) -> &Map<String, Value> {
        &self.fields
    }

    /// Length of [`Metadata::to_json`].
    pub fn json_bytes(&self) -> usize {
        self.json_bytes
    }

    /// Compact JSON.
    pub fn to_json(&self) -> String {
        serde_json::to_string(&*self.fields).unwrap_or_else(|_| "{}".to_owned())
    }
}
