//! One copy of a partition that another member keeps level. Pure.
//!
//! It promises never to take anything from an epoch older than the newest it has heard of, to
//! answer only for what is on its disk, and to cut nothing that was committed. The effects of one
//! event belong in one batch; the answer is sent when that batch is durable.
//!
//! Everything here is kept on disk with the copy, so a restart goes on where it was.

use serde::{Deserialize, Serialize};

use super::Chain;
use crate::types::Version;

/// Ends of epochs that are remembered: whoever was away for longer gets a snapshot. They travel in every answer.
const ENDS: usize = 64;

/// Names one try to install a snapshot; later tries are greater. What is left in the network of an earlier one
/// is told from the current one by this.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Attempt {
    /// The sender's epoch.
    pub epoch: u64,
    /// Counts within it.
    pub number: u64,
}

/// What a replica has on its disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Have {
    /// The newest epoch it has promised to.
    pub promised: u64,
    /// Its log.
    pub chain: Chain,
    /// The last installation that was begun.
    pub attempt: Attempt,
    /// Chunks of it that are there, while it is not complete.
    pub installing: Option<u64>,
}

/// What reaches a replica.
#[derive(Debug, Clone, PartialEq)]
pub enum ReplicaEvent {
    /// What do you have?
    Ask {
        /// Of the asking primary.
        epoch: u64,
    },
    /// A piece of a snapshot.
    Rows {
        /// Which installation; its epoch is the sender's.
        attempt: Attempt,
        /// The log that the snapshot stands for.
        chain: Chain,
        /// Its number, from 0.
        chunk: u64,
        /// Nothing comes after it.
        last: bool,
    },
    /// Records of the log.
    Records {
        /// Of the sending primary.
        epoch: u64,
        /// The record before the first of these.
        previous: Version,
        /// What they are, in order.
        records: Vec<Version>,
        /// The primary's commit point.
        committed: u64,
    },
}

/// What a replica does, in this order, all or nothing.
#[derive(Debug, Clone, PartialEq)]
pub enum ReplicaEffect {
    /// Throw away rows and log of this copy.
    Clear,
    /// Keep the rows of this chunk.
    StoreRows,
    /// Forget the records after this sequence.
    CutAfter(u64),
    /// Append the record at this place of the message.
    Append(usize),
    /// Records up to here are committed and may be applied.
    Commit(u64),
    /// A committed record would have to go: something is broken, this copy must not be used.
    Quarantine,
    /// Tell the sender, when all that is durable.
    Answer(Have),
}

/// See the module.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replica {
    promised: u64,
    chain: Chain,
    attempt: Attempt,
    installing: Option<u64>,
    committed: u64,
}

impl Replica {
    /// As it was found on the disk after a start. What an installation had brought that did not end is thrown
    /// away before: the copy then has nothing, and says so.
    pub fn found(promised: u64, chain: Chain, attempt: Attempt, committed: u64) -> Self {
        Self { promised, chain, attempt, installing: None, committed }
    }

    /// Its log.
    pub fn chain(&self) -> &Chain {
        &self.chain
    }

    /// The newest epoch it has promised to.
    pub fn promised(&self) -> u64 {
        self.promised
    }

    /// Records up to here are committed, as far as it knows.
    pub fn committed(&self) -> u64 {
        self.committed
    }

    /// What it has.
    pub fn have(&self) -> Have {
        Have {
            promised: self.promised,
            chain: self.chain.clone(),
            attempt: self.attempt,
            installing: self.installing,
        }
    }

    /// It becomes the primary's own copy, or hears of a newer epoch.
    pub fn promise(&mut self, epoch: u64) {
        self.promised = self.promised.max(epoch);
    }

    /// The primary's own append; false when the record does not follow, or its epoch is over.
    #[must_use]
    pub fn append_own(&mut self, version: Version) -> bool {
        version.epoch == self.promised && self.installing.is_none() && self.push(version)
    }

    /// Appends, and forgets the oldest ends of epochs when a new one begins: never later, because what a primary has
    /// told in its epoch must stay comparable for as long as that lasts. Nor what is not committed: it may have to go.
    fn push(&mut self, version: Version) -> bool {
        let begins = self.chain.last().epoch != version.epoch;
        let pushed = self.chain.push(version);
        if pushed && begins {
            self.chain.forget(ENDS, self.committed);
        }
        pushed
    }

    /// Remembers less than it would, so that a simulation need not be long.
    #[cfg(test)]
    pub(super) fn forget(&mut self, ends: usize) {
        self.chain.forget(ends, self.committed);
    }

    /// The primary's own commit point.
    pub fn commit_own(&mut self, committed: u64) {
        self.committed = self.committed.max(committed);
    }

    /// Takes one event.
    pub fn step(&mut self, event: &ReplicaEvent) -> Vec<ReplicaEffect> {
        let epoch = match event {
            ReplicaEvent::Ask { epoch } | ReplicaEvent::Records { epoch, .. } => *epoch,
            ReplicaEvent::Rows { attempt, .. } => attempt.epoch,
        };
        let mut effects = Vec::new();
        if epoch >= self.promised {
            self.promised = epoch;
            match event {
                ReplicaEvent::Ask { .. } => {}
                ReplicaEvent::Rows { attempt, chain, chunk, last } => {
                    self.rows(*attempt, chain, *chunk, *last, &mut effects);
                }
                ReplicaEvent::Records { previous, records, committed, .. } => {
                    self.records(*previous, records, *committed, &mut effects);
                }
            }
        }
        effects.push(ReplicaEffect::Answer(self.have()));
        effects
    }

    fn rows(
        &mut self,
        attempt: Attempt,
        chain: &Chain,
        chunk: u64,
        last: bool,
        effects: &mut Vec<ReplicaEffect>,
    ) {
        if chunk == 0 && attempt > self.attempt {
            self.attempt = attempt;
            self.installing = Some(0);
            self.chain = Chain::default();
            self.committed = 0;
            effects.push(ReplicaEffect::Clear);
        }
        if attempt == self.attempt && self.installing == Some(chunk) {
            effects.push(ReplicaEffect::StoreRows);
            self.installing = Some(chunk + 1);
            if last {
                self.installing = None;
                self.chain = chain.clone();
                self.committed = chain.last().sequence;
            }
        }
    }

    fn records(
        &mut self,
        previous: Version,
        records: &[Version],
        committed: u64,
        effects: &mut Vec<ReplicaEffect>,
    ) {
        let one_after_another =
            (previous.sequence + 1..).zip(records).all(|(at, record)| record.sequence == at);
        if self.installing.is_some() || !self.chain.holds(previous) || !one_after_another {
            return;
        }
        let mut follows = previous;
        for (place, record) in records.iter().enumerate() {
            if record.sequence < self.chain.floor().sequence {
                // So old a message that nobody knows any more what stood there.
                return;
            }
            if !self.chain.holds(*record) {
                // The first that differs: what stands there and after it never counted.
                if self.chain.last().sequence >= record.sequence {
                    if record.sequence <= self.committed {
                        effects.push(ReplicaEffect::Quarantine);
                        return;
                    }
                    self.chain.cut_after(follows);
                    effects.push(ReplicaEffect::CutAfter(record.sequence - 1));
                }
                if !self.push(*record) {
                    return;
                }
                effects.push(ReplicaEffect::Append(place));
            }
            follows = *record;
        }
        // Beyond what this message has shown to be equal, our log may still differ.
        let known = committed.min(follows.sequence);
        if known > self.committed {
            self.committed = known;
            effects.push(ReplicaEffect::Commit(known));
        }
    }
}
