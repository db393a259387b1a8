//! Which rows are eligible, and the exact search over them.
//!
//! Eligible = alive in the view ∧ has a vector (for searches) ∧ partition in the answer set ∧ filter.
//! This is found out once per search, into one word of bits per chunk: the filter by the indexes of
//! metadata (`fields`), and by the row itself where those are not sure. What was asked for before is known of full
//! blocks (`selections`). When neither answer set nor filter restricts anything, no bits are kept and chunks are asked
//! directly.

use std::{array, collections::BTreeSet, sync::Arc};

use super::{
    chunk::{CHUNK, Chunk},
    distance::{Measure, prefetch},
    engine::Engine,
    fields::PLACES,
    partition_set::PartitionSet,
    rows::{BLOCK, Rows},
    selections::{Asked, Chosen, Codes, Known, MAX_CODES, Selection},
    side_by_side::SideBySide,
    top_k::TopK,
};
use crate::types::Filter;

/// Rows that one call of a kernel takes.
const FOUR: usize = 4;

/// What a row must have to be eligible.
#[derive(Clone, Copy)]
pub(super) struct Wanted<'a> {
    pub rows: &'a Rows,
    /// Operation of the view.
    pub now: u64,
    /// Only rows with a vector.
    pub vectors: bool,
    /// `None` = any.
    pub partitions: Option<&'a PartitionSet>,
    /// `None` = any.
    pub filter: Option<&'a Filter>,
}

impl<'a> Wanted<'a> {
    /// Whether being alive (with a vector) is all it takes.
    pub fn is_plain(&self) -> bool {
        self.partitions.is_none() && self.filter.is_none()
    }

    /// Alive, and with a vector if need be.
    #[inline]
    fn base(&self, chunk: usize) -> u64 {
        let vectors = if self.vectors { self.rows.with_vector(chunk) } else { u64::MAX };
        self.rows.alive(chunk, self.now) & vectors
    }

    /// Finds the eligible rows.
    pub fn select(self) -> Eligible<'a> {
        if self.is_plain() {
            return Eligible { wanted: self, bits: None, count: 0, held: 0, kept: None };
        }
        let asked = Asked::new(self.filter, self.partitions);
        let known = asked.as_ref().map_or(Known::Nothing, |asked| self.rows.selections().ask(asked));
        let (known, keep) = match known {
            Known::Nothing => (Arc::default(), false),
            Known::Kept(known) => (known, true),
        };
        let (chunks, full) = (self.rows.chunks(), self.rows.full_blocks());
        let mut fresh: Vec<Arc<Chosen>> = Vec::new();
        let mut bits = vec![0; chunks];
        let (mut count, mut held) = (0, 0);
        let keys = self.filter.map(Filter::keys).unwrap_or_default();
        for block in 0..chunks.div_ceil(BLOCK) {
            let found;
            // A block that is known as full may not have been so in an older view.
            let chosen = match known.blocks.get(block).filter(|_| block < full) {
                Some(chosen) => chosen,
                None => {
                    let (words, looked) = self.choose(block, &keys);
                    held += looked;
                    found = Arc::new(Chosen::new(words));
                    if keep && block < full {
                        fresh.push(Arc::clone(&found));
                    }
                    &found
                }
            };
            for (chunk, word) in chosen.chunks() {
                let index = block * BLOCK + chunk;
                bits[index] = word & self.base(index);
                count += bits[index].count_ones() as usize;
            }
        }
        let mut kept = None;
        if let Some(asked) = asked {
            if fresh.is_empty() {
                kept = Some((asked, known));
            } else {
                let blocks = known.blocks.iter().cloned().chain(fresh).collect();
                self.rows.selections().keep(asked, Selection { blocks, ..Selection::default() });
            }
        }
        Eligible { wanted: self, bits: Some(bits), count, held, kept }
    }

    /// The rows of a block that answer set and filter choose, dead or alive, and how many had to be looked at for it.
    fn choose(&self, block: usize, keys: &BTreeSet<&str>) -> ([u64; BLOCK], usize) {
        let (mut words, mut held) = ([0; BLOCK], 0);
        let found = self.filter.map(|filter| (filter, self.rows.select(block, filter)));
        for (place, (word, index)) in words.iter_mut().zip(block * BLOCK..self.rows.chunks()).enumerate() {
            let (yes, maybe) = match &found {
                Some((_, found)) => (found.yes.words()[place], found.maybe.words()[place]),
                None => (u64::MAX, 0),
            };
            // The filter comes first: most chunks have no row that matches a narrow one, and are not touched.
            if yes | maybe == 0 {
                continue;
            }
            let chunk = self.rows.chunk(index);
            let here = self.here(chunk);
            let unsure = here & maybe & !yes;
            held += unsure.count_ones() as usize;
            *word = here & yes;
            if let Some((filter, _)) = &found {
                let fields = |at| chunk.row(at).metadata.fields(keys.iter().copied());
                *word |= keep(unsure, |at| filter.matches(&fields(at)));
            }
        }
        (words, held)
    }

    /// The rows of a chunk that are in the answer set.
    fn here(&self, chunk: &Chunk) -> u64 {
        let all = u64::MAX >> (CHUNK - chunk.len());
        match self.partitions {
            Some(partitions) => keep(all, |at| partitions.contains(chunk.partition(at))),
            None => all,
        }
    }
}

