//! The rows of the graph, and the links between them.
//!
//! Per slot: the vector in its form (`vectors`), the code, and up to `2m` links on the lowest level, in arenas. One
//! slot in `m` is on the next level too, where it has up to `m` links, and so on; those are in an
//! arena of their own. A link is a slot plus one, so that zeroed memory is an empty list; lists are
//! filled from the front.
//!
//! Anyone may read links at any time. They are changed under one of a few thousand locks, by slot,
//! and nobody holds two. A reader may see a list between two states: a link twice, or one that is
//! about to go. Both are harmless in a walk.

#![allow(unsafe_code)]

use std::{
    io,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{
            AtomicU32, AtomicU64,
            Ordering::{Acquire, Relaxed, Release},
        },
    },
};

use serde::{Deserialize, Serialize};

use super::{
    super::draw::splitmix64,
    arena::{Arena, Stored},
    frame::{Code, EXTRA_WORDS, Encoded, Frame},
    vectors::Vectors,
};

/// Locks for lists of links.
const LOCKS: usize = 4_096;
/// More levels than any graph in memory has.
const MAX_LEVELS: usize = 16;
/// Of a graph without points.
const NOWHERE: u64 = u64::MAX;

/// A number for how rows and links are laid out, here and in `frame`: a stored graph of another layout is
/// not read. Count it up with every change of what records mean.
pub(super) const LAYOUT: u32 = 3;

/// What a graph is besides its arenas.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct GraphState {
    upper_records: u32,
    entry: u64,
    points: u32,
}

pub(super) struct Graph {
    m: usize,
    vectors: Vectors,
    codes: Arena<u64>,
    links: Arena<AtomicU32>,
    /// Links above the lowest level: a record per point and level.
    upper: Arena<AtomicU32>,
    upper_records: AtomicU32,
    /// Where the upper records of a point start, and how many there are: `record << 4 | levels`.
    places: Arena<AtomicU32>,
    locks: Box<[Mutex<()>]>,
    /// Where walks start: `level << 32 | slot`.
    entry: AtomicU64,
    points: AtomicU32,
    /// An `f32`, as bits. Not stored: it is measured anew.
    doubling: AtomicU32,
}

impl Graph {
    pub fn new(frame: &Frame, m: usize, expected: usize) -> Self {
        Self {
            m,
            vectors: Vectors::new(frame, expected),
            codes: Arena::new(frame.words() + EXTRA_WORDS, expected),
            links: Arena::new(2 * m, expected),
            upper: Arena::new(m, expected / m),
            upper_records: AtomicU32::new(0),
            places: Arena::new(1, expected),
            locks: (0..LOCKS).map(|_| Mutex::new(())).collect(),
            entry: AtomicU64::new(NOWHERE),
            points: AtomicU32::new(0),
            doubling: AtomicU32::new(0),
        }
    }

    /// Everything that is stored of a graph, but for its state.
    pub fn arenas(&self) -> Vec<(&'static str, &dyn Stored)> {
        let others: [(_, &dyn Stored); 4] = [
            ("codes", &self.codes),
            ("links", &self.links),
            ("upper", &self.upper),
            ("places", &self.places),
        ];
        self.vectors.arenas().into_iter().chain(others).collect()
    }

    /// As [`arenas`](Self::arenas), to be filled.
    pub fn arenas_mut(&mut self) -> Vec<(&'static str, &mut dyn Stored)> {
        let others: [(_, &mut dyn Stored); 4] = [
            ("codes", &mut self.codes),
            ("links", &mut self.links),
            ("upper", &mut self.upper),
            ("places", &mut self.places),
        ];
        self.vectors.arenas_mut().into_iter().chain(others).collect()
    }

    pub fn state(&self) -> GraphState {
        GraphState {
            upper_records: self.upper_records.load(Relaxed),
            entry: self.entry.load(Relaxed),
            points: self.points.load(Relaxed),
        }
    }

    /// A graph whose arenas are filled goes on from here; `false` when that cannot be its state: then a
    /// walk would read what is not there.
    pub fn resume(&mut self, state: GraphState) -> bool {
        self.upper_records = state.upper_records.into();
        self.entry = state.entry.into();
        self.points = state.points.into();
        let end = self.end();
        let entry_is_there = self.entry().is_none_or(|(slot, level)| {
            slot < end && (level == 0 || level <= self.places.atoms(slot)[0].load(Relaxed) as usize & 15)
        });
        // A link is a slot plus one.
        let leads_nowhere = |link: &AtomicU32| link.load(Relaxed) > end;
        let place_is_there = |slot| {
            let place = self.places.atoms(slot)[0].load(Relaxed);
            (place >> 4) + (place & 15) <= self.upper.end()
        };
        entry_is_there
            && self.vectors.arenas().iter().all(|(_, arena)| arena.end() == end)
            && [self.codes.end(), self.places.end()] == [end; 2]
            && state.points <= end
            && state.upper_records == self.upper.end()
            && (0..end).all(|slot| place_is_there(slot) && !self.links.atoms(slot).iter().any(leads_nowhere))
            && (0..self.upper.end()).all(|record| !self.upper.atoms(record).iter().any(leads_nowhere))
    }

    /// Rows that were added.
    pub fn points(&self) -> u32 {
        self.points.load(Relaxed)
    }

    /// What was measured last: see [`Walker::doubling`](super::walk::Walker::doubling). 0 before that.
    pub fn doubling(&self) -> f32 {
        f32::from_bits(self.doubling.load(Relaxed))
    }

