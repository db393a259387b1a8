//! What one copy of a partition decides. Pure: events in, effects out; no clock, no socket, no disk.
//!
//! While this member leads, the order of a write is: *propose* gives it the next sequence and asks for an append;
//! when every member that counts has it *durable* it is *committed* and handed to the applier, in order; when it
//! is *applied* (rows and index show it) the client is answered. Nothing is answered earlier, and nothing is
//! applied that could still be cut off.
//!
//! While another member leads, records are *accepted* as that one ordered them, *committed* as far as it says,
//! and applied in the same way; nobody waits for them. What is not committed when this member begins to lead is
//! kept, and committed when everybody who counts then has it.
//!
//! Invariants, checked after every step in debug builds and tests: sequences have no gap; applied
//! ≤ committed ≤ what is durable here; each ticket is answered exactly once.

use std::collections::{BTreeMap, VecDeque};

use super::{
    dedup::{DedupWindow, Known},
    log_extent::{Kept, LogExtent, Retention},
};
use crate::types::{MemberId, MutationOutcome, Operation, PartitionId, RequestId, Version};

/// A log that others are being sent may grow to this, bytes. Beyond, they get another snapshot.
const HELD_BYTES: u64 = 64 << 20;

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
    /// A record as another member ordered it, or as it was found in the log after a start. The caller has it
    /// appended, or found it there.
    Accept {
        /// Its version; follows the last one.
        version: Version,
        /// What it does.
        operation: Operation,
        /// Hash of its content.
        fingerprint: u64,
        /// Its size in the log.
        bytes: usize,
    },
    /// A member has the log up to this sequence on disk.
    Durable {
        /// Which one.
        member: MemberId,
        /// Its last durable record.
        sequence: u64,
    },
    /// Records up to here are committed: the primary says so, or nobody else ever had any.
    Committed(u64),
    /// Records after this one never counted; the caller cuts the log.
    CutAfter(u64),
    /// From now on this member orders the writes.
    Lead {
        /// Its term.
        epoch: u64,
        /// Who must have a write before it counts, and up to where each has the log.
        counted: BTreeMap<MemberId, u64>,
    },
    /// Others must have a write before it counts.
    Count(BTreeMap<MemberId, u64>),
    /// This member does not order the writes any more.
    Follow,
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
    /// Fewer members are in sync than there must be. Nothing happened.
    TooFewCopies,
    /// It is on the disks of all members in sync, and those are fewer than there must be: some fell away meanwhile.
    Thin,
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

/// A record that is not committed. Nobody waits for one of another member, or of an earlier run.
#[derive(Debug)]
struct Pending {
    version: Version,
    operation: Operation,
    fingerprint: u64,
    ticket: Option<Ticket>,
}

#[derive(Debug)]
struct Applying {
    version: Version,
    ticket: Option<Ticket>,
    request_id: Option<RequestId>,
}

/// Where a partition starts from.
#[derive(Debug)]
pub struct Start {
    /// Which one.
    pub partition: PartitionId,
    /// This member.
    pub me: MemberId,
    /// The last record that is applied.
    pub last: Version,
    /// Requests applied before.
    pub dedup: DedupWindow,
    /// What the log holds.
    pub log: LogExtent,
    /// What the log may hold.
    pub retention: Retention,
}

#[derive(Debug)]
struct Lead {
    epoch: u64,
    counted: BTreeMap<MemberId, u64>,
}

/// See the module.
#[derive(Debug)]
pub struct State {
    partition: PartitionId,
    me: MemberId,
    lead: Option<Lead>,
    last: u64,
    durable: u64,
    committed: u64,
    applied: Version,
    pending: VecDeque<Pending>,
    applying: VecDeque<Applying>,
    dedup: DedupWindow,
    log: LogExtent,
    retention: Retention,
    /// Records behind this one are kept for others, if that is possible.
    hold: Option<u64>,
    failed: bool,
}

