//! A graph from another member's links.
//!
//! Linking is nearly all that a build does, and a member that holds what this one holds has done it already. So a member
//! that has many rows and no graph over them, since it has just joined or lost what was saved, asks for the links. They
//! come in the other's slots, with a number for each row as it is there ([`hash`]): where the same row is here, in
//! whatever slot, its links are taken over, as far as they lead to rows that are here. Vectors do not come: they are
//! here, and are encoded here, so quantization and centre may differ.
//!
//! What it promises: only links come from elsewhere, so whatever comes, answers hold no wrong row, only, at worst, fewer
//! of the nearest. Rows that came with less than half of their links are looked for as new ones are, and those that did
//! not come at all are linked as always.
//!
//! What it leaves out: members that share only part of their rows. A graph over a part of another's rows has lost the
//! links through the others; whoever answers [`Donor::ask`] sees to that ([`are_alike`]). Upper levels do not come
//! either: one row in `m` is on them, and linking those is quick.

use std::{
    collections::HashMap,
    ops::Range,
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use super::{digest::hash, rows::Rows, view::View};
use crate::types::CollectionId;

/// It is not worth asking while fewer rows wait for the graph than so many times what needs none.
const MANY: u64 = 4;
/// Between two questions.
const PAUSE: Duration = Duration::from_millis(500);
/// Slots of a part.
const PART: u32 = 4_096;
/// Of a row that is not here.
const NOWHERE: u32 = u32::MAX;

/// Whoever knows members with graphs.
pub trait Donor: Send + Sync {
    /// Asks the member that is most like this one for the links of a collection of which this one has so many rows,
    /// and waits for them. `None`: no member has such rows in a graph, now, or it did not answer.
    fn ask(&self, collection: CollectionId, rows: u64) -> Option<GraphLinks>;
}

/// Whether nearly all of either's rows are the other's, as far as their numbers tell.
pub fn are_alike(ours: u64, theirs: u64) -> bool {
    let (less, more) = (ours.min(theirs), ours.max(theirs));
    less * 10 >= more * 9
}

/// Whether so many rows wait for a graph that asking for one pays.
fn is_far_behind(with_vector: u64, indexed: u64, small_rows: usize) -> bool {
    let waiting = with_vector.saturating_sub(indexed);
    waiting >= MANY * small_rows as u64 && waiting >= indexed
}

/// Links of a graph's lowest level, in its own slots.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct GraphLinks {
    /// Per slot: a number for the row, or 0.
    points: Vec<u64>,
    /// Per slot: where its links end.
    ends: Vec<usize>,
    links: Vec<u32>,
}

/// Some slots of it.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct LinksPart {
    /// Per slot: a number for the row, or 0.
    pub points: Vec<u64>,
    /// Per slot: how many links it has.
    pub counts: Vec<u32>,
    /// Of these slots, in turn.
    pub links: Vec<u32>,
}

impl GraphLinks {
    /// The next slots; `false` when the part contradicts itself.
    pub fn push(&mut self, part: LinksPart) -> bool {
        let LinksPart { points, counts, links } = part;
        let total = counts.iter().map(|count| *count as usize).sum::<usize>();
        if points.len() != counts.len() || total != links.len() {
            return false;
        }
        let mut end = self.links.len();
        self.ends.extend(counts.iter().map(|count| {
            end += *count as usize;
            end
        }));
        self.points.extend(points);
        self.links.extend(links);
        true
    }

    fn of(&self, slot: usize) -> &[u32] {
        let range: Range<usize> = slot.checked_sub(1).map_or(0, |before| self.ends[before])..self.ends[slot];
        &self.links[range]
    }

    /// What of it is here, in our slots.
    pub(super) fn here(&self, rows: &Rows) -> Vec<Placed> {
        let here = (0..rows.len()).filter(|slot| rows.is_untouched(*slot) && rows.vector(*slot).is_some());
        let number = |slot: u32| {
            let row = rows.row(slot);
            hash(row.id, row.version)
        };
        let mut here: HashMap<u64, u32> = here.map(|slot| (number(slot), slot)).collect();
        // Each row once, whatever comes.
        let ours: Vec<u32> = self.points.iter().map(|point| here.remove(point).unwrap_or(NOWHERE)).collect();
        let place = |(theirs, slot): (usize, &u32)| {
            let given = self.of(theirs);
            let links = given.iter().filter_map(|to| ours.get(*to as usize).copied());
            let links: Vec<u32> = links.filter(|to| to != slot && *to != NOWHERE).collect();
            Placed { slot: *slot, is_whole: 2 * links.len() > given.len(), links }
        };
        ours.iter().enumerate().filter(|(_, slot)| **slot != NOWHERE).map(place).collect()
    }
}

