//! Values that people type: vectors, filters, metadata.

use std::{
    io::Read,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use clap::Args;
use serde_json::{Map, Value};

use crate::exit::Failure;

/// A vector on the command line or in a file.
#[derive(Debug, Args)]
pub struct VectorInput {
    /// The vector, as a JSON array
    #[arg(long, value_name = "JSON", allow_hyphen_values = true)]
    pub vector: Option<String>,
    /// A file with the vector as a JSON array; `-` is standard input
    #[arg(long, value_name = "FILE", conflicts_with = "vector")]
    pub vector_file: Option<PathBuf>,
}

impl VectorInput {
    /// The vector, when one was given.
    pub fn read(&self) -> Result<Option<Vec<f32>>> {
        let text = match (&self.vector, &self.vector_file) {
            (Some(text), _) => text.clone(),
            (None, Some(path)) => read_text(path)?,
            (None, None) => return Ok(None),
        };
        parse_vector(&text).map(Some)
    }
}

fn parse_vector(text: &str) -> Result<Vec<f32>> {
    let usage =
        |reason: String| Failure::usage(format!("the vector is not a JSON array of numbers: {reason}"));
    let vector: Vec<f32> = serde_json::from_str(text).map_err(|e| usage(e.to_string()))?;
    match vector.iter().position(|x| !x.is_finite()) {
        Some(at) => Err(usage(format!("component {at} does not fit a 32-bit float")).into()),
        None => Ok(vector),
    }
}

fn read_text(path: &Path) -> Result<String> {
    let mut text = String::new();
    if path == Path::new("-") {
        std::io::stdin().read_to_string(&mut text).context("standard input")?;
    } else {
        text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    }
    Ok(text)
}

/// For clap: a JSON object as a filter or as metadata.
pub fn object(text: &str) -> Result<Value, String> {
    let map: Map<String, Value> =
        serde_json::from_str(text).map_err(|e| format!("not a JSON object: {e}"))?;
    Ok(Value::Object(map))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_are_read_or_refused() {
        assert_eq!(parse_vector("[1, -2.5, 1e-3]").unwrap(), [1.0, -2.5, 1e-3]);
        for text in ["", "[1,", "{}", "[\"a\"]", "[null]", "[1e39]", "[1e999]", "[NaN]"] {
            assert!(parse_vector(text).is_err(), "{text}");
        }
    }

    #[test]
    fn only_objects_are_filters() {
        assert!(object(r#"{"a": {"$gt": 1}}"#).is_ok());
        for text in ["", "[]", "1", "{", "{}x"] {
            assert!(object(text).is_err(), "{text}");
        }
    }
}
