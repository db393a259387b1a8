//! What one partition decides. Pure: events in, effects out; no clock, no socket, no disk.
//!
//! The order of a write: *propose* gives it the next sequence and asks for an append; when every
//! in-sync replica has it *durable* it is *committed* and handed to the applier, in order; when it
//! is *applied* (rows and index show it) the client is answered. Nothing is answered earlier, and
//! nothing is applied that could still be cut off.
//!
//! With one member the in-sync set holds that member alone. Copies will add members to the set and
//! their `Durable` events; the rules here do not change.
//!
//! Invariants, checked after every step in debug builds and tests: sequences have no gap; applied
//! ≤ committed ≤ every in-sync replica's durable point; each ticket is answered exactly once.

use std::collections::{BTreeMap, VecDeque};

use super::{
    dedup::{DedupWindow, Known},
    log_extent::{Kept, LogExtent, Retention},
};
use crate::types::{MemberId, MutationOutcome, Operation, PartitionId, RequestId, Version};

/// Names a waiting client.
pub type Ticket = u64;

/// What an applied operation did. `None`: its collection had been dropped, nothing happened.
pub type Applied = Option<MutationOutcome>;

/// What happens to a partition.
#[derive(Debug)]
pub enum Event {
    /// A client wants this done.
    Propose {
        /// Who waits.
        ticket: Ticket,
        /// What is to be done.
        operation: Operation,
        /// Hash of its content, to tell a retry from a reused request id.
        fingerprint: u64,
        /// Its size in the log.
        bytes: usize,
    },
    /// A replica has the log up to this sequence on disk.
    Durable {
        /// Which replica.
        member: MemberId,
        /// Its last durable record.
        sequence: u64,
    },
    /// The applier is done with the record of this sequence.
    Applied {
        /// Which record.
        sequence: u64,
        /// What it did.
        applied: Applied,
    },
    /// Our own log cannot be written any more.
    LogFailed,
}

/// A committed record on its way to rows and index.
#[derive(Debug, Clone, PartialEq)]
pub struct Committed {
    /// Its version.
    pub version: Version,
    /// What it does.
    pub operation: Operation,
    /// Hash of its content, remembered with its request id.
    pub fingerprint: u64,
    /// The request that falls out of the window when this one enters.
    pub forget_request: Option<u64>,
    /// The log is to be cut below this sequence.
    pub trim_below: Option<u64>,
    /// What the log then holds, up to this record.
    pub kept: Kept,
}

/// Why a partition did not take a write, or cannot say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The request id was used for different content. Nothing happened.
    RequestIdReused,
    /// This member is not the primary, or is just handing the partition over. Nothing happened.
    NotPrimary,
    /// The grid has not confirmed for too long that this member may act. Nothing happened.
    NoLease,
    /// Another member became the primary while the write was on its way: it may be in the log that goes on.
    Overtaken,
    /// The log failed before the write was taken. Nothing happened.
    NotWritable,
    /// The log failed under the write. It may be found after a restart.
    LogFailed,
}

/// What a partition wants done.
#[derive(Debug, PartialEq)]
pub enum Effect {
    /// Append to the log, then report [`Event::Durable`].
    Append {
        /// Its version.
        version: Version,
        /// What it does.
        operation: Operation,
    },
    /// Apply, in order, then report [`Event::Applied`].
    Apply(Committed),
    /// Answer a client.
    Answer {
        /// Who waits.
        ticket: Ticket,
        /// What it is told.
        answer: Result<Applied, Refusal>,
    },
}

#[derive(Debug)]
struct Pending {
    version: Version,
    operation: Operation,
    fingerprint: u64,
    ticket: Ticket,
}

#[derive(Debug)]
struct Applying {
    sequence: u64,
    ticket: Ticket,
    request_id: Option<RequestId>,
}

/// Where a partition starts from.
#[derive(Debug)]
pub struct Start {
    /// Which one.
    pub partition: PartitionId,
    /// Its term.
    pub epoch: u64,
    /// This member.
    pub me: MemberId,
    /// Who must have a write before it counts.
    pub in_sync: Vec<MemberId>,
    /// Sequence of the last record, which is applied.
    pub last: u64,
    /// Requests applied before.
    pub dedup: DedupWindow,
    /// What the log holds.
    pub log: LogExtent,
    /// What the log may hold.
    pub retention: Retention,
}

/// See the module.
#[derive(Debug)]
pub struct State {
    partition: PartitionId,
    epoch: u64,
    me: MemberId,
    durable: BTreeMap<MemberId, u64>,
    last: u64,
    committed: u64,
    applied: u64,
    pending: VecDeque<Pending>,
    applying: VecDeque<Applying>,
    dedup: DedupWindow,
    log: LogExtent,
    retention: Retention,
    failed: bool,
}