impl State {
    /// A partition whose log is applied up to its end. Nobody is known to lead.
    pub fn new(start: Start) -> Self {
        let last = start.last.sequence;
        Self {
            partition: start.partition,
            me: start.me,
            lead: None,
            last,
            durable: last,
            committed: last,
            applied: start.last,
            pending: VecDeque::new(),
            applying: VecDeque::new(),
            dedup: start.dedup,
            log: start.log,
            retention: start.retention,
            hold: None,
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

    /// The last applied record.
    pub fn applied(&self) -> Version {
        self.applied
    }

    /// Sequence of the last record.
    pub fn last(&self) -> u64 {
        self.last
    }

    /// Records up to here are committed.
    pub fn committed(&self) -> u64 {
        self.committed
    }

    /// Records up to here are on the disk.
    pub fn durable(&self) -> u64 {
        self.durable
    }

    /// The oldest record that the log holds; one more than the last when it holds none.
    pub fn log_first(&self) -> u64 {
        self.log.committed().first
    }

    /// Others are being sent the log behind this record: it is not cut there, however much is written, up to a bound.
    pub fn hold_log(&mut self, after: Option<u64>) {
        self.hold = after;
    }

    /// Does this member order the writes?
    pub fn leads(&self) -> bool {
        self.lead.is_some()
    }

    /// Is everything that is in the log applied?
    pub fn is_idle(&self) -> bool {
        self.applied.sequence == self.last
    }

    /// Decides.
    pub fn step(&mut self, event: Event) -> Vec<Effect> {
        let effects = match event {
            Event::Propose { ticket, operation, fingerprint, bytes } => {
                self.propose(ticket, operation, fingerprint, bytes)
            }
            Event::Accept { version, operation, fingerprint, bytes } => {
                self.push(Pending { version, operation, fingerprint, ticket: None }, bytes);
                Vec::new()
            }
            Event::Durable { member, sequence } => self.durable_at(&member, sequence),
            Event::Committed(sequence) => self.commit(sequence),
            Event::CutAfter(sequence) => self.cut_after(sequence),
            Event::Lead { epoch, counted } => {
                self.lead = Some(Lead { epoch, counted });
                self.commit_counted()
            }
            Event::Count(counted) => {
                self.lead.iter_mut().for_each(|lead| lead.counted.clone_from(&counted));
                self.commit_counted()
            }
            Event::Follow => self.follow(),
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
        let Some(epoch) = self.lead.as_ref().map(|lead| lead.epoch) else {
            return answer(Err(Refusal::NotPrimary));
        };
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
        let version = Version { epoch, sequence: self.last + 1 };
        let pending = Pending { version, operation: operation.clone(), fingerprint, ticket: Some(ticket) };
        self.push(pending, bytes);
        vec![Effect::Append { version, operation }]
    }

    fn push(&mut self, pending: Pending, bytes: usize) {
        if let Some(id) = &pending.operation.request_id {
            self.dedup.begin(id.clone(), pending.fingerprint);
        }
        self.last = pending.version.sequence;
        self.log.push(bytes);
        self.pending.push_back(pending);
    }

    fn durable_at(&mut self, member: &MemberId, sequence: u64) -> Vec<Effect> {
        if *member == self.me {
            self.durable = self.durable.max(sequence.min(self.last));
        }
        // An answer of somebody who does not count changes nothing.
        if let Some(point) = self.lead.as_mut().and_then(|lead| lead.counted.get_mut(member)) {
            *point = (*point).max(sequence);
            return self.commit_counted();
        }
        Vec::new()
    }

    fn commit_counted(&mut self) -> Vec<Effect> {
        let Some(lead) = &self.lead else { return Vec::new() };
        let others = lead.counted.iter().filter(|(member, _)| **member != self.me).map(|(_, point)| *point);
        self.commit(others.fold(self.durable, u64::min))
    }

    fn commit(&mut self, sequence: u64) -> Vec<Effect> {
        let committed = sequence.min(self.durable);
        let mut effects = Vec::new();
        while self.pending.front().is_some_and(|next| next.version.sequence <= committed) {
            let Some(next) = self.pending.pop_front() else { break };
            self.committed = next.version.sequence;
            let request_id = next.operation.request_id.clone();
            let forget_request =
                request_id.clone().and_then(|id| self.dedup.commit(id, next.version.sequence));
            self.applying.push_back(Applying { version: next.version, ticket: next.ticket, request_id });
            self.log.commit();
            let held = self.hold.filter(|_| self.log.committed().bytes < HELD_BYTES).unwrap_or(u64::MAX);
            let trim_below = self.log.trim(self.retention, self.applied.sequence.min(held));
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
        if self.applying.front().is_none_or(|first| first.version.sequence != sequence) {
            return Vec::new();
        }
        let Some(first) = self.applying.pop_front() else { return Vec::new() };
        self.applied = first.version;
        let mut waiting: Vec<Ticket> = first.ticket.into_iter().collect();
        if let Some(id) = &first.request_id {
            waiting.extend(self.dedup.finish(id, applied));
        }
        waiting.into_iter().map(|ticket| Effect::Answer { ticket, answer: Ok(applied.clone()) }).collect()
    }

    /// What is committed will be applied here, and answered; of the rest nothing is known.
    fn follow(&mut self) -> Vec<Effect> {
        self.lead = None;
        let mut waiting = Vec::new();
        for pending in &mut self.pending {
            waiting.extend(pending.ticket.take());
            if let Some((_, Known::InFlight(others))) =
                pending.operation.request_id.as_ref().and_then(|id| self.dedup.get(id))
            {
                waiting.append(others);
            }
        }
        refuse(waiting, Refusal::Overtaken)
    }

    fn cut_after(&mut self, sequence: u64) -> Vec<Effect> {
        let mut waiting = Vec::new();
        while self.pending.back().is_some_and(|last| last.version.sequence > sequence) {
            let Some(last) = self.pending.pop_back() else { break };
            waiting.extend(last.ticket);
            if let Some(id) = &last.operation.request_id {
                waiting.extend(self.dedup.abandon(id));
            }
            self.log.pop_last();
            self.last -= 1;
        }
        self.durable = self.durable.min(self.last);
        refuse(waiting, Refusal::Overtaken)
    }

    fn log_failed(&mut self) -> Vec<Effect> {
        self.failed = true;
        let mut waiting = Vec::new();
        for lost in std::mem::take(&mut self.pending) {
            waiting.extend(lost.ticket);
            if let Some(id) = &lost.operation.request_id {
                waiting.extend(self.dedup.abandon(id));
            }
        }
        refuse(waiting, Refusal::LogFailed)
    }

    fn check(&self) {
        debug_assert!(self.applied.sequence <= self.committed && self.committed <= self.durable);
        debug_assert!(self.durable <= self.last);
        debug_assert!(self.failed || self.last - self.committed == self.pending.len() as u64);
    }
}

fn refuse(tickets: Vec<Ticket>, refusal: Refusal) -> Vec<Effect> {
    tickets.into_iter().map(|ticket| Effect::Answer { ticket, answer: Err(refusal) }).collect()
}
