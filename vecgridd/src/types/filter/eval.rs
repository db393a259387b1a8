//! A compiled filter, and how a row is held against it.

use std::{
    cmp::Ordering,
    collections::{BTreeSet, HashSet},
};

use serde_json::{Map, Value};

use super::number::Number;

/// A condition, compiled.
#[derive(Debug)]
pub(crate) enum Node {
    /// Every one of them; none is true.
    All(Vec<Node>),
    /// At least one of them.
    Any(Vec<Node>),
    /// Not this one.
    Not(Box<Node>),
    /// A test of one field.
    Field(Path, Test),
}

impl Node {
    pub(super) fn matches(&self, fields: &Map<String, Value>) -> bool {
        match self {
            Self::All(nodes) => nodes.iter().all(|node| node.matches(fields)),
            Self::Any(nodes) => nodes.iter().any(|node| node.matches(fields)),
            Self::Not(node) => !node.matches(fields),
            Self::Field(path, test) => test.holds(path.find(fields)),
        }
    }

    /// Adds the keys of a row that [`matches`](Self::matches) may look at.
    pub(super) fn keys<'a>(&'a self, keys: &mut BTreeSet<&'a str>) {
        match self {
            Self::All(nodes) | Self::Any(nodes) => nodes.iter().for_each(|node| node.keys(keys)),
            Self::Not(node) => node.keys(keys),
            Self::Field(path, _) => {
                keys.insert(&path.name);
                keys.extend(path.parts.first().map(String::as_str));
            }
        }
    }
}

/// Where a field is.
#[derive(Debug, Clone)]
pub(crate) struct Path {
    pub(crate) name: String,
    /// The parts between the dots; empty when there is no dot.
    pub(crate) parts: Vec<String>,
}

impl Path {
    pub(super) fn new(name: &str) -> Self {
        let parts =
            if name.contains('.') { name.split('.').map(str::to_owned).collect() } else { Vec::new() };
        Self { name: name.to_owned(), parts }
    }

    /// A key of this very name comes first, so that a dot inside a key hides nothing.
    fn find<'a>(&self, fields: &'a Map<String, Value>) -> Option<&'a Value> {
        if let Some(value) = fields.get(&self.name) {
            return Some(value);
        }
        let (first, rest) = self.parts.split_first()?;
        rest.iter().try_fold(fields.get(first)?, |value, part| value.as_object()?.get(part))
    }
}

/// A test of one value. All but `Exists`, `Ne` and `NotIn` are false for a missing one.
#[derive(Debug)]
pub(crate) enum Test {
    Eq(Value),
    Ne(Value),
    Than(Order, Operand),
    In(Scalars),
    NotIn(Scalars),
    Exists(bool),
    /// A scalar.
    Contains(Value),
}

/// Which side of the operand.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Order {
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
}

/// What has an order.
#[derive(Debug)]
pub(crate) enum Operand {
    Number(Number),
    String(String),
}

impl Test {
    fn holds(&self, value: Option<&Value>) -> bool {
        match self {
            Self::Eq(operand) => value.is_some_and(|value| equal(value, operand)),
            Self::Ne(operand) => !value.is_some_and(|value| equal(value, operand)),
            Self::Than(order, operand) => value.is_some_and(|value| order.holds(value, operand)),
            Self::In(scalars) => value.is_some_and(|value| scalars.contain(value)),
            Self::NotIn(scalars) => !value.is_some_and(|value| scalars.contain(value)),
            Self::Exists(expected) => value.is_some() == *expected,
            Self::Contains(operand) => value.is_some_and(|value| contains(value, operand)),
        }
    }
}

impl Order {
    fn holds(self, value: &Value, operand: &Operand) -> bool {
        let order = match (value, operand) {
            (Value::Number(value), Operand::Number(operand)) => {
                let Some(value) = Number::of(value) else { return false };
                value.order(*operand)
            }
            // UTF-8 bytes are ordered as code points are.
            (Value::String(value), Operand::String(operand)) => value.as_str().cmp(operand.as_str()),
            _ => return false,
        };
        self.admits(order)
    }

    /// Whether a value that is so against the operand holds.
    pub(crate) fn admits(self, order: Ordering) -> bool {
        match self {
            Self::Greater => order == Ordering::Greater,
            Self::GreaterOrEqual => order != Ordering::Less,
            Self::Less => order == Ordering::Less,
            Self::LessOrEqual => order != Ordering::Greater,
        }
    }
}

/// Deep equality; numbers by value, objects without regard to the order of their keys.
pub(super) fn equal(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Null, Value::Null) => true,
        (Value::Bool(a), Value::Bool(b)) => a == b,
        (Value::Number(a), Value::Number(b)) => Number::of(a).is_some_and(|a| Number::of(b) == Some(a)),
        (Value::String(a), Value::String(b)) => a == b,
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| equal(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| equal(a, b)))
        }
        _ => false,
    }
}

fn contains(value: &Value, operand: &Value) -> bool {
    match (value, operand) {
        (Value::Array(elements), _) => elements.iter().any(|element| equal(element, operand)),
        (Value::String(text), Value::String(part)) => text.contains(part.as_str()),
        _ => false,
    }
}

/// The operand of `$in` and `$nin`: a long list costs one look-up per row.
#[derive(Debug, Default)]
pub(crate) struct Scalars {
    pub(crate) null: bool,
    pub(crate) yes: bool,
    pub(crate) no: bool,
    pub(crate) numbers: HashSet<Number>,
    pub(crate) strings: HashSet<String>,
}

impl Scalars {
    /// Adds a scalar; says no to anything else.
    pub(super) fn insert(&mut self, value: &Value) -> bool {
        match value {
            Value::Null => self.null = true,
            Value::Bool(true) => self.yes = true,
            Value::Bool(false) => self.no = true,
            Value::Number(number) => self.numbers.extend(Number::of(number)),
            Value::String(text) => {
                self.strings.insert(text.clone());
            }
            Value::Array(_) | Value::Object(_) => return false,
        }
        true
    }

    fn contain(&self, value: &Value) -> bool {
        match value {
            Value::Null => self.null,
            Value::Bool(true) => self.yes,
            Value::Bool(false) => self.no,
            Value::Number(number) => Number::of(number).is_some_and(|number| self.numbers.contains(&number)),
            Value::String(text) => self.strings.contains(text.as_str()),
            Value::Array(_) | Value::Object(_) => false,
        }
    }
}