impl State {
    /// A partition whose log is applied up to its end.
    pub fn new(start: Start) -> Self {
        Self {
            partition: start.partition,
            epoch: start.epoch,
            me: start.me,
            durable: start.in_sync.into_iter().map(|member| (member, start.last)).collect(),
            last: start.last,
            committed: start.last,
            applied: start.last,
            pending: VecDeque::new(),
            applying: VecDeque::new(),
            dedup: start.dedup,
            log: start.log,
            retention: start.retention,
            failed: false,
        }
    }

    /// Which partition this is.
    pub fn partition(&self) -> PartitionId {
        self.partition
    }

    /// This member, as `Durable` events name it.
    pub fn me(&self) -> &MemberId {
        &self.me
    }

    /// Epoch and last applied sequence.
    pub fn applied(&self) -> Version {
        Version { epoch: self.epoch, sequence: self.applied }
    }

    /// Decides.
    pub fn step(&mut self, event: Event) -> Vec<Effect> {
        let effects = match event {
            Event::Propose { ticket, operation, fingerprint, bytes } => {
                self.propose(ticket, operation, fingerprint, bytes)
            }
            Event::Durable { member, sequence } => self.durable(&member, sequence),
            Event::Applied { sequence, applied } => self.applied_one(sequence, &applied),
            Event::LogFailed => self.log_failed(),
        };
        self.check();
        effects
    }

    fn propose(
        &mut self,
        ticket: Ticket,
        operation: Operation,
        fingerprint: u64,
        bytes: usize,
    ) -> Vec<Effect> {
        let answer = |answer| vec![Effect::Answer { ticket, answer }];
        if let Some(id) = &operation.request_id
            && let Some((known_fingerprint, known)) = self.dedup.get(id)
        {
            if known_fingerprint != fingerprint {
                return answer(Err(Refusal::RequestIdReused));
            }
            match known {
                Known::Done(applied) => {
                    let applied = applied.clone();
                    return answer(Ok(applied));
                }
                Known::InFlight(waiting) => waiting.push(ticket),
            }
            return Vec::new();
        }
        if self.failed {
            return answer(Err(Refusal::NotWritable));
        }
        if let Some(id) = &operation.request_id {
            self.dedup.begin(id.clone(), fingerprint);
        }
        self.last += 1;
        self.log.push(bytes);
        let version = Version { epoch: self.epoch, sequence: self.last };
        self.pending.push_back(Pending { version, operation: operation.clone(), fingerprint, ticket });
        vec![Effect::Append { version, operation }]
    }

    fn durable(&mut self, member: &MemberId, sequence: u64) -> Vec<Effect> {
        // An answer of somebody who is not in the set counts for nothing.
        let Some(point) = self.durable.get_mut(member) else { return Vec::new() };
        *point = (*point).max(sequence);
        let committed = self.durable.values().copied().min().unwrap_or(0);
        let mut effects = Vec::new();
        while self.pending.front().is_some_and(|next| next.version.sequence <= committed) {
            let Some(next) = self.pending.pop_front() else { break };
            self.committed = next.version.sequence;
            let request_id = next.operation.request_id.clone();
            let forget_request =
                request_id.clone().and_then(|id| self.dedup.commit(id, next.version.sequence));
            self.applying.push_back(Applying {
                sequence: next.version.sequence,
                ticket: next.ticket,
                request_id,
            });
            self.log.commit();
            let trim_below = self.log.trim(self.retention, self.applied);
            effects.push(Effect::Apply(Committed {
                version: next.version,
                operation: next.operation,
                fingerprint: next.fingerprint,
                forget_request,
                trim_below,
                kept: self.log.committed(),
            }));
        }
        effects
    }

    fn applied_one(&mut self, sequence: u64, applied: &Applied) -> Vec<Effect> {
        if self.applying.front().is_none_or(|first| first.sequence != sequence) {
            return Vec::new();
        }
        let Some(first) = self.applying.pop_front() else { return Vec::new() };
        self.applied = sequence;
        let mut waiting = vec![first.ticket];
        if let Some(id) = &first.request_id {
            waiting.extend(self.dedup.finish(id, applied));
        }
        waiting.into_iter().map(|ticket| Effect::Answer { ticket, answer: Ok(applied.clone()) }).collect()
    }

    fn log_failed(&mut self) -> Vec<Effect> {
        self.failed = true;
        let mut effects = Vec::new();
        for lost in std::mem::take(&mut self.pending) {
            let mut waiting = vec![lost.ticket];
            if let Some(id) = &lost.operation.request_id {
                waiting.extend(self.dedup.abandon(id));
            }
            let refuse = |ticket| Effect::Answer { ticket, answer: Err(Refusal::LogFailed) };
            effects.extend(waiting.into_iter().map(refuse));
        }
        effects
    }

    fn check(&self) {
        debug_assert!(self.applied <= self.committed && self.committed <= self.last);
        debug_assert!(self.durable.values().all(|&point| point >= self.committed));
        debug_assert!(self.failed || self.last - self.committed == self.pending.len() as u64);
    }
}
