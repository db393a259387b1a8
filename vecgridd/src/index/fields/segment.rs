//! The fields of one block.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{
    super::packed::{HEAP, Packed, Parsed},
    MAX_ELEMENTS, MAX_FIELDS, MAX_NAME, MAX_OPEN_BYTES, MAX_PARTS,
    open::Open,
    sealed::Sealed,
    set::Set,
};

/// The fields of one block; `V` holds the values: [`Open`] or [`Sealed`].
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Segment<V> {
    /// `None` when the field was too dear.
    columns: BTreeMap<Box<str>, Option<Column<V>>>,
    /// Whether a field without a column is in no row.
    complete: bool,
    /// Names and columns, estimated; counted while rows are added.
    bytes: usize,
}

/// What the rows of a block have in one field.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Column<V> {
    /// Rows that have the field.
    pub present: Set,
    pub arrays: Set,
    pub objects: Set,
    /// Scalars and arrays that came when memory was full, and arrays that are too long.
    pub unlisted: Set,
    /// Scalars.
    pub values: V,
    /// Scalars in arrays.
    pub elements: V,
}

/// What is known of a field.
pub(super) enum Field<'a, V> {
    /// No row has it.
    Absent,
    Known(&'a Column<V>),
    Unknown,
}

impl<V> Default for Segment<V> {
    fn default() -> Self {
        Self { columns: BTreeMap::new(), complete: true, bytes: 0 }
    }
}

impl<V> Segment<V> {
    /// A segment that knows nothing.
    pub fn unknown() -> Self {
        Self { columns: BTreeMap::new(), complete: false, bytes: 0 }
    }

    pub fn field(&self, name: &str, parts: usize) -> Field<'_, V> {
        match self.columns.get(name) {
            _ if parts > MAX_PARTS => Field::Unknown,
            Some(Some(column)) => Field::Known(column),
            None if self.complete => Field::Absent,
            Some(None) | None => Field::Unknown,
        }
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Segment<Open> {
    /// Adds a row behind all others.
    pub fn add(&mut self, place: u16, row: Packed<'_>) {
        for (name, json) in row.iter() {
            let Some(value) = Parsed::of(json) else {
                // A bug of whoever packed it: nothing is known of the field any more.
                self.columns.insert(name.into(), None);
                self.complete = false;
                continue;
            };
            if let Parsed::Object(members) = &value
                && !name.contains('.')
            {
                self.add_members(place, row, name, members, 2);
            }
            self.add_value(place, name, &value);
        }
    }

    /// Adds what is inside an object, under paths with dots. A key with a dot cannot be reached so.
    fn add_members(
        &mut self,
        place: u16,
        row: Packed<'_>,
        path: &str,
        members: &Map<String, Value>,
        part: usize,
    ) {
        if part > MAX_PARTS {
            return;
        }
        for (name, value) in members.iter().filter(|(name, _)| !name.contains('.')) {
            let path = format!("{path}.{name}");
            if let Value::Object(members) = value {
                self.add_members(place, row, &path, members, part + 1);
            }
            // A key of that very name comes first.
            if !row.has(&path) {
                self.add_value(place, &path, &parsed(value));
            }
        }
    }

    fn add_value(&mut self, place: u16, name: &str, value: &Parsed<'_>) {
        if !self.columns.contains_key(name) {
            if self.columns.len() >= MAX_FIELDS || name.len() > MAX_NAME || self.bytes > MAX_OPEN_BYTES {
                self.complete = false;
                return;
            }
            self.bytes += name.len() + size_of::<Column<Open>>() + 2 * HEAP;
            self.columns.insert(name.into(), Some(Column::new()));
        }
        if let Some(Some(column)) = self.columns.get_mut(name) {
            let full = self.bytes > MAX_OPEN_BYTES;
            self.bytes += column.add(place, value, full) + size_of::<u16>();
        }
    }

    /// The same in compact form, at most `budget` bytes: the dearest fields are dropped.
    pub fn seal(&self, budget: usize) -> Segment<Sealed> {
        let mut columns: Vec<(&str, Column<Sealed>)> = Vec::with_capacity(self.columns.len());
        for (name, column) in &self.columns {
            columns.extend(column.as_ref().map(|column| (&**name, column.seal())));
        }
        columns.sort_by_cached_key(|(_, column)| column.bytes());
        let mut sealed = Segment { complete: self.complete, ..Segment::default() };
        for (name, column) in columns {
            let bytes = column.bytes() + name.len() + 2 * HEAP;
            let fits = sealed.bytes + bytes <= budget;
            sealed.bytes += if fits { bytes } else { name.len() + HEAP };
            sealed.columns.insert(name.into(), fits.then_some(column));
        }
        sealed
    }
}

impl Column<Open> {
    fn new() -> Self {
        Self {
            present: Set::new(),
            arrays: Set::new(),
            objects: Set::new(),
            unlisted: Set::new(),
            values: Open::default(),
            elements: Open::default(),
        }
    }

    /// Adds the value of a row; returns about how much memory that took.
    fn add(&mut self, place: u16, value: &Parsed<'_>, full: bool) -> usize {
        self.present.push(place);
        match value {
            Parsed::Object(_) => self.objects.push(place),
            Parsed::Array(elements) => {
                self.arrays.push(place);
                if !full && elements.len() <= MAX_ELEMENTS {
                    let scalars =
                        elements.iter().filter(|element| !element.is_array() && !element.is_object());
                    return scalars.map(|element| self.elements.add(place, &parsed(element))).sum();
                }
                self.unlisted.push(place);
            }
            _ if full => self.unlisted.push(place),
            scalar => return self.values.add(place, scalar),
        }
        size_of::<u16>()
    }

    fn seal(&self) -> Column<Sealed> {
        Column {
            present: self.present.sealed(),
            arrays: self.arrays.sealed(),
            objects: self.objects.sealed(),
            unlisted: self.unlisted.sealed(),
            values: self.values.seal(true),
            elements: self.elements.seal(false),
        }
    }
}

impl Column<Sealed> {
    fn bytes(&self) -> usize {
        let sets = [&self.present, &self.arrays, &self.objects, &self.unlisted];
        let sets: usize = sets.into_iter().map(Set::bytes).sum();
        size_of::<Self>() + sets + self.values.bytes() + self.elements.bytes()
    }
}

fn parsed(value: &Value) -> Parsed<'_> {
    match value {
        Value::Null => Parsed::Null,
        Value::Bool(yes) => Parsed::Bool(*yes),
        Value::Number(number) => Parsed::Number(number.clone()),
        Value::String(text) => Parsed::Text(text.as_str().into()),
        Value::Array(elements) => Parsed::Array(elements.clone()),
        // Members are added apart.
        Value::Object(_) => Parsed::Object(Map::new()),
    }
}
