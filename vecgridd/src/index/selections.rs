//! What filters and answer sets choose of full blocks, for those that are asked for again and again.
//!
//! Apps filter by the same few conditions all the time: a tenant, a language, a category; and a member of a grid is
//! asked for the same few sets of partitions. A full block never changes but for its deaths, so which of its rows a
//! filter and an answer set choose, dead or alive, is true for ever, and is kept here. Whoever takes it
//! leaves out the dead. The second time that something is asked for it is kept: what is asked once would only push out
//! what is asked often. Bounded in number and bytes; who was not asked for the longest goes first.
//!
//! Where a selection is so narrow that its rows are all looked at, their codes or numbers may be kept beside it ([`Codes`]);
//! where it is narrower still, their vectors (`side_by_side`).
//!
//! Rows that got their numbers together share one of these, and it knows no others: a compaction begins a new one.

use std::{
    collections::VecDeque,
    hash::{BuildHasher, RandomState},
    sync::{Arc, Mutex, PoisonError, Weak},
};

use super::{
    engine::Engine, native::Gathered, partition_set::PartitionSet, rows::BLOCK, side_by_side,
    side_by_side::SideBySide,
};
use crate::types::Filter;

/// Selections that are kept, at most.
const MAX_KEPT: usize = 64;
/// And their bytes: room for as many of the narrowest kind.
const MAX_BYTES: usize = MAX_KEPT * (side_by_side::MAX_BYTES + (64 << 10));
/// Rows of one whose codes are kept, at most.
pub(super) const MAX_CODES: usize = 1 << 16;
/// Words that are looked at together.
const EIGHT: usize = 8;
/// Longest filter that is kept, in bytes of its text.
const MAX_TEXT: usize = 4 << 10;
/// Askings that are remembered to see whether they come again.
const REMEMBERED: usize = 256;

/// What chooses rows.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Asked {
    /// Of the filter.
    text: Option<Arc<str>>,
    partitions: Option<PartitionSet>,
}

impl Asked {
    /// `None` when it is nothing to keep.
    pub fn new(filter: Option<&Filter>, partitions: Option<&PartitionSet>) -> Option<Self> {
        let text = filter.map(Filter::text);
        let short = text.as_ref().is_none_or(|text| text.len() <= MAX_TEXT);
        short.then(|| Self { text: text.map(Arc::clone), partitions: partitions.cloned() })
    }

    fn bytes(&self) -> usize {
        size_of::<Self>() + self.text.as_ref().map_or(0, |text| text.len())
    }
}

/// What was chosen of a block, dead rows included.
pub(super) struct Chosen {
    /// A word per chunk.
    words: [u64; BLOCK],
    /// Per eight words: whether any has a bit. Most have none where a filter is narrow.
    eights: [bool; BLOCK / EIGHT],
}

impl Chosen {
    /// With a word per chunk.
    pub fn new(words: [u64; BLOCK]) -> Self {
        let mut eights = [false; BLOCK / EIGHT];
        for (some, words) in eights.iter_mut().zip(words.as_chunks::<EIGHT>().0) {
            *some = words.iter().fold(0, |any, word| any | word) != 0;
        }
        Self { words, eights }
    }

    /// The words with a bit, and their chunks.
    #[inline]
    pub fn chunks(&self) -> impl Iterator<Item = (usize, u64)> {
        let eights = self.words.as_chunks::<EIGHT>().0.iter().zip(self.eights).enumerate();
        let words = eights
            .filter(|(_, (_, some))| *some)
            .flat_map(|(eight, (words, _))| (EIGHT * eight..).zip(words));
        words.filter(|(_, word)| **word != 0).map(|(chunk, word)| (chunk, *word))
    }
}

/// What was chosen of the first full blocks.
#[derive(Clone, Default)]
pub(super) struct Selection {
    pub blocks: Vec<Arc<Chosen>>,
    pub codes: Option<Arc<Codes>>,
    pub vectors: Option<Arc<SideBySide>>,
}

impl Selection {
    fn bytes(&self) -> usize {
        let blocks = self.blocks.len() * (size_of::<Chosen>() + 2 * size_of::<usize>());
        let codes = self.codes.as_ref().map_or(0, |codes| codes.gathered.bytes());
        blocks + codes + self.vectors.as_ref().map_or(0, |vectors| vectors.bytes())
    }

