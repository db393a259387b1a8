//! A filter against the columns of one block.
//!
//! Each condition gives the rows that match for certain, and the rows that may. The opposite of a
//! condition swaps their complements, so nothing needs to be known exactly but what is sure.

use super::{
    MAX_WORD, Texts,
    open::Flags,
    segment::{Column, Field, Segment},
    set::Bits,
};
use crate::types::filter::{self, Node, Number, Operand, Order, Path, Test};

/// What a filter says about the rows of a block.
pub(in super::super) struct Found {
    /// These match.
    pub yes: Bits,
    /// These may match too, or be in `yes`; rows in neither do not.
    pub maybe: Bits,
}

/// How a value must be against an operand.
#[derive(Debug, Clone, Copy)]
pub(super) enum Is {
    Equal,
    Than(Order),
}

/// The scalars of one field, in whatever form.
pub(super) trait Scalars {
    fn flags(&self) -> &Flags;

    /// Adds the places of such numbers.
    fn numbers(&self, is: Is, operand: Number, bits: &mut Bits);

    /// Adds the places of such strings, long ones aside.
    fn strings(&self, is: Is, operand: &str, field: &str, texts: &dyn Texts, bits: &mut Bits);

    /// Adds the places of strings with this part, long ones aside.
    fn containing(&self, part: &str, found: &mut Found);
}

impl Found {
    fn none() -> Self {
        Self { yes: Bits::none(), maybe: Bits::none() }
    }

    fn all() -> Self {
        Self { yes: Bits::all(), maybe: Bits::none() }
    }

    pub fn unknown() -> Self {
        Self { yes: Bits::none(), maybe: Bits::all() }
    }

    /// `yes` or `maybe`.
    fn possible(mut self) -> (Bits, Bits) {
        self.maybe.or(&self.yes);
        (self.yes, self.maybe)
    }

    fn and(self, other: Self) -> Self {
        let ((mut yes, mut maybe), (other_yes, other_maybe)) = (self.possible(), other.possible());
        yes.and(&other_yes);
        maybe.and(&other_maybe);
        Self { yes, maybe }
    }

    fn or(mut self, other: Self) -> Self {
        self.yes.or(&other.yes);
        self.maybe.or(&other.maybe);
        self
    }

    fn not(self) -> Self {
        let (mut yes, mut maybe) = self.possible();
        yes.flip();
        maybe.flip();
        Self { yes: maybe, maybe: yes }
    }

    fn is_empty(&self) -> bool {
        self.yes.is_empty() && self.maybe.is_empty()
    }
}

impl<V: Scalars> Segment<V> {
    /// Which rows match. Places without a row may be in the answer.
    pub fn evaluate(&self, node: &Node, texts: &dyn Texts) -> Found {
        match node {
            Node::All(nodes) => {
                let mut found: Option<Found> = None;
                for node in nodes {
                    if found.as_ref().is_some_and(Found::is_empty) {
                        break;
                    }
                    let next = self.evaluate(node, texts);
                    found = Some(match found {
                        Some(found) => found.and(next),
                        None => next,
                    });
                }
                found.unwrap_or_else(Found::all)
            }
            Node::Any(nodes) => nodes
                .iter()
                .map(|node| self.evaluate(node, texts))
                .reduce(Found::or)
                .unwrap_or_else(Found::none),
            Node::Not(node) => self.evaluate(node, texts).not(),
            Node::Field(path, test) => self.test(path, test, texts),
        }
    }

