//! Metadata of a row in few bytes.
//!
//! ```text
//! {"lemma":"dog","pos":"noun"}   ──▶   shape [lemma, pos], shared by many rows   +   "dog"⏎"noun"
//! ```
//!
//! Rows of one collection mostly have the same keys, so the keys are kept once, as a [`Shape`], and
//! a row keeps the JSON text of its values, a line each: compact JSON has no line breaks. One value
//! is found and parsed without the others, and the whole comes back as text without parsing.

use std::{
    borrow::Cow,
    hash::{BuildHasher, RandomState},
    sync::Arc,
};

use hashbrown::HashTable;
use serde_json::{Map, Number, Value};

use crate::types::Metadata;

/// Shapes kept to be shared. Rows whose keys are data (such as user ids) would fill any table.
const MAX_SHARED: usize = 1_024;
/// Larger ones are not shared, so that the table stays small.
const MAX_SHARED_BYTES: usize = 4 << 10;
/// What the allocator and `Arc` add to a piece of memory.
pub(super) const HEAP: usize = 32;

/// The keys of a row, in order.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Shape {
    names: Box<[Box<str>]>,
    /// Counted by [`Shapes`], not by who holds it.
    shared: bool,
}

impl Shape {
    fn position(&self, name: &str) -> Option<usize> {
        self.names.binary_search_by(|key| (**key).cmp(name)).ok()
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(|name| &**name)
    }

    fn heap(&self) -> usize {
        let names: usize = self.names.iter().map(|name| name.len() + HEAP).sum();
        size_of::<Self>() + names + HEAP
    }

    /// Memory that belongs to the one who holds it.
    pub fn own_bytes(&self) -> usize {
        if self.shared { 0 } else { self.heap() }
    }
}

/// The shapes that rows share.
pub(super) struct Shapes {
    table: HashTable<Arc<Shape>>,
    hasher: RandomState,
    bytes: usize,
}

impl Shapes {
    pub fn new() -> Self {
        Self { table: HashTable::new(), hasher: RandomState::new(), bytes: 0 }
    }

    pub fn bytes(&self) -> usize {
        self.bytes + self.table.allocation_size()
    }

    /// The shape and the values of metadata.
    pub fn pack(&mut self, metadata: &Metadata) -> (Arc<Shape>, String) {
        let mut fields: Vec<(&str, &Value)> =
            metadata.fields().iter().map(|(name, value)| (name.as_str(), value)).collect();
        // A map in another order than its keys' would be a feature of `serde_json` that nobody chose.
        fields.sort_unstable_by_key(|(name, _)| *name);
        let mut values = Vec::with_capacity(metadata.json_bytes());
        for (at, (_, value)) in fields.iter().enumerate() {
            if at > 0 {
                values.push(b'\n');
            }
            // Writing a value to memory does not fail.
            let _ = serde_json::to_writer(&mut values, value);
        }
        let shape = self.shape(fields.iter().map(|(name, _)| *name));
        (shape, String::from_utf8(values).unwrap_or_default())
    }

    /// The shape of these names, which are in order.
    pub fn shape<'n>(&mut self, names: impl Iterator<Item = &'n str> + Clone) -> Arc<Shape> {
        let hasher = &self.hasher;
        // One by one: a slice would hash its length too.
        let hash_of = |names: &mut dyn Iterator<Item = &str>| {
            names.fold(0_u64, |hash, name| hash.rotate_left(5) ^ hasher.hash_one((hash, name)))
        };
        let hash = hash_of(&mut names.clone());
        let same = |shape: &Arc<Shape>| shape.names().eq(names.clone());
        if let Some(shape) = self.table.find(hash, same) {
            return Arc::clone(shape);
        }
        let mut shape = Shape { names: names.map(Box::from).collect(), shared: false };
        let bytes = shape.heap();
        shape.shared = self.table.len() < MAX_SHARED && bytes <= MAX_SHARED_BYTES;
        let shape = Arc::new(shape);
        if shape.shared {
            self.bytes += bytes;
            let rehash = |shape: &Arc<Shape>| hash_of(&mut shape.names());
            self.table.insert_unique(hash, Arc::clone(&shape), rehash);
        }
        shape
    }
}

/// The metadata of a row, where it lies.
#[derive(Debug, Clone, Copy)]
pub(super) struct Packed<'a> {
    pub shape: &'a Arc<Shape>,
    pub values: &'a str,
}

impl<'a> Packed<'a> {
    /// Keys with the JSON text of their values.
    pub fn iter(&self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        self.shape.names.iter().map(|name| &**name).zip(self.values.split('\n'))
    }