    /// What either knows: of each form the one that reaches further; of two graphs that of this one.
    fn with(self, older: &Self) -> Self {
        let other_graph =
            matches!((&self.codes, &older.codes), (Some(own), Some(old)) if !own.of.ptr_eq(&old.of));
        Self {
            blocks: if older.blocks.len() > self.blocks.len() { older.blocks.clone() } else { self.blocks },
            codes: if other_graph {
                self.codes
            } else {
                further(self.codes, &older.codes, |codes| codes.until)
            },
            vectors: further(self.vectors, &older.vectors, |vectors| vectors.until),
        }
    }

    /// Whether it holds the very same as another one, which it came from.
    fn is(&self, other: &Self) -> bool {
        let codes = |selection: &Self| selection.codes.as_ref().map(Arc::as_ptr);
        let vectors = |selection: &Self| selection.vectors.as_ref().map(Arc::as_ptr);
        self.blocks.len() == other.blocks.len()
            && codes(self) == codes(other)
            && vectors(self) == vectors(other)
    }
}

/// The one that reaches further; the older one where both reach as far, since more views may use it.
fn further<T>(new: Option<Arc<T>>, older: &Option<Arc<T>>, until: impl Fn(&T) -> u32) -> Option<Arc<T>> {
    let reach = |form: &Option<Arc<T>>| form.as_deref().map_or(0, &until);
    if reach(older) >= reach(&new) { older.clone() } else { new }
}

/// Codes of the chosen rows of some full blocks, or their numbers, side by side.
pub(super) struct Codes {
    of: Weak<dyn Engine>,
    /// Operation of the view whose living rows these are: in a later one fewer of them live, and no others.
    now: u64,
    /// They are of slots below, and of all of them that were chosen.
    pub until: u32,
    pub gathered: Gathered,
}

impl Codes {
    /// Of rows that live in the view of operation `now`.
    pub fn gather(engine: &Arc<dyn Engine>, now: u64, until: u32, slots: Vec<u32>) -> Option<Self> {
        Some(Self { of: Arc::downgrade(engine), now, until, gathered: engine.gather(slots)? })
    }

    /// Whether they are of this graph, and of all rows below `until` that a view may see.
    pub fn serve(&self, engine: &Arc<dyn Engine>, now: u64, until: u32) -> bool {
        self.of.ptr_eq(&Arc::downgrade(engine)) && self.now <= now && self.until == until
    }
}

/// What is known of something that was asked for.
pub(super) enum Known {
    /// It is asked for the first time in a while.
    Nothing,
    /// It is asked for again: worth keeping; what is kept of it so far.
    Kept(Arc<Selection>),
}

/// See the module.
#[derive(Default)]
pub(super) struct Selections {
    hasher: RandomState,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Hashes of what was asked for once, the newest last.
    once: VecDeque<u64>,
    /// With hashes; the one that was asked for last is last.
    kept: Vec<(u64, Asked, Arc<Selection>)>,
    bytes: usize,
}

impl Selections {
    /// Something is asked for.
    pub fn ask(&self, asked: &Asked) -> Known {
        let hash = self.hasher.hash_one(asked);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = state.place(hash, asked) {
            state.kept[at..].rotate_left(1);
            return state.kept.last().map_or(Known::Nothing, |(.., kept)| Known::Kept(Arc::clone(kept)));
        }
        if state.once.contains(&hash) {
            return Known::Kept(Arc::default());
        }
        if state.once.len() == REMEMBERED {
            state.once.pop_front();
        }
        state.once.push_back(hash);
        Known::Nothing
    }

    /// Keeps what was found, beside what another search may have found meanwhile.
    pub fn keep(&self, asked: Asked, mut selection: Selection) {
        let hash = self.hasher.hash_one(&asked);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = state.place(hash, &asked) {
            let kept = &state.kept[at].2;
            selection = selection.with(kept);
            if selection.is(kept) {
                return;
            }
            state.remove(at);
        }
        let bytes = asked.bytes() + selection.bytes();
        if bytes > MAX_BYTES {
            return;
        }
        while state.kept.len() >= MAX_KEPT || state.bytes + bytes > MAX_BYTES {
            state.remove(0);
        }
        state.bytes += bytes;
        state.kept.push((hash, asked, Arc::new(selection)));
    }

    /// Memory of what is kept.
    pub fn bytes(&self) -> u64 {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).bytes as u64
    }
}

impl State {
    fn place(&self, hash: u64, asked: &Asked) -> Option<usize> {
        self.kept.iter().position(|(known, other, _)| *known == hash && other == asked)
    }

