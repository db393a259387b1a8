//! What a daemon may show, given what it acknowledged.
//!
//! Writers note every write with its outcome: acknowledged, failed (nothing happened) or unknown.
//! After a restart [`Ledger::check`] compares a [`View`] of the daemon with the notes:
//!
//! ```text
//! acknowledged ─► must be there (or a later write of unknown outcome)
//! unknown      ─► may be there
//! failed       ─► must not be there
//! ```
//!
//! One writer owns an id and stops after an unknown outcome, so an id has at most a few unknown
//! writes, all newer than its last acknowledged one. [`Ledger::settle`] takes what was seen as the
//! new truth: a write that did not survive one restart must not appear after the next.

use std::collections::{BTreeMap, BTreeSet};

/// What a write does to one entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Stores this version of the test's own counting.
    Put(u64),
    /// Removes the entry.
    Delete,
}

impl Effect {
    fn state(self) -> Option<u64> {
        match self {
            Self::Put(version) => Some(version),
            Self::Delete => None,
        }
    }
}

/// What the writer was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Acknowledged; with the daemon's version `(epoch, sequence)` when the answer had one.
    Acked(Option<(u64, u64)>),
    /// No answer, or one that says *unknown*.
    Unknown,
    /// An answer that says *failed*, or the request was never sent.
    Failed,
}

/// One entry as the daemon shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// The version in its metadata.
    pub version: u64,
    /// The daemon's version.
    pub stamp: (u64, u64),
    /// Is its vector the one of this version?
    pub vector_fits: bool,
}

/// Everything the daemon shows after a restart.
#[derive(Debug, Clone, Default)]
pub struct View {
    /// By `get`, of every id that was ever written; absent = not found.
    pub got: BTreeMap<String, Seen>,
    /// By walking the whole collection.
    pub scrolled: BTreeMap<String, Seen>,
    /// By `count`.
    pub count: u64,
    /// By exact search, of some ids: the version found for the id, `None` when the search for its
    /// newest vector does not find it.
    pub searched: BTreeMap<String, Option<u64>>,
}

#[derive(Debug, Clone, Default)]
struct Story {
    settled: Option<u64>,
    stamp: Option<(u64, u64)>,
    maybe: Vec<Effect>,
}

impl Story {
    fn allows(&self, state: Option<u64>) -> bool {
        self.settled == state || self.maybe.iter().any(|effect| effect.state() == state)
    }
}

/// The notes of all writers.
#[derive(Debug, Clone, Default)]
pub struct Ledger {
    stories: BTreeMap<String, Story>,
    acked: u64,
    unknown: u64,
    failed: u64,
}

impl Ledger {
    /// Notes one write of one entry.
    pub fn note(&mut self, id: &str, effect: Effect, outcome: Outcome) {
        let story = self.stories.entry(id.to_owned()).or_default();
        match outcome {
            Outcome::Acked(stamp) => {
                story.settled = effect.state();
                story.stamp = stamp;
                story.maybe.clear();
                self.acked += 1;
            }
            Outcome::Unknown => {
                story.maybe.push(effect);
                self.unknown += 1;
            }
            Outcome::Failed => self.failed += 1,
        }
    }

    /// Every id that was ever written.
    pub fn ids(&self) -> Vec<String> {
        self.stories.keys().cloned().collect()
    }

    /// Numbers of writes `(acknowledged, unknown, failed)` so far.
    pub fn totals(&self) -> (u64, u64, u64) {
        (self.acked, self.unknown, self.failed)
    }

    /// Everything that should not be; empty when the daemon kept its word.
    pub fn check(&self, view: &View) -> Vec<String> {
        let mut wrong = Vec::new();
        let ids: BTreeSet<&String> =
            self.stories.keys().chain(view.scrolled.keys()).chain(view.got.keys()).collect();
        for id in ids {
            match self.stories.get(id) {
                Some(story) => check_entry(id, story, view, &mut wrong),
                None => wrong.push(format!("{id}: ghost, nobody wrote it")),
            }
        }
        for (id, found) in &view.searched {
            let stored = view.got.get(id).map(|seen| seen.version);
            if *found != stored {
                wrong.push(format!("{id}: the index finds {found:?}, the row store has {stored:?}"));
            }
        }
        if view.count != view.scrolled.len() as u64 {
            wrong.push(format!("count says {}, a walk finds {}", view.count, view.scrolled.len()));
        }
        wrong
    }

    /// Takes what was seen as the truth from here on.
    pub fn settle(&mut self, view: &View) {
        for (id, story) in &mut self.stories {
            let seen = view.got.get(id);
            story.settled = seen.map(|seen| seen.version);
            story.stamp = seen.map(|seen| seen.stamp);
            story.maybe.clear();
        }
    }
}

