//! How a primary changes who holds its partition: one proposal at a time. Pure.
//!
//! ```text
//!   away and distrusted members out ─▶ wanted members in, one by one, each when level ─▶ the wanted primary ─▶ unwanted out
//! ```
//!
//! The control plane compares and sets, so a proposal takes effect once or never. What is proposed is
//! proposed again until its fate is known: the table shows it, or something else. Until then writes wait
//! for everybody who is in sync or might be ([`Handoff::counted`]).

use std::collections::BTreeSet;

use super::Chain;
use crate::{
    placement::Holders,
    types::{MemberId, Placement},
};

/// What happens to a handoff.
#[derive(Debug, Clone, PartialEq)]
pub enum HandoffEvent<'a> {
    /// The table says this about the partition.
    Decided(&'a Placement),
    /// This is how it should be held, by so many members at least before one goes.
    Wanted(&'a Holders, usize),
    /// These members are not there.
    Away(&'a BTreeSet<MemberId>),
    /// This member's copy is wrong: it must not stay in sync as it is. Remembered for this epoch.
    Distrust(&'a MemberId),
    /// This member is level at this moment, see [`Handoff::is_level`]. Said again after every change, as
    /// long as it is so.
    Level(&'a MemberId),
    /// Nothing was heard of a proposal for a while.
    Silence,
}

/// Set the second if the first is still so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposal {
    /// How the partition is held.
    pub expected: Placement,
    /// How it is to be held.
    pub next: Placement,
}

/// See the module.
#[derive(Debug, Clone)]
pub struct Handoff {
    me: MemberId,
    current: Placement,
    /// This member has not led in this epoch before, so no proposal is under way that it has forgotten.
    fresh: bool,
    wanted: Option<Holders>,
    /// Nobody who has a copy goes while there are fewer.
    copies: usize,
    away: BTreeSet<MemberId>,
    distrusted: BTreeSet<MemberId>,
    open: Option<Proposal>,
}

impl Handoff {
    /// The primary's handoff, made once when it begins to lead in an epoch. `fresh`: its copy had not
    /// promised itself to this epoch before, so it has never led in it.
    pub fn new(me: MemberId, current: Placement, fresh: bool) -> Self {
        let (away, distrusted) = (BTreeSet::new(), BTreeSet::new());
        Self { me, current, fresh, wanted: None, copies: 0, away, distrusted, open: None }
    }

    /// May writes be acknowledged?
    pub fn serves(&self) -> bool {
        self.fresh && self.leads()
    }

    /// Is this member still the primary, as far as it knows?
    pub fn leads(&self) -> bool {
        self.current.primary == self.me
    }

    /// Is another member proposed as the primary? Then nothing new is to be taken until that is decided.
    pub fn hands_over(&self) -> bool {
        self.open.as_ref().is_some_and(|open| open.next.primary != self.me)
    }

    /// Is this what is open?
    pub fn proposes(&self, proposal: &Proposal) -> bool {
        self.open.as_ref() == Some(proposal)
    }

    /// What is open was never sent, or was refused for ever: it cannot be decided. Something else may be right by
    /// now: the next event tells.
    pub fn withdraw(&mut self) {
        self.open = None;
    }

    /// Who must have a write before it counts: everybody who is in sync, or will be if what was
    /// proposed is decided.
    pub fn counted(&self) -> BTreeSet<&MemberId> {
        let proposed = self.open.iter().flat_map(|open| &open.next.in_sync);
        self.current.in_sync.iter().chain(proposed).collect()
    }

    /// Does a member whose disk has our log up to `durable` have everything that was ever acknowledged?
    /// Only what is committed in our own epoch says how far that is: the primary before us may have acknowledged
    /// more than it told us.
    pub fn is_level(&self, log: &Chain, committed: u64, durable: u64) -> bool {
        durable >= committed && committed > 0 && log.epoch_at(committed) == Some(self.current.epoch)
    }

    /// Who is in sync by the table. To count only them is not enough, as the simulator shows.
    pub fn in_sync(&self) -> &[MemberId] {
        &self.current.in_sync
    }

    /// Only who will be in sync if what was proposed is decided: not enough either.
    #[cfg(test)]
    pub(super) fn counted_if_shrunk(&self) -> BTreeSet<&MemberId> {
        self.open.as_ref().map_or(&self.current.in_sync, |open| &open.next.in_sync).iter().collect()
    }

    /// Who must be brought level or kept so, this member excepted. Nobody in an epoch in which this member has
    /// led before: it no longer knows what it sent.
    pub fn streams_to(&self) -> BTreeSet<&MemberId> {
        if !self.fresh {
            return BTreeSet::new();
        }
        let wanted =
            self.wanted.iter().flat_map(Holders::members).filter(|member| !self.away.contains(*member));
        self.counted().into_iter().chain(wanted).filter(|member| **member != self.me).collect()
    }

    /// Takes one event; what is to be proposed now, if anything.
    pub fn step(&mut self, event: &HandoffEvent<'_>) -> Option<Proposal> {
        let mut level = None;
        match event {
            HandoffEvent::Decided(placement) => self.decided(placement),
            HandoffEvent::Wanted(holders, copies) => {
                (self.wanted, self.copies) = (Some((*holders).clone()), *copies);
            }
            HandoffEvent::Away(away) => self.away = (*away).clone(),
            HandoffEvent::Distrust(member) => _ = self.distrusted.insert((*member).clone()),
            // Not remembered: a moment later more may be committed.
            HandoffEvent::Level(member) => level = Some(*member),
            HandoffEvent::Silence => return self.open.clone(),
        }
        if self.open.is_some() || !self.leads() {
            return None;
        }
        let proposal = Proposal { expected: self.current.clone(), next: self.next(level)? };
        self.open = Some(proposal.clone());
        Some(proposal)
    }

    fn decided(&mut self, placement: &Placement) {
        if *placement == self.current {
            return;
        }
        self.fresh |= placement.epoch > self.current.epoch;
        self.current = placement.clone();
        // It took effect, or it never will: what it expected is over, and does not come again.
        self.open = None;
    }

    fn next(&self, level: Option<&MemberId>) -> Option<Placement> {
        let Placement { epoch, primary, in_sync } = &self.current;
        let with =
            |epoch, primary: &MemberId, in_sync| Placement { epoch, primary: primary.clone(), in_sync };
        let without = |gone: &dyn Fn(&MemberId) -> bool| {
            in_sync.iter().filter(|member| **member == self.me || !gone(member)).cloned().collect::<Vec<_>>()
        };
        // Also begins an epoch of this run, if that is still to be done.
        let present = without(&|member| self.away.contains(member) || self.distrusted.contains(member));
        if !self.fresh || present.len() < in_sync.len() {
            return Some(with(epoch + 1, primary, present));
        }
        let wanted = self.wanted.as_ref()?;
        // Who is away is not waited for, and those that stand in for it are wanted, too.
        let there = |member: &&MemberId| !self.away.contains(*member);
        let mut missing =
            wanted.members().filter(there).filter(|member| !in_sync.contains(member)).peekable();
        if missing.peek().is_some() {
            let ready = missing.find(|member| level == Some(*member))?;
            let joined = in_sync.iter().chain([ready]).cloned().collect();
            return Some(with(*epoch, primary, joined));
        }
        let first = wanted.members().find(|member| there(member) && in_sync.contains(member));
        // While the wanted primary is away, one that is to go gives to any of those that stay.
        let next = Some(&wanted.primary).filter(there).or_else(|| first.filter(|_| !wanted.holds(primary)));
        if let Some(next) = next.filter(|next| *next != primary) {
            return Some(with(epoch + 1, next, in_sync.clone()));
        }
        let kept = without(&|member| !wanted.holds(member));
        let enough = kept.len() >= self.copies.min(wanted.members().count());
        (kept.len() < in_sync.len() && enough).then(|| with(epoch + 1, primary, kept))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(name: &str) -> MemberId {
        MemberId(name.to_owned())
    }

    fn placed(epoch: u64, primary: &str, in_sync: &[&str]) -> Placement {
        Placement { epoch, primary: id(primary), in_sync: in_sync.iter().map(|name| id(name)).collect() }
    }

    fn wanted(primary: &str, others: &[&str]) -> Holders {
        Holders { primary: id(primary), others: others.iter().map(|name| id(name)).collect() }
    }

    #[test]
    fn a_move_is_in_then_switch_and_the_new_primary_takes_the_old_one_out() {
        let mut old = Handoff::new(id("a"), placed(1, "a", &["a"]), true);
        assert_eq!(old.step(&HandoffEvent::Wanted(&wanted("b", &[]), 1)), None, "b is not level");
        assert_eq!(old.streams_to(), [&id("b")].into());
        let both = placed(1, "a", &["a", "b"]);
        assert_eq!(old.step(&HandoffEvent::Level(&id("b"))).map(|p| p.next), Some(both.clone()));
        assert_eq!(old.counted(), [&id("a"), &id("b")].into(), "counted before it is decided");
        let switched = placed(2, "b", &["a", "b"]);
        assert_eq!(old.step(&HandoffEvent::Decided(&both)).map(|p| p.next), Some(switched.clone()));
        assert_eq!(old.step(&HandoffEvent::Decided(&switched)), None);
        assert!(!old.leads());

        let mut new = Handoff::new(id("b"), switched, true);
        let moved = placed(3, "b", &["b"]);
        assert_eq!(
            new.step(&HandoffEvent::Wanted(&wanted("b", &[]), 1)).map(|p| p.next),
            Some(moved.clone())
        );
        assert_eq!(new.step(&HandoffEvent::Decided(&moved)), None);
    }

    #[test]
    fn wanting_something_else_cancels_a_move_that_has_not_been_proposed() {
        let mut handoff = Handoff::new(id("a"), placed(1, "a", &["a"]), true);
        handoff.step(&HandoffEvent::Wanted(&wanted("b", &[]), 1));
        assert_eq!(handoff.step(&HandoffEvent::Wanted(&wanted("a", &[]), 1)), None);
        assert!(handoff.streams_to().is_empty());
        assert_eq!(handoff.step(&HandoffEvent::Level(&id("b"))), None);
    }

    #[test]
    fn a_proposal_of_unknown_fate_is_made_again_and_counts_until_something_is_decided() {
        let mut handoff = Handoff::new(id("a"), placed(1, "a", &["a"]), true);
        handoff.step(&HandoffEvent::Wanted(&wanted("a", &["b"]), 1));
        let made = handoff.step(&HandoffEvent::Level(&id("b")));
        assert!(made.is_some());
        assert_eq!(handoff.step(&HandoffEvent::Silence), made);
        handoff.step(&HandoffEvent::Away(&[id("b")].into()));
        assert_eq!(handoff.counted().len(), 2, "b may be in sync by now");
        // It was: now it is taken out, with a new epoch.
        let out = handoff.step(&HandoffEvent::Decided(&placed(1, "a", &["a", "b"])));
        assert_eq!(out.map(|p| p.next), Some(placed(2, "a", &["a"])));
    }

    #[test]
    fn who_is_away_is_not_waited_for_and_a_copy_that_is_needed_stays() {
        let step = |holds: &[&str], to: &Holders, copies| {
            let mut handoff = Handoff::new(id("d"), placed(4, "d", holds), true);
            handoff.step(&HandoffEvent::Away(&[id("a")].into()));
            handoff.step(&HandoffEvent::Wanted(to, copies)).map(|p| p.next)
        };
        // d is to leave; a is away, b stays.
        assert_eq!(step(&["d", "b"], &wanted("a", &["b"]), 2), Some(placed(5, "b", &["d", "b"])));
        assert_eq!(step(&["d"], &wanted("a", &[]), 1), None, "nobody is there to take it");
        // c has one copy too many, but a is away: only then does it go.
        assert_eq!(step(&["d", "c"], &wanted("d", &["a"]), 2), None);
        assert_eq!(step(&["d", "c", "b"], &wanted("d", &["a", "b"]), 2), Some(placed(5, "d", &["d", "b"])));
    }

    #[test]
    fn who_is_distrusted_goes_out_with_a_new_epoch_and_may_come_back_level() {
        let both = placed(1, "a", &["a", "b"]);
        let mut handoff = Handoff::new(id("a"), both, true);
        handoff.step(&HandoffEvent::Wanted(&wanted("a", &["b"]), 2));
        let out = placed(2, "a", &["a"]);
        assert_eq!(handoff.step(&HandoffEvent::Distrust(&id("b"))).map(|p| p.next), Some(out.clone()));
        assert_eq!(handoff.counted().len(), 2, "until that is decided");
        let mut next = Handoff::new(id("a"), out, true);
        assert_eq!(next.step(&HandoffEvent::Wanted(&wanted("a", &["b"]), 2)), None);
        assert_eq!(next.streams_to(), [&id("b")].into());
        let back = placed(2, "a", &["a", "b"]);
        assert_eq!(next.step(&HandoffEvent::Level(&id("b"))).map(|p| p.next), Some(back));
        // Itself it does not distrust.
        let mut alone = Handoff::new(id("a"), placed(1, "a", &["a"]), true);
        assert_eq!(alone.step(&HandoffEvent::Distrust(&id("a"))), None);
    }

    #[test]
    fn a_primary_that_starts_again_begins_an_epoch_first() {
        let mut handoff = Handoff::new(id("a"), placed(4, "a", &["a", "b"]), false);
        assert!(!handoff.serves());
        let first = handoff.step(&HandoffEvent::Wanted(&wanted("a", &["b"]), 1));
        assert_eq!(first.map(|p| p.next), Some(placed(5, "a", &["a", "b"])));
        handoff.step(&HandoffEvent::Decided(&placed(5, "a", &["a", "b"])));
        assert!(handoff.serves());
    }
}