    fn remove(&mut self, at: usize) {
        let (_, asked, selection) = self.kept.remove(at);
        self.bytes -= asked.bytes() + selection.bytes();
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::index::rows::Rows;

    fn asked(value: u32) -> Asked {
        Asked::new(Some(&Filter::parse(&json!({ "n": value })).unwrap()), None).unwrap()
    }

    fn selection(blocks: usize) -> Selection {
        let blocks = (0..blocks).map(|_| Arc::new(Chosen::new([7; BLOCK]))).collect();
        Selection { blocks, ..Selection::default() }
    }

    fn blocks(selections: &Selections, asked: &Asked) -> Option<usize> {
        match selections.ask(asked) {
            Known::Nothing => None,
            Known::Kept(kept) => Some(kept.blocks.len()),
        }
    }

    #[test]
    fn what_is_asked_for_again_is_kept_and_grows() {
        let selections = Selections::default();
        assert_eq!(blocks(&selections, &asked(1)), None);
        assert_eq!(blocks(&selections, &asked(1)), Some(0), "worth keeping");
        selections.keep(asked(1), selection(2));
        selections.keep(asked(1), selection(1));
        assert_eq!(blocks(&selections, &asked(1)), Some(2), "the longer one");
        assert_eq!(blocks(&selections, &asked(2)), None);
        let of_a_partition = Asked { partitions: Some(PartitionSet::all(1)), ..asked(1) };
        assert_eq!(blocks(&selections, &of_a_partition), None, "the answer set is part of it");
    }

    #[test]
    fn what_two_searches_found_is_kept_together() {
        let selections = Selections::default();
        assert_eq!(blocks(&selections, &asked(1)), None);
        let rows = Rows::new(8, 0);
        let beside = |until| Some(Arc::new(SideBySide::gather(&rows, 0, until, std::iter::empty())));
        let known = |selections: &Selections| match selections.ask(&asked(1)) {
            Known::Nothing => None,
            Known::Kept(kept) => Some((kept.blocks.len(), kept.vectors.as_ref().map(|kept| kept.until))),
        };
        selections.keep(asked(1), selection(2));
        selections.keep(asked(1), Selection { vectors: beside(64), ..selection(1) });
        assert_eq!(known(&selections), Some((2, Some(64))));
        selections.keep(asked(1), selection(3));
        assert_eq!(known(&selections), Some((3, Some(64))), "what the newer one lacks stays");
        selections.keep(asked(1), Selection { vectors: beside(128), ..selection(1) });
        assert_eq!(known(&selections), Some((3, Some(128))));
        let kept = asked(1).bytes() + Selection { vectors: beside(128), ..selection(3) }.bytes();
        assert_eq!(selections.bytes(), kept as u64, "counted once");
    }

    #[test]
    fn it_is_bounded_and_who_was_not_asked_for_goes_first() {
        let selections = Selections::default();
        for number in 0..MAX_KEPT as u32 {
            selections.keep(asked(number), selection(1));
        }
        assert_eq!(blocks(&selections, &asked(0)), Some(1));
        selections.keep(asked(1_000), selection(1));
        assert_eq!((blocks(&selections, &asked(0)), blocks(&selections, &asked(1))), (Some(1), None));
        let large = MAX_BYTES / selection(1).bytes() - 1;
        selections.keep(asked(2_000), selection(large));
        assert!(selections.bytes() as usize <= MAX_BYTES);
        assert_eq!(blocks(&selections, &asked(2_000)), Some(large));
        selections.keep(asked(3_000), selection(MAX_BYTES / (BLOCK * 8) + 1));
        assert_eq!(blocks(&selections, &asked(3_000)), None, "larger than all that may be kept");
    }

    #[test]
    fn words_without_a_bit_are_passed_over() {
        let mut words = [0; BLOCK];
        for (chunk, word) in [(0, 1), (9, 6), (10, u64::MAX), (BLOCK - 1, 8)] {
            words[chunk] = word;
        }
        let all = words.iter().copied().enumerate().filter(|(_, word)| *word != 0);
        assert!(Chosen::new(words).chunks().eq(all));
    }

    #[test]
    fn a_very_long_filter_is_not_kept() {
        let long = Filter::parse(&json!({ "n": "x".repeat(MAX_TEXT) })).unwrap();
        assert!(Asked::new(Some(&long), None).is_none());
    }
}