fn check_entry(id: &str, story: &Story, view: &View, wrong: &mut Vec<String>) {
    let seen = view.got.get(id);
    let state = seen.map(|seen| seen.version);
    if !story.allows(state) {
        let (settled, maybe) = (story.settled, &story.maybe);
        wrong.push(match (settled, state) {
            (Some(acked), None) => {
                format!("{id}: lost, version {acked} was acknowledged; possible: {maybe:?}")
            }
            (Some(acked), Some(seen)) if seen < acked => {
                format!("{id}: lost, version {acked} was acknowledged, {seen} is back; possible: {maybe:?}")
            }
            (Some(acked), Some(seen)) => {
                format!("{id}: ghost, version {seen} is visible after {acked} but was refused or never sent")
            }
            (None, Some(seen)) => {
                format!("{id}: ghost, version {seen} is back after its delete; possible: {maybe:?}")
            }
            (None, None) => format!("{id}: impossible"),
        });
    }
    if let (Some(seen), Some(acked)) = (seen, story.stamp)
        && seen.stamp < acked
    {
        wrong.push(format!("{id}: the daemon's version went back from {acked:?} to {:?}", seen.stamp));
    }
    if seen.is_some_and(|seen| !seen.vector_fits) {
        wrong.push(format!("{id}: vector and metadata are of different writes"));
    }
    if view.scrolled.get(id) != seen {
        wrong.push(format!("{id}: a walk shows {:?}, get shows {seen:?}", view.scrolled.get(id)));
    }
}

#[cfg(test)]
mod tests {
    //! Planted bugs: a checker that has never been seen to fail proves nothing.

    use super::*;

    const ACKED: Outcome = Outcome::Acked(Some((1, 5)));

    fn seen(version: u64) -> Seen {
        Seen { version, stamp: (1, 5), vector_fits: true }
    }

    fn view(entries: &[(&str, u64)]) -> View {
        let all: BTreeMap<String, Seen> =
            entries.iter().map(|(id, v)| ((*id).to_owned(), seen(*v))).collect();
        let searched = all.iter().map(|(id, s)| (id.clone(), Some(s.version))).collect();
        View { count: all.len() as u64, got: all.clone(), scrolled: all, searched }
    }

    fn ledger(notes: &[(&str, Effect, Outcome)]) -> Ledger {
        let mut ledger = Ledger::default();
        notes.iter().for_each(|(id, effect, outcome)| ledger.note(id, *effect, *outcome));
        ledger
    }

    fn complains(ledger: &Ledger, view: &View, about: &str) {
        let wrong = ledger.check(view);
        assert!(wrong.iter().any(|line| line.contains(about)), "no complaint about {about}: {wrong:?}");
    }

    #[test]
    fn an_honest_history_passes() {
        let ledger = ledger(&[
            ("a", Effect::Put(1), ACKED),
            ("a", Effect::Put(2), Outcome::Unknown),
            ("b", Effect::Put(1), ACKED),
            ("b", Effect::Delete, ACKED),
            ("c", Effect::Put(1), Outcome::Failed),
        ]);
        assert_eq!(ledger.check(&view(&[("a", 1)])), Vec::<String>::new());
        assert_eq!(ledger.check(&view(&[("a", 2)])), Vec::<String>::new());
    }

    #[test]
    fn a_lost_acknowledged_write_is_seen() {
        complains(&ledger(&[("a", Effect::Put(1), ACKED)]), &view(&[]), "lost");
        let overwritten = ledger(&[("a", Effect::Put(1), ACKED), ("a", Effect::Put(2), ACKED)]);
        complains(&overwritten, &view(&[("a", 1)]), "lost");
    }

    #[test]
    fn a_deleted_id_that_is_back_is_seen() {
        let deleted = ledger(&[("a", Effect::Put(1), ACKED), ("a", Effect::Delete, ACKED)]);
        complains(&deleted, &view(&[("a", 1)]), "ghost");
    }

    #[test]
    fn a_row_nobody_wrote_and_a_refused_write_are_seen() {
        complains(&Ledger::default(), &view(&[("x", 1)]), "ghost");
        let refused = ledger(&[("a", Effect::Put(1), ACKED), ("a", Effect::Put(2), Outcome::Failed)]);
        complains(&refused, &view(&[("a", 2)]), "ghost");
    }

    #[test]
    fn an_unknown_write_that_did_not_survive_must_stay_away() {
        let mut ledger = ledger(&[("a", Effect::Put(1), Outcome::Unknown)]);
        ledger.settle(&view(&[]));
        complains(&ledger, &view(&[("a", 1)]), "ghost");
    }

    #[test]
    fn an_index_that_differs_from_the_rows_is_seen() {
        let ledger = ledger(&[("a", Effect::Put(1), ACKED)]);
        let mut missing = view(&[("a", 1)]);
        missing.searched.insert("a".to_owned(), None);
        complains(&ledger, &missing, "the index finds");
        let mut stale = view(&[("a", 1)]);
        stale.searched.insert("a".to_owned(), Some(7));
        complains(&ledger, &stale, "the index finds");
    }

    #[test]
    fn disagreeing_views_are_seen() {
        let ledger = ledger(&[("a", Effect::Put(1), ACKED)]);
        complains(&ledger, &View { count: 2, ..view(&[("a", 1)]) }, "count says");
        complains(
            &ledger,
            &View { scrolled: BTreeMap::new(), count: 0, ..view(&[("a", 1)]) },
            "a walk shows",
        );
        let mut torn = view(&[("a", 1)]);
        torn.got.insert("a".to_owned(), Seen { vector_fits: false, ..seen(1) });
        complains(&ledger, &torn, "different writes");
        let mut older = view(&[("a", 1)]);
        older.got.insert("a".to_owned(), Seen { stamp: (1, 4), ..seen(1) });
        complains(&ledger, &older, "went back");
    }
}