    pub fn has(&self, name: &str) -> bool {
        self.shape.position(name).is_some()
    }

    /// The JSON text of a value.
    pub fn get(&self, name: &str) -> Option<&'a str> {
        self.values.split('\n').nth(self.shape.position(name)?)
    }

    /// Only these fields, parsed.
    pub fn fields<'k>(&self, keys: impl IntoIterator<Item = &'k str>) -> Map<String, Value> {
        let value = |name: &str| Some((name.to_owned(), serde_json::from_str(self.get(name)?).ok()?));
        keys.into_iter().filter_map(value).collect()
    }

    pub fn metadata(&self) -> Metadata {
        let mut json = String::with_capacity(self.values.len() + 16 * self.shape.names.len() + 2);
        json.push('{');
        for (at, (name, value)) in self.iter().enumerate() {
            if at > 0 {
                json.push(',');
            }
            json.push_str(&Value::from(name).to_string());
            json.push(':');
            json.push_str(value);
        }
        json.push('}');
        Metadata::of_valid(json)
    }
}

/// A value, parsed as far as an index needs it.
#[derive(Debug, PartialEq)]
pub(super) enum Parsed<'a> {
    Null,
    Bool(bool),
    Number(Number),
    Text(Cow<'a, str>),
    Array(Vec<Value>),
    Object(Map<String, Value>),
}

impl<'a> Parsed<'a> {
    /// From the JSON text of a value; `None` only when it is not JSON.
    pub fn of(json: &'a str) -> Option<Self> {
        match json.as_bytes() {
            [b'n', ..] => Some(Self::Null),
            [b't', ..] => Some(Self::Bool(true)),
            [b'f', ..] => Some(Self::Bool(false)),
            // Without an escape the text stands there as it is.
            [b'"', .., b'"'] if !json.contains('\\') => Some(Self::Text(json[1..json.len() - 1].into())),
            [b'"', ..] => Some(Self::Text(Cow::Owned(serde_json::from_str(json).ok()?))),
            [b'[', ..] => serde_json::from_str(json).ok().map(Self::Array),
            [b'{', ..] => serde_json::from_str(json).ok().map(Self::Object),
            _ => serde_json::from_str(json).ok().map(Self::Number),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn metadata_comes_back_as_it_was() {
        let mut shapes = Shapes::new();
        for value in [
            json!({}),
            json!({"": ""}),
            json!({"a": null, "b": [1, {"c": "x\ny"}], "c": -0.0, "\"é\n": 1e300}),
            json!({"text": "one\ntwo \\ \"three\" \u{1F600}", "n": u64::MAX, "m": i64::MIN, "f": 0.1}),
            json!({"a": {"b": {"c": [[], {}]}}, "a.b": true}),
        ] {
            let metadata = Metadata::new(value.clone()).unwrap();
            let (shape, values) = shapes.pack(&metadata);
            let packed = Packed { shape: &shape, values: &values };
            assert_eq!(packed.metadata(), metadata);
            assert_eq!(packed.metadata().fields(), metadata.fields());
            for (name, expected) in metadata.fields() {
                let text = packed.get(name).unwrap();
                assert_eq!(&serde_json::from_str::<Value>(text).unwrap(), expected);
                let parsed = match Parsed::of(text).unwrap() {
                    Parsed::Null => Value::Null,
                    Parsed::Bool(yes) => yes.into(),
                    Parsed::Number(number) => number.into(),
                    Parsed::Text(text) => text.into(),
                    Parsed::Array(elements) => elements.into(),
                    Parsed::Object(members) => members.into(),
                };
                assert_eq!(&parsed, expected);
                assert_eq!(packed.fields([name.as_str(), "absent"]).get(name), Some(expected));
            }
            assert!(packed.get("absent").is_none() && !packed.has("absent"));
        }
    }

    #[test]
    fn equal_keys_share_a_shape_and_the_table_is_bounded() {
        let mut shapes = Shapes::new();
        let mut shape = |value: Value| shapes.pack(&Metadata::new(value).unwrap()).0;
        let (one, two) = (shape(json!({"a": 1, "b": 2})), shape(json!({"b": "x", "a": null})));
        assert!(Arc::ptr_eq(&one, &two) && one.own_bytes() == 0);
        for n in 0..2 * MAX_SHARED {
            shape(json!({ n.to_string(): n }));
        }
        let late = shape(json!({"late": 1}));
        assert!(late.own_bytes() > 4);
        assert_eq!(shapes.table.len(), MAX_SHARED);
    }
}
