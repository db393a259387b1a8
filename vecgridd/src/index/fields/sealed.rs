//! The scalars of one field in a full block: sorted arrays.

use std::{cmp::Ordering, ops::Range};

use serde::{Deserialize, Serialize};

use super::{
    Texts,
    evaluate::{Found, Is, Scalars},
    open::Flags,
    set::{Bits, Runs},
};
use crate::types::filter::{Number, Order};

/// Bytes per row that the different strings of a field may take.
const DICTIONARY: usize = 4;

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Sealed {
    flags: Flags,
    numbers: Numbers,
    number_places: Runs,
    strings: Strings,
}

/// Different numbers, in order.
#[derive(Debug, Serialize, Deserialize)]
enum Numbers {
    /// Whole ones.
    Whole(Box<[i64]>),
    /// Those that a float holds exactly.
    Float(Box<[f64]>),
    /// A mixture that neither holds.
    Wide(Box<[Number]>),
}

#[derive(Debug, Serialize, Deserialize)]
enum Strings {
    /// All different strings, in order: one text, the ends in it, and the places of each.
    Listed { text: Box<str>, ends: Box<[u32]>, places: Runs },
    /// Places in the order of their strings, which are in the rows.
    InRows(Box<[u16]>),
}

impl Sealed {
    /// From values in order with their places. `in_rows`: strings may be left to the rows.
    pub fn new<'a>(
        flags: Flags,
        numbers: impl Iterator<Item = (Number, Vec<u16>)>,
        strings: impl Iterator<Item = (&'a str, Vec<u16>)>,
        in_rows: bool,
    ) -> Self {
        let (numbers, number_places): (Vec<_>, Vec<_>) = numbers.unzip();
        let (strings, places): (Vec<_>, Vec<_>) = strings.unzip();
        let listed: usize = strings.iter().map(|text| text.len() + size_of::<u32>()).sum();
        let rows: usize = places.iter().map(Vec::len).sum();
        let strings = if in_rows && listed > DICTIONARY * rows {
            Strings::InRows(places.concat().into())
        } else {
            let ends = strings.iter().scan(0, |end, text| {
                *end += text.len() as u32;
                Some(*end)
            });
            Strings::Listed {
                ends: ends.collect(),
                text: strings.concat().into(),
                places: Runs::new(places.into_iter()),
            }
        };
        Self {
            flags,
            numbers: Numbers::new(numbers),
            number_places: Runs::new(number_places.into_iter()),
            strings,
        }
    }

    /// Memory behind it.
    pub fn bytes(&self) -> usize {
        let numbers = match &self.numbers {
            Numbers::Whole(values) => size_of_val(&**values),
            Numbers::Float(values) => size_of_val(&**values),
            Numbers::Wide(values) => size_of_val(&**values),
        };
        let strings = match &self.strings {
            Strings::Listed { text, ends, places } => text.len() + size_of_val(&**ends) + places.bytes(),
            Strings::InRows(places) => size_of_val(&**places),
        };
        self.flags.bytes() + numbers + self.number_places.bytes() + strings
    }
}

impl Numbers {
    fn new(numbers: Vec<Number>) -> Self {
        let whole = |number: &Number| match number {
            Number::Whole(whole) => i64::try_from(*whole).ok(),
            Number::Float(_) => None,
        };
        if let Some(values) = numbers.iter().map(whole).collect() {
            return Self::Whole(values);
        }
        let float = |number: &Number| match number {
            Number::Whole(whole) => {
                let float = *whole as f64;
                (Number::of_float(float) == Some(*number)).then_some(float)
            }
            Number::Float(float) => Some(*float),
        };
        match numbers.iter().map(float).collect() {
            Some(values) => Self::Float(values),
            None => Self::Wide(numbers.into()),
        }
    }

    /// The values that are so against the operand.
    fn range(&self, is: Is, operand: Number) -> Range<usize> {
        match self {
            Self::Whole(values) => {
                range(values.len(), is, |at| Number::Whole(values[at].into()).cmp(&operand))
            }
            Self::Float(values) => range(values.len(), is, |at| {
                // Finite, since they were numbers before.
                Number::of_float(values[at]).map_or(Ordering::Less, |value| value.cmp(&operand))
            }),
            Self::Wide(values) => range(values.len(), is, |at| values[at].cmp(&operand)),
        }
    }
}

impl Scalars for Sealed {
    fn flags(&self) -> &Flags {
        &self.flags
    }

    fn numbers(&self, is: Is, operand: Number, bits: &mut Bits) {
        self.number_places.add_to(self.numbers.range(is, operand), bits);
    }

    fn strings(&self, is: Is, operand: &str, field: &str, texts: &dyn Texts, bits: &mut Bits) {
        match &self.strings {
            Strings::Listed { text, ends, places } => {
                places.add_to(range(ends.len(), is, |at| word(text, ends, at).cmp(operand)), bits);
            }
            Strings::InRows(places) => {
                // The strings are there, since the places were made from them.
                let text = |at: usize| texts.text(field, places[at]).unwrap_or_default();
                bits.extend(&places[range(places.len(), is, |at| text(at).as_str().cmp(operand))]);
            }
        }
    }

    fn containing(&self, part: &str, found: &mut Found) {
        match &self.strings {
            Strings::Listed { text, ends, places } => {
                for at in 0..ends.len() {
                    if word(text, ends, at).contains(part) {
                        places.add_to(at..at + 1, &mut found.yes);
                    }
                }
            }
            Strings::InRows(places) => found.maybe.extend(places),
        }
    }
}

fn word<'a>(text: &'a str, ends: &[u32], at: usize) -> &'a str {
    let start = at.checked_sub(1).map_or(0, |before| ends[before]);
    &text[start as usize..ends[at] as usize]
}

/// Those of `len` values in order that are so against an operand, which `order` compares them with.
fn range(len: usize, is: Is, order: impl Fn(usize) -> Ordering) -> Range<usize> {
    let below = |from: usize, stop: Ordering| {
        let (mut low, mut high) = (from, len);
        while low < high {
            let middle = low + (high - low) / 2;
            if order(middle) < stop { low = middle + 1 } else { high = middle }
        }
        low
    };
    // The first that is not less, and the first that is greater.
    let not_less = || below(0, Ordering::Equal);
    match is {
        Is::Equal => {
            let from = not_less();
            from..below(from, Ordering::Greater)
        }
        Is::Than(Order::Greater) => below(0, Ordering::Greater)..len,
        Is::Than(Order::GreaterOrEqual) => not_less()..len,
        Is::Than(Order::Less) => 0..not_less(),
        Is::Than(Order::LessOrEqual) => 0..below(0, Ordering::Greater),
    }
}
