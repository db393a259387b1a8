//! One copy of a partition on a disk, with a set of numbers for rows.

use std::collections::{BTreeMap, BTreeSet};

use super::Bug;
use crate::{
    migration::{Have, Replica, ReplicaEffect, ReplicaEvent},
    types::Version,
};

pub(super) type Writes = BTreeSet<u64>;

/// What a write deletes, if it does: that is in its upper half.
pub(super) fn deleted_by(write: u64) -> Option<u64> {
    (write >> 32).checked_sub(1)
}

/// The write of this number, which deletes what another one brought.
pub(super) fn delete(number: u64, deleted: u64) -> u64 {
    (deleted + 1) << 32 | number
}

/// A record: its version, and the write, if it is one.
pub(super) type Record = (Version, Option<u64>);

/// One copy on disk: rows up to `base`, then the log.
#[derive(Debug, Clone, Default)]
pub(super) struct Copy {
    pub(super) replica: Replica,
    pub(super) rows: Writes,
    pub(super) base: u64,
    pub(super) log: BTreeMap<u64, Record>,
    /// Up to here the log is on the disk. A primary sends what is not, but counts itself only for what is.
    pub(super) synced: u64,
    incoming: Writes,
    /// Full copies that have come.
    pub(super) installed: u64,
}

impl Copy {
    /// What it has on its disk.
    pub(super) fn writes(&self) -> Writes {
        self.rows_at(self.synced)
    }

    /// Everything that was appended gets to the disk.
    pub(super) fn sync(&mut self) {
        self.synced = self.replica.chain().last().sequence;
    }

    /// What was not there is lost.
    pub(super) fn lose(&mut self) {
        let Have { promised, chain, attempt, installing } = self.replica.have();
        if installing.is_none() && chain.last().sequence > self.synced {
            self.log.retain(|at, _| *at <= self.synced);
            let committed = self.replica.committed();
            // What is committed is synced, so the end of what is synced is known.
            let epoch = chain.epoch_at(self.synced).unwrap();
            let end = Version { epoch, sequence: self.synced };
            self.replica = Replica::found(promised, chain.up_to(end), attempt, committed);
        }
    }

    /// What the records up to this one lead to.
    pub(super) fn rows_at(&self, sequence: u64) -> Writes {
        let mut rows = self.rows.clone();
        for write in self.log.range(..=sequence).filter_map(|(_, (_, write))| *write) {
            if let Some(deleted) = deleted_by(write) {
                rows.remove(&deleted);
            }
            rows.insert(write);
        }
        rows
    }

    /// Cuts the log below a committed sequence: its writes are rows by then.
    pub(super) fn trim(&mut self, sequence: u64) {
        self.rows = self.rows_at(sequence);
        self.log.retain(|at, _| *at > sequence);
        self.base = self.base.max(sequence);
    }

    /// A message of a primary: all of it gets to the disk. What is answered.
    pub(super) fn receive(
        &mut self,
        event: &ReplicaEvent,
        rows: &Writes,
        records: &[Record],
        bug: Bug,
    ) -> Option<Have> {
        let mut answer = None;
        let kept = match bug {
            Bug::FullCopyKeepsRows => self.rows_at(self.replica.committed()),
            _ => Writes::new(),
        };
        for effect in self.replica.step(event) {
            match effect {
                ReplicaEffect::Clear => {
                    let replica = std::mem::take(&mut self.replica);
                    let (rows, installed) = (kept.clone(), self.installed);
                    *self = Self { replica, rows, installed, ..Self::default() };
                }
                ReplicaEffect::StoreRows => {
                    self.incoming.extend(rows);
                    if self.replica.have().installing.is_none() {
                        self.installed += 1;
                        self.rows.append(&mut self.incoming);
                        self.base = self.replica.chain().last().sequence;
                    }
                }
                ReplicaEffect::CutAfter(sequence) => self.log.retain(|at, _| *at <= sequence),
                ReplicaEffect::Append(place) => {
                    let record = records[place];
                    self.log.insert(record.0.sequence, record);
                }
                ReplicaEffect::Commit(_) => {}
                ReplicaEffect::Quarantine => panic!("a copy is quarantined"),
                ReplicaEffect::Answer(have) => answer = Some(have),
            }
        }
        self.sync();
        answer
    }

    /// With a bug planted: throws away what it does not know to be committed.
    pub(super) fn cut_at_commit_point(&mut self) {
        let Have { promised, chain, attempt, installing } = self.replica.have();
        let committed = self.replica.committed();
        if let (None, Some(epoch)) = (installing, chain.epoch_at(committed)) {
            let end = Version { epoch, sequence: committed };
            self.log.retain(|at, _| *at <= committed);
            self.replica = Replica::found(promised, chain.up_to(end), attempt, committed);
            self.sync();
        }
    }
}
