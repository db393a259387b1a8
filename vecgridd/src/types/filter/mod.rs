//! Conditions on metadata.
//!
//! A [`Filter`] is parsed, checked and compiled once, before anything runs; matching a row then
//! cannot fail. The grammar is the one users of Pinecone, Chroma and LangChain know:
//!
//! ```text
//! {"section": "games", "size": {"$gte": 10, "$lt": 1000}, "$or": [{…}, {…}], "$not": {…}}
//! ```
//!
//! - An object is the AND of its members; `{}` matches every row.
//! - `"field": value` means `$eq`, also for an array: the whole array must be equal.
//! - `"field": {"$op": operand, …}` is the AND of its operators: `$eq $ne $gt $gte $lt $lte $in
//!   $nin $exists $contains`.
//! - `"$and": […]`, `"$or": […]` and `"$not": {…}` combine conditions.
//!
//! What the words mean:
//!
//! - A field's name is looked up as it is; only when there is no such key and the name has dots,
//!   nested objects are walked. A key that starts with `$` cannot be named.
//! - A missing field matches only `$exists: false`, `$ne` and `$nin`. `null` is a value: it is
//!   present, and equal to `null` alone.
//! - Comparing unlike types matches nothing. `$ne` and `$nin` are the exact complements of `$eq`
//!   and `$in`, so unlike types do match them.
//! - Numbers compare by their mathematical value, however they are written: `1` equals `1.0`, and
//!   9007199254740993 differs from 9007199254740992.0. Strings are ordered by code point, so ISO
//!   dates are ordered by time.
//! - `$contains`: a field that is an array has an element equal to the operand; a field and an
//!   operand that are strings: the operand is a part of the field.
//!
//! Limits keep one filter from costing more than its search: [`MAX_DEPTH`], [`MAX_TERMS`],
//! [`MAX_STRING_BYTES`]. This module does not choose how a search uses a filter; that is the
//! index's business.

mod eval;
mod number;
mod parse;
#[cfg(test)]
mod tests;

use std::{collections::BTreeSet, sync::Arc};

use serde_json::{Map, Value};

pub(crate) use eval::{Node, Operand, Order, Path, Scalars, Test};
pub(crate) use number::Number;

use super::Invalid;

/// Deepest nesting of objects and arrays in a filter.
pub const MAX_DEPTH: usize = 32;
/// Most conditions of a filter; every value of a list counts as one.
pub const MAX_TERMS: usize = 4_096;
/// Most bytes of all names and strings of a filter together.
pub const MAX_STRING_BYTES: usize = 1 << 20;

/// A checked condition on metadata. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Filter {
    root: Arc<eval::Node>,
    text: Arc<str>,
}

impl Filter {
    /// Checks and compiles a filter.
    ///
    /// # Errors
    /// `invalid_filter`; the field names the place, such as `filter/$or/1/size/$lt`.
    pub fn parse(value: &Value) -> Result<Self, Invalid> {
        let root = Arc::new(parse::parse(value)?);
        Ok(Self { root, text: value.to_string().into() })
    }

    /// Like [`parse`](Self::parse), from JSON text.
    ///
    /// # Errors
    /// `invalid_filter`, also when the text is not JSON.
    pub fn parse_json(json: &str) -> Result<Self, Invalid> {
        let value = serde_json::from_str(json)
            .map_err(|e| Invalid::new(parse::CODE, parse::ROOT, format!("a filter is a JSON object: {e}")))?;
        Self::parse(&value)
    }

    /// The compiled condition, for whoever answers it from an index.
    pub(crate) fn root(&self) -> &Node {
        &self.root
    }

    /// What it was parsed from: filters of one text are equal, and equal ones may have different texts.
    pub(crate) fn text(&self) -> &Arc<str> {
        &self.text
    }

    /// The keys of a row that decide whether it matches: nothing else is looked at.
    pub(crate) fn keys(&self) -> BTreeSet<&str> {
        let mut keys = BTreeSet::new();
        self.root.keys(&mut keys);
        keys
    }

    /// Whether a row with these fields matches.
    pub fn matches(&self, fields: &Map<String, Value>) -> bool {
        self.root.matches(fields)
    }
}