    fn test(&self, path: &Path, test: &Test, texts: &dyn Texts) -> Found {
        let column = match self.field(&path.name, path.parts.len()) {
            Field::Known(column) => column,
            Field::Unknown => return Found::unknown(),
            Field::Absent => {
                return match test {
                    Test::Exists(false) | Test::Ne(_) | Test::NotIn(_) => Found::all(),
                    _ => Found::none(),
                };
            }
        };
        let look = Look { column, field: &path.name, texts };
        match test {
            Test::Eq(operand) => look.equal(operand),
            Test::Ne(operand) => look.equal(operand).not(),
            Test::Than(order, operand) => look.than(*order, operand),
            Test::In(scalars) => look.one_of(scalars),
            Test::NotIn(scalars) => look.one_of(scalars).not(),
            Test::Exists(true) => look.present(),
            Test::Exists(false) => look.present().not(),
            Test::Contains(operand) => look.contains(operand),
        }
    }
}

/// One field that is looked at.
struct Look<'a, V> {
    column: &'a Column<V>,
    field: &'a str,
    texts: &'a dyn Texts,
}

impl<V: Scalars> Look<'_, V> {
    fn present(&self) -> Found {
        let mut found = Found::none();
        self.column.present.add_to(&mut found.yes);
        found
    }

    fn equal(&self, operand: &serde_json::Value) -> Found {
        let mut found = Found::none();
        match operand {
            serde_json::Value::Array(_) => self.column.arrays.add_to(&mut found.maybe),
            serde_json::Value::Object(_) => self.column.objects.add_to(&mut found.maybe),
            scalar => {
                self.scalar(&self.column.values, scalar, &mut found);
                self.column.unlisted.add_to(&mut found.maybe);
            }
        }
        found
    }

    /// Adds the places of a scalar.
    fn scalar(&self, values: &V, scalar: &serde_json::Value, found: &mut Found) {
        match scalar {
            serde_json::Value::Null => values.flags().null.add_to(&mut found.yes),
            serde_json::Value::Bool(true) => values.flags().yes.add_to(&mut found.yes),
            serde_json::Value::Bool(false) => values.flags().no.add_to(&mut found.yes),
            serde_json::Value::Number(number) => {
                if let Some(number) = Number::of(number) {
                    values.numbers(Is::Equal, number, &mut found.yes);
                }
            }
            serde_json::Value::String(text) => self.text(values, text, found),
            serde_json::Value::Array(_) | serde_json::Value::Object(_) => {}
        }
    }

    fn text(&self, values: &V, text: &str, found: &mut Found) {
        if text.len() > MAX_WORD {
            values.flags().long.add_to(&mut found.maybe);
        } else {
            values.strings(Is::Equal, text, self.field, self.texts, &mut found.yes);
        }
    }

    fn than(&self, order: Order, operand: &Operand) -> Found {
        let mut found = Found::none();
        let values = &self.column.values;
        match operand {
            Operand::Number(number) => values.numbers(Is::Than(order), *number, &mut found.yes),
            Operand::String(text) => {
                values.strings(Is::Than(order), text, self.field, self.texts, &mut found.yes);
                values.flags().long.add_to(&mut found.maybe);
            }
        }
        self.column.unlisted.add_to(&mut found.maybe);
        found
    }

    fn one_of(&self, scalars: &filter::Scalars) -> Found {
        let mut found = Found::none();
        let values = &self.column.values;
        let flags = values.flags();
        for (wanted, set) in [(scalars.null, &flags.null), (scalars.yes, &flags.yes), (scalars.no, &flags.no)]
        {
            if wanted {
                set.add_to(&mut found.yes);
            }
        }
        scalars.numbers.iter().for_each(|number| values.numbers(Is::Equal, *number, &mut found.yes));
        scalars.strings.iter().for_each(|text| self.text(values, text, &mut found));
        self.column.unlisted.add_to(&mut found.maybe);
        found
    }

    /// An element of an array, or a part of a string.
    fn contains(&self, operand: &serde_json::Value) -> Found {
        let mut found = Found::none();
        self.scalar(&self.column.elements, operand, &mut found);
        if let serde_json::Value::String(part) = operand {
            self.column.values.containing(part, &mut found);
            self.column.values.flags().long.add_to(&mut found.maybe);
        }
        self.column.unlisted.add_to(&mut found.maybe);
        found
    }
}