    pub fn set_doubling(&self, doubling: f32) {
        self.doubling.store(doubling.to_bits(), Relaxed);
    }

    /// Slots are below.
    pub fn end(&self) -> u32 {
        self.links.end()
    }

    pub fn bytes(&self) -> u64 {
        self.arenas().iter().map(|(_, arena)| arena.bytes()).sum()
    }

    /// Whether a row was added and linked: a point has links, but for one that is alone.
    pub fn has(&self, slot: u32) -> bool {
        slot < self.end()
            && (self.links.atoms(slot)[0].load(Relaxed) != 0
                || self.entry().is_some_and(|(entry, _)| entry == slot))
    }

    /// Stores a row, without links; gives its level. Once per slot; until this returns nobody but the
    /// caller may know the slot.
    pub fn add(&self, slot: u32, encoded: &Encoded) -> io::Result<usize> {
        self.vectors.reserve(slot)?;
        self.codes.reserve(slot)?;
        self.places.reserve(slot)?;
        let level = self.level(slot);
        if level > 0 {
            let record = self.upper_records.fetch_add(level as u32, Relaxed);
            self.upper.reserve(record + level as u32 - 1)?;
            self.places.atoms(slot)[0].store(record << 4 | level as u32, Relaxed);
        }
        // SAFETY: walks get slots from links, and this one has none yet.
        unsafe {
            self.vectors.fill(slot, &encoded.own);
            self.codes.fill(slot, &encoded.code);
        }
        self.links.reserve(slot)?;
        self.points.fetch_add(1, Relaxed);
        Ok(level)
    }

    /// The level of a slot. As random as the slot number is mixed: `m` times fewer points from level to level.
    pub fn level(&self, slot: u32) -> usize {
        let unit = (splitmix64(&mut u64::from(slot)) >> 11) as f64 / (1_u64 << 53) as f64;
        let level = -(1.0 - unit).ln() / (self.m as f64).ln();
        (level as usize).min(MAX_LEVELS - 1)
    }

    /// The vectors of all slots.
    pub fn vectors(&self) -> &Vectors {
        &self.vectors
    }

    /// Codes of all slots.
    pub fn codes(&self) -> &Arena<u64> {
        &self.codes
    }

    #[inline]
    pub fn coded(&self, slot: u32) -> Code<'_> {
        Code(self.codes.get(slot))
    }

    #[inline]
    pub fn prefetch_links(&self, slot: u32) {
        self.links.prefetch(slot);
    }

    /// Links that a point may have.
    pub fn capacity(&self, level: usize) -> usize {
        if level == 0 { 2 * self.m } else { self.m }
    }

    #[inline]
    fn list(&self, slot: u32, level: usize) -> &[AtomicU32] {
        if level == 0 {
            return self.links.atoms(slot);
        }
        let place = self.places.atoms(slot)[0].load(Relaxed);
        if (place & 15) < level as u32 {
            return &[];
        }
        self.upper.atoms((place >> 4) + level as u32 - 1)
    }

    /// The slots that a slot is linked to.
    #[inline]
    pub fn neighbours(&self, slot: u32, level: usize) -> impl Iterator<Item = u32> {
        // Acquire: what a link leads to was written before the link.
        let links = self.list(slot, level).iter().map(|link| link.load(Acquire));
        links.take_while(|link| *link != 0).map(|link| link - 1)
    }

    /// The links of a slot, to change.
    pub fn lock(&self, slot: u32, level: usize) -> Links<'_> {
        let lock = &self.locks[slot as usize % LOCKS];
        let guard = lock.lock().unwrap_or_else(PoisonError::into_inner);
        Links { list: self.list(slot, level), _guard: guard }
    }

    /// The slot where walks start, and its level.
    pub fn entry(&self) -> Option<(u32, usize)> {
        let entry = self.entry.load(Acquire);
        (entry != NOWHERE).then_some((entry as u32, (entry >> 32) as usize))
    }

    /// Walks start here from now on, unless they start on as high a level already.
    pub fn offer_entry(&self, slot: u32, level: usize) {
        let new = (level as u64) << 32 | u64::from(slot);
        let higher = |old: u64| (old == NOWHERE || (old >> 32) < level as u64).then_some(new);
        // An error says that the entry stays.
        let _ = self.entry.fetch_update(Release, Relaxed, higher);
    }
}

/// One list of links, that nobody else changes meanwhile.
pub(super) struct Links<'a> {
    list: &'a [AtomicU32],
    _guard: MutexGuard<'a, ()>,
}

impl Links<'_> {
    pub fn iter(&self) -> impl Iterator<Item = u32> {
        let links = self.list.iter().map(|link| link.load(Relaxed));
        links.take_while(|link| *link != 0).map(|link| link - 1)
    }

    /// Adds a link; `false` when there is no room. A link that is there already is fine.
    pub fn push(&self, to: u32) -> bool {
        for link in self.list {
            let known = link.load(Relaxed);
            if known == to + 1 {
                return true;
            }
            if known == 0 {
                link.store(to + 1, Release);
                return true;
            }
        }
        false
    }

    /// Replaces all links.
    pub fn replace(&self, slots: impl Iterator<Item = u32>) {
        let mut slots = slots.fuse();
        for link in self.list {
            link.store(slots.next().map_or(0, |slot| slot + 1), Release);
        }
    }
}