/// A row of ours, and where it is linked to.
pub(super) struct Placed {
    pub slot: u32,
    pub links: Vec<u32>,
    /// Most of the links that it had are here.
    pub is_whole: bool,
}

/// A builder's way to a donor.
pub(super) struct Elsewhere {
    collection: CollectionId,
    /// There when other members can be asked.
    donor: Arc<OnceLock<Arc<dyn Donor>>>,
    /// When it was asked last.
    asked: Option<Instant>,
    /// Rows when links came last.
    taken: u64,
}

impl Elsewhere {
    pub fn new(collection: CollectionId, donor: Arc<OnceLock<Arc<dyn Donor>>>) -> Self {
        Self { collection, donor, asked: None, taken: 0 }
    }

    /// Asks for links, where so many rows and so few in the graph make that worth it, and not all the time: the rows may
    /// be on their way to here, or the other's graph may be growing.
    pub fn ask(&mut self, with_vector: u64, indexed: u64, small_rows: usize) -> Option<GraphLinks> {
        let donor = self.donor.get()?;
        // What came takes a moment to count as indexed; and what is linked here since then is not thrown away.
        let has_grown = with_vector >= 2 * self.taken;
        let may_ask = has_grown && self.asked.is_none_or(|at| at.elapsed() >= PAUSE);
        if !may_ask || !is_far_behind(with_vector, indexed, small_rows) {
            return None;
        }
        let links = donor.ask(self.collection, with_vector);
        self.asked = Some(Instant::now());
        if links.is_some() {
            self.taken = with_vector;
        }
        links
    }
}

/// What the graph of a view can give away.
pub struct Gift {
    view: Arc<View>,
    next: u32,
}

impl Gift {
    /// `None` where there is no graph.
    pub fn of(view: Arc<View>) -> Option<Self> {
        view.linked.is_some().then_some(Self { view, next: 0 })
    }

    /// Rows in the graph.
    pub fn rows(&self) -> u64 {
        self.view.linked.as_ref().map_or(0, |linked| linked.live)
    }
}

impl Iterator for Gift {
    type Item = LinksPart;

    fn next(&mut self) -> Option<LinksPart> {
        let linked = self.view.linked.as_ref()?;
        let slots = self.next..linked.until.min(self.next.saturating_add(PART));
        if slots.is_empty() {
            return None;
        }
        self.next = slots.end;
        let rows = &self.view.rows;
        let mut part = LinksPart::default();
        for slot in slots {
            let before = part.links.len();
            let lives = rows.is_alive(slot, self.view.at) && rows.vector(slot).is_some();
            let given = lives && linked.engine.links(slot, &mut part.links);
            let row = rows.row(slot);
            part.points.push(if given { hash(row.id, row.version) } else { 0 });
            part.counts.push((part.links.len() - before) as u32);
        }
        Some(part)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_far_behind_ask_those_alike() {
        assert!(is_far_behind(20_000, 0, 4_096) && is_far_behind(40_000, 20_000, 4_096));
        assert!(!is_far_behind(16_000, 0, 4_096), "quickly built");
        assert!(!is_far_behind(40_000, 24_000, 4_096) && !is_far_behind(10, 20, 1), "nearly built");
        assert!(are_alike(0, 0) && are_alike(90, 100) && are_alike(100, 90));
        assert!(!are_alike(89, 100) && !are_alike(100, 0));
    }

    #[test]
    fn a_part_that_contradicts_itself_is_refused() {
        let good = LinksPart { points: vec![5, 0, 7], counts: vec![2, 0, 1], links: vec![2, 9, 0] };
        let mut links = GraphLinks::default();
        assert!(links.push(good.clone()) && links.push(good.clone()));
        assert_eq!((links.of(0), links.of(1), links.of(5)), (&[2, 9][..], &[][..], &[0][..]));
        let before = links.clone();
        assert!(!links.push(LinksPart { counts: vec![2, 0, 2], ..good.clone() }));
        assert!(!links.push(LinksPart { points: vec![5], ..good }));
        assert_eq!(links, before);
    }
}
