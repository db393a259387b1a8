//! The scalars of one field in the block that is being filled: ordered maps.

use std::{
    collections::BTreeMap,
    ops::Bound::{self, Excluded, Included, Unbounded},
};

use serde::{Deserialize, Serialize};

use super::{
    super::packed::{HEAP, Parsed},
    MAX_WORD, Texts,
    evaluate::{Found, Is, Scalars},
    sealed::Sealed,
    set::{Bits, Set},
};
use crate::types::filter::{Number, Order};

/// Of the last place of a value.
const END: u32 = u32::MAX;

/// Scalars without a list of their own.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Flags {
    pub null: Set,
    pub yes: Set,
    pub no: Set,
    /// Strings too long to keep.
    pub long: Set,
}

impl Flags {
    pub fn bytes(&self) -> usize {
        [&self.null, &self.yes, &self.no, &self.long].into_iter().map(Set::bytes).sum()
    }
}

/// Values in order, each with the chain of its places.
#[derive(Debug)]
pub(super) struct Open {
    flags: Flags,
    /// By value: its last link.
    numbers: BTreeMap<Number, u32>,
    strings: BTreeMap<Box<str>, u32>,
    /// A place, and the link before it.
    links: Vec<(u16, u32)>,
}

impl Default for Open {
    fn default() -> Self {
        let flags = Flags { null: Set::new(), yes: Set::new(), no: Set::new(), long: Set::new() };
        Self { flags, numbers: BTreeMap::new(), strings: BTreeMap::new(), links: Vec::new() }
    }
}

impl Open {
    /// Adds a scalar; returns about how much memory that took.
    pub fn add(&mut self, place: u16, value: &Parsed<'_>) -> usize {
        const LINK: usize = size_of::<(u16, u32)>();
        match value {
            Parsed::Null => self.flags.null.push(place),
            Parsed::Bool(true) => self.flags.yes.push(place),
            Parsed::Bool(false) => self.flags.no.push(place),
            Parsed::Number(number) => {
                // What has no value is equal to nothing, and in no order.
                let Some(number) = Number::of(number) else { return 0 };
                let chain = self.numbers.entry(number).or_insert(END);
                link(&mut self.links, chain, place);
                return LINK + 2 * size_of::<Number>();
            }
            Parsed::Text(text) if text.len() > MAX_WORD => self.flags.long.push(place),
            Parsed::Text(text) => {
                if let Some(chain) = self.strings.get_mut(&**text) {
                    link(&mut self.links, chain, place);
                    return LINK;
                }
                let chain = self.strings.entry(Box::from(&**text)).or_insert(END);
                link(&mut self.links, chain, place);
                return LINK + text.len() + 2 * size_of::<Box<str>>() + HEAP;
            }
            Parsed::Array(_) | Parsed::Object(_) => return 0,
        }
        size_of::<u16>()
    }

    fn chain(&self, last: u32) -> impl Iterator<Item = u16> {
        let mut next = last;
        std::iter::from_fn(move || {
            // `END` is beyond every list.
            let (place, before) = *self.links.get(next as usize)?;
            next = before;
            Some(place)
        })
    }

    fn add_chains<'a>(&self, chains: impl Iterator<Item = &'a u32>, bits: &mut Bits) {
        chains.for_each(|last| self.chain(*last).for_each(|place| bits.insert(place)));
    }

    fn places(&self, last: u32) -> Vec<u16> {
        let mut places: Vec<u16> = self.chain(last).collect();
        places.reverse();
        places
    }

    /// The same in compact form. `in_rows`: strings may be left to the rows.
    pub fn seal(&self, in_rows: bool) -> Sealed {
        let flags = Flags {
            null: self.flags.null.sealed(),
            yes: self.flags.yes.sealed(),
            no: self.flags.no.sealed(),
            long: self.flags.long.sealed(),
        };
        let numbers = self.numbers.iter().map(|(number, last)| (*number, self.places(*last)));
        let strings = self.strings.iter().map(|(text, last)| (&**text, self.places(*last)));
        Sealed::new(flags, numbers, strings, in_rows)
    }
}

fn link(links: &mut Vec<(u16, u32)>, chain: &mut u32, place: u16) {
    // An array may have an element twice.
    if links.get(*chain as usize).is_none_or(|(last, _)| *last != place) {
        links.push((place, *chain));
        *chain = links.len() as u32 - 1;
    }
}

impl Scalars for Open {
    fn flags(&self) -> &Flags {
        &self.flags
    }

    fn numbers(&self, is: Is, operand: Number, bits: &mut Bits) {
        self.add_chains(self.numbers.range(bounds(is, &operand)).map(|(_, last)| last), bits);
    }

    fn strings(&self, is: Is, operand: &str, _: &str, _: &dyn Texts, bits: &mut Bits) {
        self.add_chains(self.strings.range::<str, _>(bounds(is, operand)).map(|(_, last)| last), bits);
    }

    fn containing(&self, part: &str, found: &mut Found) {
        let strings = self.strings.iter().filter(|(text, _)| text.contains(part));
        self.add_chains(strings.map(|(_, last)| last), &mut found.yes);
    }
}

fn bounds<T: ?Sized>(is: Is, operand: &T) -> (Bound<&T>, Bound<&T>) {
    match is {
        Is::Equal => (Included(operand), Included(operand)),
        Is::Than(Order::Greater) => (Excluded(operand), Unbounded),
        Is::Than(Order::GreaterOrEqual) => (Included(operand), Unbounded),
        Is::Than(Order::Less) => (Unbounded, Excluded(operand)),
        Is::Than(Order::LessOrEqual) => (Unbounded, Included(operand)),
    }
}