/// The eligible rows of one search.
pub(super) struct Eligible<'a> {
    wanted: Wanted<'a>,
    /// A word per chunk; `None` when nothing is restricted.
    bits: Option<Vec<u64>>,
    /// Of them.
    count: usize,
    /// Rows that the filter was held against, one by one.
    held: usize,
    /// What is known of full blocks.
    kept: Option<(Asked, Arc<Selection>)>,
}

impl<'a> Eligible<'a> {
    /// Whether nothing is restricted.
    pub fn is_plain(&self) -> bool {
        self.bits.is_none()
    }

    /// Rows that the filter was held against, one by one.
    pub fn held(&self) -> usize {
        self.held
    }

    /// A word per chunk; `None` when nothing is restricted.
    pub fn words(&self) -> Option<&[u64]> {
        self.bits.as_deref()
    }

    /// So many full blocks of which it is known what is chosen.
    fn known_blocks(&self) -> usize {
        let known = self.kept.as_ref().map_or(0, |(_, selection)| selection.blocks.len());
        // Of an older view fewer blocks may be full.
        known.min(self.wanted.rows.full_blocks())
    }

    /// Up to here vectors of eligible rows are kept side by side, or may be; `None`: nowhere.
    pub fn vectors_until(&self) -> Option<u32> {
        let few = self.count <= SideBySide::most(self.wanted.rows.dimension());
        Some((self.known_blocks() * PLACES) as u32).filter(|until| *until > 0 && few)
    }

    /// Their vectors, side by side: those that are kept, or copied now.
    fn vectors(&self) -> Option<Arc<SideBySide>> {
        let (until, (asked, selection)) = (self.vectors_until()?, self.kept.as_ref()?);
        if let Some(vectors) = &selection.vectors
            && vectors.serve(self.wanted.now, until)
        {
            return Some(Arc::clone(vectors));
        }
        let slots = self.slots().take_while(|slot| *slot < until);
        let vectors = Arc::new(SideBySide::gather(self.wanted.rows, self.wanted.now, until, slots));
        let selection = Selection { vectors: Some(Arc::clone(&vectors)), ..Selection::clone(selection) };
        self.wanted.rows.selections().keep(asked.clone(), selection);
        Some(vectors)
    }

    /// Up to here codes of eligible rows are kept, or may be, where rows below `until` are in the graph; `None`: nowhere.
    pub fn codes_until(&self, until: u32) -> Option<u32> {
        let blocks = self.known_blocks().min(until as usize / PLACES);
        (blocks > 0 && self.count <= MAX_CODES).then_some((blocks * PLACES) as u32)
    }

    /// Their codes, side by side: those that are kept, or new ones. `None` when the engine has none.
    pub fn codes(&self, engine: &Arc<dyn Engine>, until: u32) -> Option<Arc<Codes>> {
        let until = self.codes_until(until)?;
        let (asked, selection) = self.kept.as_ref()?;
        if let Some(codes) = &selection.codes
            && codes.serve(engine, self.wanted.now, until)
        {
            return Some(Arc::clone(codes));
        }
        let slots = self.slots().take_while(|slot| *slot < until).collect();
        let codes = Arc::new(Codes::gather(engine, self.wanted.now, until, slots)?);
        let selection = Selection { codes: Some(Arc::clone(&codes)), ..Selection::clone(selection) };
        self.wanted.rows.selections().keep(asked.clone(), selection);
        Some(codes)
    }

    fn chunk_bits(&self, index: usize) -> u64 {
        match &self.bits {
            Some(bits) => bits[index],
            None => self.wanted.base(index),
        }
    }

    /// Whether a slot of the view is eligible.
    pub fn contains(&self, slot: u32) -> bool {
        match &self.bits {
            Some(bits) => bits[slot as usize / CHUNK] >> (slot as usize % CHUNK) & 1 == 1,
            // Slots in question come from the graph: they have a vector.
            None => self.wanted.rows.is_alive(slot, self.wanted.now),
        }
    }

