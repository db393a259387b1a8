//! What the control plane promises, as a model: one table, compared and set, seen late. Who is fenced says the real
//! failure detector, of members whose beats it hears or does not.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{Bug, member::LEASE};
use crate::{
    control::failure_detector::{Effect, Event, FailureDetector},
    migration::Proposal,
    placement::{Candidate, Holders, place},
    types::{ClusterView, Member, MemberId, MemberState, Placement},
};

/// Without a beat for so long a member is fenced, in steps.
const SESSION: Duration = Duration::from_millis(160);

#[derive(Debug)]
pub(super) struct Control {
    /// Grows with every change.
    pub(super) version: u64,
    pub(super) table: Vec<Placement>,
    pub(super) wanted: Vec<Holders>,
    pub(super) members: BTreeSet<MemberId>,
    pub(super) away: BTreeSet<MemberId>,
    pub(super) backups: u8,
    /// Primary of every epoch that ever was.
    pub(super) terms: BTreeMap<(usize, u64), MemberId>,
    /// Partitions that were given to another member, or taken from one, because it was fenced.
    pub(super) promotions: u64,
    detector: FailureDetector,
    /// Who is alive, for the detector: everybody who is not away.
    view: ClusterView,
    bug: Bug,
}

impl Control {
    pub(super) fn new(
        all: &[MemberId],
        members: BTreeSet<MemberId>,
        partitions: usize,
        backups: u8,
        bug: Bug,
    ) -> Self {
        // It is none of them, and beats to nobody.
        let me = MemberId("control".to_owned());
        let mut view = ClusterView::bootstrap("g", 1, &me);
        view.members.extend(all.iter().map(|id| (id.clone(), Member::new(id.clone(), "", ""))));
        let session = if bug == Bug::SessionBelowLease { LEASE / 3 } else { SESSION };
        let detector = FailureDetector::new(me, session);
        let founder = members.first().cloned().unwrap();
        let placement = Placement { epoch: 1, primary: founder.clone(), in_sync: vec![founder.clone()] };
        let terms = (0..partitions).map(|partition| ((partition, 1), founder.clone())).collect();
        let (table, wanted) = (vec![placement; partitions], Vec::new());
        let (away, promotions) = (BTreeSet::new(), 0);
        let mut control = Self {
            version: 1,
            table,
            wanted,
            members,
            away,
            backups,
            terms,
            promotions,
            detector,
            view,
            bug,
        };
        control.plan();
        control
    }

    /// Says who should hold what: again whenever members come, go, or are away.
    pub(super) fn plan(&mut self) {
        let current: Vec<Holders> = self.table.iter().map(holders).collect();
        let mut present: Vec<Candidate> = self.members.difference(&self.away).map(candidate).collect();
        if self.bug == Bug::WantedOnOne {
            present.truncate(1);
        }
        self.wanted = place(&present, &current, self.backups);
        self.version += 1;
    }

    pub(super) fn propose(&mut self, partition: usize, proposal: &Proposal) {
        let current = &self.table[partition];
        let Proposal { expected, next } = proposal;
        if self.bug != Bug::NoComparison && (current != expected || !current.in_sync.contains(&next.primary))
        {
            return;
        }
        self.set(partition, next.clone());
    }

    /// A beat comes; whether it is taken, and so answered with a lease. Who was fenced is a member again, at once.
    pub(super) fn hear(&mut self, member: &MemberId, incarnation: u64, now: Duration) -> bool {
        let known = self.view.members.get_mut(member).unwrap();
        if incarnation < known.details.incarnation {
            return false;
        }
        known.details.incarnation = incarnation;
        known.state = MemberState::Alive;
        if self.away.remove(member) {
            self.plan();
        }
        self.watch(now, &Event::Beat { member: member.clone(), incarnation });
        true
    }

    /// Another one leads the control plane, which has heard nobody.
    pub(super) fn change_leader(&mut self, now: Duration) {
        let effects = self.detector.step(now, false, &self.view, &Event::Tick);
        assert_eq!(effects, []);
    }

    /// Lets the detector look, and fences whom it says.
    pub(super) fn watch(&mut self, now: Duration, event: &Event) {
        for effect in self.detector.step(now, true, &self.view, event) {
            let Effect::Fence { member, incarnation } = effect else { continue };
            let known = self.view.members.get_mut(&member).unwrap();
            if known.details.incarnation != incarnation || !known.is_alive() {
                continue;
            }
            known.state = MemberState::Away;
            self.away.insert(member);
            self.plan();
            for partition in 0..self.table.len() {
                let before = self.version;
                self.promote(partition);
                self.promotions += u64::from(self.version > before);
            }
        }
    }

    /// Takes those that are away out of a partition's in-sync set, and gives it to one that is there.
    fn promote(&mut self, partition: usize) {
        let Placement { epoch, primary, in_sync } = &self.table[partition];
        let mut present: Vec<MemberId> =
            in_sync.iter().filter(|member| !self.away.contains(*member)).cloned().collect();
        if self.bug == Bug::PromotesAnybody {
            present = self.members.difference(&self.away).cloned().collect();
        }
        if present.len() == in_sync.len() {
            return;
        }
        let stays = Some(primary).filter(|primary| present.contains(primary));
        if let Some(primary) = stays.or(present.first()).cloned() {
            let placement = Placement { epoch: epoch + 1, primary, in_sync: present };
            self.set(partition, placement);
        }
    }

    fn set(&mut self, partition: usize, next: Placement) {
        let before = &self.table[partition];
        if *before == next {
            return;
        }
        assert!(
            next.epoch >= before.epoch,
            "the epoch of partition {partition} went back: {before:?} {next:?}"
        );
        let term = self.terms.entry((partition, next.epoch)).or_insert_with(|| next.primary.clone());
        assert_eq!(*term, next.primary, "two primaries in epoch {} of partition {partition}", next.epoch);
        self.table[partition] = next;
        self.version += 1;
    }
}

pub(super) fn candidate(member: &MemberId) -> Candidate {
    Candidate { member: member.clone(), zone: None, host: None, weight: 1 }
}

pub(super) fn holders(placement: &Placement) -> Holders {
    let others = placement.in_sync.iter().filter(|member| **member != placement.primary).cloned().collect();
    Holders { primary: placement.primary.clone(), others }
}
