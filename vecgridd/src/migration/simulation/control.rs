//! What the control plane promises, as a model: one table, compared and set, seen late.

use std::collections::{BTreeMap, BTreeSet};

use super::Bug;
use crate::{
    migration::Proposal,
    placement::{Candidate, Holders, place},
    types::{MemberId, Placement},
};

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
    bug: Bug,
}

impl Control {
    pub(super) fn new(members: BTreeSet<MemberId>, partitions: usize, backups: u8, bug: Bug) -> Self {
        let founder = members.first().cloned().unwrap();
        let placement = Placement { epoch: 1, primary: founder.clone(), in_sync: vec![founder.clone()] };
        let terms = (0..partitions).map(|partition| ((partition, 1), founder.clone())).collect();
        let (table, wanted) = (vec![placement; partitions], Vec::new());
        let mut control =
            Self { version: 1, table, wanted, members, away: BTreeSet::new(), backups, terms, bug };
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

    /// Takes those that are away out of a partition's in-sync set, and gives it to one that is there.
    pub(super) fn promote(&mut self, partition: usize) {
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