    /// How many are eligible below a slot; not to be asked when nothing is restricted.
    pub fn count_below(&self, slot: u32) -> usize {
        // Slots in question are near the end.
        let behind = |index: usize| (self.chunk_bits(index) & from_slot(index, slot)).count_ones() as usize;
        self.count - (slot as usize / CHUNK..self.wanted.rows.chunks()).map(behind).sum::<usize>()
    }

    /// How many are eligible; not to be asked when nothing is restricted.
    pub fn count(&self) -> usize {
        self.count
    }

    /// The eligible slots, in order.
    pub fn slots(&self) -> impl Iterator<Item = u32> {
        let chunks = 0..self.wanted.rows.chunks();
        chunks.flat_map(|index| ones(self.chunk_bits(index)).map(move |at| (index * CHUNK + at) as u32))
    }

    /// Offers every eligible row from a slot on, with its exact distance.
    pub fn scan(&self, measure: Measure, query: &[f32], from: u32, top: &mut TopK<'a>) {
        let rows = self.wanted.rows;
        let vectors = if from == 0 { self.vectors() } else { None };
        let from = vectors.as_ref().map_or(from, |vectors| vectors.until);
        if let Some(vectors) = vectors {
            // Only ids of those that may be among the nearest are read.
            let near = vectors.nearest(measure, query, top.most(), |slot| self.contains(slot));
            near.into_iter().for_each(|(distance, slot)| top.offer(distance, slot, || rows.id(slot)));
        }
        self.each(measure, query, from, |distance, slot| top.offer(distance, slot, || rows.id(slot)));
    }

    /// Tells the exact distance of every eligible row from a slot on.
    pub fn each(&self, measure: Measure, query: &[f32], from: u32, mut tell: impl FnMut(f32, u32)) {
        let (all, first) = (self.wanted.rows, from as usize / CHUNK);
        let slots = (first..all.chunks()).flat_map(|index| {
            let bits = self.chunk_bits(index) & from_slot(index, from);
            ones(bits).map(move |at| (index * CHUNK + at) as u32)
        });
        let mut rows = slots.filter_map(|slot| Some((slot, all.vector(slot)?)));
        let mut last = from;
        // Rows that follow each other are fetched by the processor itself; others are asked for four ahead.
        let mut four = || {
            array::from_fn::<_, FOUR, _>(|_| {
                let (slot, row) = rows.next()?;
                if slot != last + 1 {
                    prefetch(row);
                }
                last = slot;
                Some((slot, row))
            })
        };
        let mut now = four();
        loop {
            let next = four();
            if let [Some(a), Some(b), Some(c), Some(d)] = now {
                let of_four = [a, b, c, d];
                let distances = measure.distances(query, of_four.map(|(_, row)| row));
                distances.into_iter().zip(of_four).for_each(|(distance, (slot, _))| tell(distance, slot));
            } else {
                let rest = now.into_iter().flatten();
                return rest.for_each(|(slot, row)| tell(measure.distance(query, row), slot));
            }
            now = next;
        }
    }
}

/// The bits of a chunk from a slot on.
fn from_slot(chunk: usize, slot: u32) -> u64 {
    let before = (slot as usize).saturating_sub(chunk * CHUNK) as u32;
    u64::MAX.checked_shl(before).unwrap_or(0)
}

/// The bits whose places satisfy a test.
fn keep(bits: u64, test: impl Fn(usize) -> bool) -> u64 {
    ones(bits).filter(|at| test(*at)).fold(0, |kept, at| kept | 1 << at)
}

/// Places of the ones, in order.
pub(super) fn ones(mut bits: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let at = (bits != 0).then(|| bits.trailing_zeros() as usize)?;
        bits &= bits - 1;
        Some(at)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_from_a_slot_on() {
        assert_eq!(
            [0, 64, 65, 127, 128, 500].map(|slot| from_slot(1, slot).count_ones()),
            [64, 64, 63, 1, 0, 0]
        );
        assert_eq!(from_slot(1, 65), !1);
    }

    #[test]
    fn ones_are_found_in_order() {
        assert_eq!(ones(0).count(), 0);
        assert_eq!(ones(1 << 63 | 0b101).collect::<Vec<_>>(), [0, 2, 63]);
        assert_eq!(ones(u64::MAX).count(), 64);
        assert_eq!(keep(0b1111, |at| at % 2 == 1), 0b1010);
    }
}
