//! Sets of places in one block.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::super::packed::HEAP;

/// Places of a block.
pub(in super::super) const PLACES: usize = 16_384;
/// Words of a bitmap over a block.
pub(super) const WORDS: usize = PLACES / 64;
/// From so many places on a bitmap is smaller than a list.
const DENSE: usize = WORDS * size_of::<u64>() / size_of::<u16>();

/// A bitmap over the places of a block.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "Vec<u64>", try_from = "Vec<u64>")]
pub(in super::super) struct Bits(Box<[u64; WORDS]>);

impl From<Bits> for Vec<u64> {
    fn from(bits: Bits) -> Self {
        bits.0.to_vec()
    }
}

impl TryFrom<Vec<u64>> for Bits {
    type Error = String;

    fn try_from(words: Vec<u64>) -> Result<Self, String> {
        let words = words.into_boxed_slice().try_into();
        words.map(Self).map_err(|other: Box<[u64]>| format!("{} words are no bitmap of a block", other.len()))
    }
}

impl Bits {
    pub fn none() -> Self {
        Self(Box::new([0; WORDS]))
    }

    pub fn all() -> Self {
        Self(Box::new([u64::MAX; WORDS]))
    }

    pub fn words(&self) -> &[u64; WORDS] {
        &self.0
    }

    #[cfg(test)]
    pub fn contains(&self, place: u16) -> bool {
        self.0[usize::from(place) / 64] >> (place % 64) & 1 == 1
    }

    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }

    pub fn insert(&mut self, place: u16) {
        self.0[usize::from(place) / 64] |= 1 << (place % 64);
    }

    pub fn extend(&mut self, places: &[u16]) {
        places.iter().for_each(|place| self.insert(*place));
    }

    pub fn or(&mut self, other: &Self) {
        self.0.iter_mut().zip(&*other.0).for_each(|(word, other)| *word |= other);
    }

    pub fn and(&mut self, other: &Self) {
        self.0.iter_mut().zip(&*other.0).for_each(|(word, other)| *word &= other);
    }

    pub fn flip(&mut self) {
        self.0.iter_mut().for_each(|word| *word = !*word);
    }
}

/// A set that takes little memory whatever is in it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum Set {
    /// In any order.
    Few(Vec<u16>),
    Many(Bits),
    All,
}

impl Set {
    pub fn new() -> Self {
        Self::Few(Vec::new())
    }

    pub fn push(&mut self, place: u16) {
        match self {
            Self::Few(places) => places.push(place),
            Self::Many(bits) => bits.insert(place),
            Self::All => {}
        }
    }

    pub fn add_to(&self, bits: &mut Bits) {
        match self {
            Self::Few(places) => bits.extend(places),
            Self::Many(many) => bits.or(many),
            Self::All => *bits = Bits::all(),
        }
    }

    /// The same places in the least memory, once there will be no more.
    pub fn sealed(&self) -> Self {
        match self {
            Self::Few(places) if places.len() >= DENSE => {
                let mut bits = Bits::none();
                bits.extend(places);
                if bits == Bits::all() { Self::All } else { Self::Many(bits) }
            }
            other => other.clone(),
        }
    }

    pub fn bytes(&self) -> usize {
        match self {
            Self::Few(places) if places.capacity() == 0 => 0,
            Self::Few(places) => places.capacity() * size_of::<u16>() + HEAP,
            Self::Many(_) => WORDS * size_of::<u64>() + HEAP,
            Self::All => 0,
        }
    }
}

/// Places grouped by the number of their value, for values in order: a range of values is one
/// stretch of memory. A value of many places has a bitmap instead.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Runs {
    /// Where each value's places begin, and the end; empty when every value has one place.
    starts: Box<[u32]>,
    places: Box<[u16]>,
    /// By value.
    dense: Box<[(u32, Bits)]>,
}

impl Runs {
    /// From the places of each value.
    pub fn new(values: impl Iterator<Item = Vec<u16>>) -> Self {
        let (mut starts, mut all, mut dense) = (vec![0], Vec::new(), Vec::new());
        for (value, places) in (0..).zip(values) {
            if places.len() >= DENSE {
                let mut bits = Bits::none();
                bits.extend(&places);
                dense.push((value, bits));
            } else {
                all.extend(places);
            }
            starts.push(all.len() as u32);
        }
        if starts.iter().zip(0..).all(|(start, value)| *start == value) {
            starts.clear();
        }
        Self { starts: starts.into(), places: all.into(), dense: dense.into() }
    }

    /// Adds the places of these values.
    pub fn add_to(&self, values: Range<usize>, bits: &mut Bits) {
        if values.is_empty() {
            return;
        }
        let start = |value: usize| self.starts.get(value).map_or(value, |start| *start as usize);
        bits.extend(&self.places[start(values.start)..start(values.end)]);
        for (value, dense) in &self.dense {
            if values.contains(&(*value as usize)) {
                bits.or(dense);
            }
        }
    }

    pub fn bytes(&self) -> usize {
        let dense = self.dense.len() * (WORDS * size_of::<u64>() + HEAP + size_of::<(u32, Bits)>());
        size_of_val(&*self.starts) + size_of_val(&*self.places) + dense
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(bits: &Bits) -> Vec<u16> {
        (0..PLACES as u16).filter(|place| bits.contains(*place)).collect()
    }

    #[test]
    fn a_set_is_the_same_in_every_form() {
        for step in [1, 2, 15, 16, 17, 5_000] {
            let mut set = Set::new();
            let expected: Vec<u16> = (0..PLACES as u16).step_by(step).collect();
            expected.iter().for_each(|place| set.push(*place));
            for set in [&set, &set.sealed()] {
                let mut bits = Bits::none();
                set.add_to(&mut bits);
                assert_eq!(places(&bits), expected);
            }
            assert!(set.sealed().bytes() <= WORDS * 8 + HEAP);
        }
        assert!(matches!(Set::new().sealed(), Set::Few(places) if places.is_empty()));
    }

    #[test]
    fn a_range_of_values_is_the_union_of_their_places() {
        let even: Vec<u16> = (0..PLACES as u16).step_by(2).collect();
        for values in [vec![vec![3], vec![1], vec![9]], vec![vec![1, 5], even, vec![], vec![3, 7, 9]]] {
            let runs = Runs::new(values.iter().cloned());
            for from in 0..=values.len() {
                for to in from..=values.len() {
                    let (mut bits, mut expected) = (Bits::none(), Bits::none());
                    runs.add_to(from..to, &mut bits);
                    values[from..to].iter().for_each(|places| expected.extend(places));
                    assert_eq!(bits, expected);
                }
            }
        }
    }
}
