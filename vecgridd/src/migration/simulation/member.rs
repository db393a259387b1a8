//! The driver of the machines on one member, with sets of numbers for rows.
//!
//! `disk` survives a crash, `run` does not. What a step sends is put into the `out` that it is given.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{
    Bug,
    copy::{Copy, Record, Writes},
};
use crate::{
    control::{Lease, Leases},
    migration::{
        Attempt, Chain, Handoff, HandoffEvent, Have, OwnLog, Proposal, ReplicaEvent, Stream, StreamEffect,
        StreamEvent,
    },
    placement::Holders,
    types::{MemberId, Placement, Version},
};

/// Chunks of every snapshot.
const CHUNKS: u64 = 3;
/// Records of one message.
const BATCH: usize = 4;
/// How long a lease is, in steps. Members beat every forty steps or so.
pub(super) const LEASE: Duration = Duration::from_millis(150);

#[derive(Debug, Clone)]
pub(super) enum Message {
    ToReplica {
        event: ReplicaEvent,
        rows: Writes,
        records: Vec<Record>,
    },
    Answer(Have),
    Propose(Proposal),
    /// A sign of life of this run of a member, sent at this time.
    Beat {
        incarnation: u64,
        sent: Duration,
    },
    /// It was taken, by this version of the table.
    Granted {
        incarnation: u64,
        sent: Duration,
        version: u64,
    },
    Table {
        version: u64,
        placement: Placement,
        wanted: Holders,
        away: BTreeSet<MemberId>,
    },
}

/// A message between two members, or a member and the control plane (`None`).
#[derive(Debug, Clone)]
pub(super) struct Letter {
    pub(super) partition: usize,
    pub(super) from: Option<MemberId>,
    pub(super) to: Option<MemberId>,
    pub(super) message: Message,
}

#[derive(Debug)]
struct Line {
    stream: Stream,
    snapshot: Option<(Version, Writes)>,
    anew: bool,
}

/// What a primary knows while it leads.
#[derive(Debug)]
struct Lead {
    epoch: u64,
    handoff: Handoff,
    lines: BTreeMap<MemberId, Line>,
    left_over: BTreeMap<MemberId, Stream>,
    waiting: BTreeMap<u64, u64>,
}

#[derive(Debug, Default)]
struct Run {
    seen: u64,
    lead: Option<Lead>,
    /// Copies of others that are to be taken anew.
    retake: BTreeSet<MemberId>,
}

#[derive(Debug)]
pub(super) struct Member {
    pub(super) id: MemberId,
    pub(super) disk: Vec<Copy>,
    run: Vec<Run>,
    pub(super) up: bool,
    pub(super) paused: bool,
    /// Writes acknowledged and not yet told to the judge: partition, epoch, write.
    pub(super) acked: Vec<(usize, u64, u64)>,
    leases: Leases,
    /// Counts its starts.
    incarnation: u64,
    /// How many ends of epochs a copy remembers.
    ends: usize,
    /// With a bug planted: what a crash brings back.
    not_on_disk: BTreeMap<usize, Copy>,
    bug: Bug,
}

impl Member {
    pub(super) fn new(id: MemberId, partitions: usize, ends: usize, bug: Bug) -> Self {
        let disk = vec![Copy::default(); partitions];
        let run = (0..partitions).map(|_| Run::default()).collect();
        let (up, paused, acked) = (true, false, Vec::new());
        let (leases, incarnation, not_on_disk) = (Leases::default(), 0, BTreeMap::new());
        Self { id, disk, run, up, paused, acked, leases, incarnation, ends, not_on_disk, bug }
    }

    pub(super) fn acts(&self) -> bool {
        self.up && !self.paused
    }

    pub(super) fn crash(&mut self) {
        self.up = false;
        self.paused = false;
        self.disk.iter_mut().for_each(Copy::lose);
        for (partition, copy) in std::mem::take(&mut self.not_on_disk) {
            self.disk[partition] = copy;
        }
    }

    /// What was appended gets to the disk.
    pub(super) fn sync(&mut self, out: &mut Vec<Letter>) {
        for partition in 0..self.disk.len() {
            self.disk[partition].sync();
            self.settle(partition, false, out);
        }
    }

    pub(super) fn start(&mut self) {
        self.up = true;
        self.incarnation += 1;
        self.leases = Leases::default();
        self.run = self.disk.iter().map(|_| Run::default()).collect();
    }

    pub(super) fn leads(&self, partition: usize) -> bool {
        self.run[partition].lead.is_some()
    }

    /// A sign of life.
    pub(super) fn beat(&self, sent: Duration) -> Letter {
        let message = Message::Beat { incarnation: self.incarnation, sent };
        Letter { partition: 0, from: Some(self.id.clone()), to: None, message }
    }

    /// A sign of life was taken.
    pub(super) fn granted(&mut self, incarnation: u64, sent: Duration, version: u64, now: Duration) {
        let sent = if self.bug == Bug::LeaseFromAnswer { now } else { sent };
        if incarnation == self.incarnation {
            self.leases.grant(version, Lease::granted(LEASE, sent, Duration::ZERO), now);
        }
    }

    /// Everything that was acknowledged, says a primary under its lease; nothing, if it may not say that.
    pub(super) fn strong_read(&self, partition: usize, now: Duration) -> Option<Writes> {
        let Run { seen, lead, .. } = &self.run[partition];
        let handoff = &lead.as_ref()?.handoff;
        let copy = &self.disk[partition];
        let committed = copy.replica.committed();
        let begun = copy.replica.chain().epoch_at(committed) == lead.as_ref().map(|lead| lead.epoch);
        let lease = match self.bug {
            Bug::LeaseBeforeTable => self.leases.by(u64::MAX),
            _ => self.leases.by(*seen),
        };
        let may = (lease.holds(now) || self.bug == Bug::StaleLease)
            && (begun || self.bug == Bug::ReadBeforeEpochStart)
            && !handoff.hands_over();
        (may && handoff.serves()).then(|| copy.rows_at(committed))
    }

    /// Remembers few ends of epochs.
    fn forget(&mut self, partition: usize) {
        self.disk[partition].replica.forget(self.ends);
    }

    /// Cuts the log of a partition as short as it may be.
    pub(super) fn trim(&mut self, partition: usize) {
        let copy = &mut self.disk[partition];
        copy.trim(copy.replica.committed());
    }

    /// A client's write; false when this member does not take it.
    pub(super) fn write(&mut self, partition: usize, write: u64, out: &mut Vec<Letter>) -> bool {
        if !self.append(partition, Some(write)) {
            return false;
        }
        self.settle(partition, true, out);
        true
    }

    fn append(&mut self, partition: usize, write: Option<u64>) -> bool {
        let Some(lead) = self.run[partition].lead.as_mut() else { return false };
        let serves = lead.handoff.serves();
        let copy = &mut self.disk[partition];
        let version = Version { epoch: lead.epoch, sequence: copy.replica.chain().last().sequence + 1 };
        if !serves || !copy.replica.append_own(version) {
            return false;
        }
        copy.log.insert(version.sequence, (version, write));
        lead.waiting.extend(write.map(|write| (version.sequence, write)));
        true
    }

    /// Another member's copy is found to be wrong. False when this member does not lead.
    pub(super) fn distrust(&mut self, partition: usize, other: &MemberId, out: &mut Vec<Letter>) -> bool {
        let Run { lead, retake, .. } = &mut self.run[partition];
        let Some(lead) = lead.as_mut().filter(|lead| lead.handoff.serves()) else { return false };
        if *other == self.id {
            return false;
        }
        retake.insert(other.clone());
        let proposal = lead.handoff.step(&HandoffEvent::Distrust(other));
        self.propose(partition, proposal, out);
        self.settle(partition, false, out);
        true
    }

    /// Nothing was heard for a while.
    pub(super) fn silence(&mut self, partition: usize, out: &mut Vec<Letter>) {
        if self.bug == Bug::NobodyAsksAgain {
            return;
        }
        let Some(lead) = self.run[partition].lead.as_mut() else { return };
        let proposal = lead.handoff.step(&HandoffEvent::Silence);
        let names: Vec<MemberId> = lead.lines.keys().cloned().collect();
        self.propose(partition, proposal, out);
        for name in names {
            self.stream(partition, &name, &StreamEvent::Silence, out);
        }
        self.settle(partition, false, out);
    }

    pub(super) fn receive(&mut self, letter: Letter, out: &mut Vec<Letter>) {
        let Letter { partition, from, message, .. } = letter;
        match (message, from) {
            (Message::ToReplica { event, rows, records }, Some(from)) => {
                self.replicate(partition, &from, event, &rows, &records, out);
            }
            (Message::Answer(have), Some(from)) => {
                self.stream(partition, &from, &StreamEvent::Have(&have), out);
                self.settle(partition, false, out);
            }
            (Message::Table { version, placement, wanted, away }, _) => {
                if version > self.run[partition].seen {
                    self.run[partition].seen = version;
                    self.look(partition, &placement, &wanted, &away, out);
                }
            }
            (message, from) => panic!("nobody sends this: {message:?} from {from:?}"),
        }
    }

    fn look(
        &mut self,
        partition: usize,
        placement: &Placement,
        wanted: &Holders,
        away: &BTreeSet<MemberId>,
        out: &mut Vec<Letter>,
    ) {
        let epoch = placement.epoch;
        if placement.primary != self.id || self.disk[partition].replica.promised() > epoch {
            self.run[partition].lead = None;
            self.run[partition].retake.clear();
            return;
        }
        let begins = self.run[partition].lead.as_ref().is_none_or(|lead| lead.epoch < epoch);
        if begins {
            let fresh =
                epoch > self.disk[partition].replica.promised() || self.bug == Bug::NoNewEpochAfterStart;
            let handoff = Handoff::new(self.id.clone(), placement.clone(), fresh);
            let (lines, left_over) = (BTreeMap::new(), BTreeMap::new());
            self.run[partition].lead =
                Some(Lead { epoch, handoff, lines, left_over, waiting: BTreeMap::new() });
            self.disk[partition].replica.promise(epoch);
            if self.append(partition, None) {
                self.forget(partition);
            }
            for other in self.run[partition].retake.clone() {
                let event = HandoffEvent::Distrust(&other);
                let proposal = self.run[partition].lead.as_mut().and_then(|lead| lead.handoff.step(&event));
                self.propose(partition, proposal, out);
            }
        }
        for event in [
            HandoffEvent::Decided(placement),
            HandoffEvent::Wanted(wanted, wanted.members().count()),
            HandoffEvent::Away(away),
        ] {
            let proposal = self.run[partition].lead.as_mut().and_then(|lead| lead.handoff.step(&event));
            self.propose(partition, proposal, out);
        }
        self.settle(partition, begins, out);
    }

    fn propose(&self, partition: usize, proposal: Option<Proposal>, out: &mut Vec<Letter>) {
        let Some(mut proposal) = proposal else { return };
        let removal = proposal.next.in_sync.len() < proposal.expected.in_sync.len();
        if self.bug == Bug::RemovalKeepsEpoch && removal {
            proposal.next.epoch = proposal.expected.epoch;
        }
        let message = Message::Propose(proposal);
        out.push(Letter { partition, from: Some(self.id.clone()), to: None, message });
    }

    /// Brings everything in line after something changed: streams, commit point, answers, proposals.
    fn settle(&mut self, partition: usize, grew: bool, out: &mut Vec<Letter>) {
        loop {
            let promised = self.disk[partition].replica.promised();
            let Run { lead, retake, .. } = &mut self.run[partition];
            let Some(lead) = lead.as_mut() else { return };
            if !lead.handoff.leads() || lead.epoch < promised {
                self.run[partition].lead = None;
                return;
            }
            let to: BTreeSet<MemberId> = lead.handoff.streams_to().into_iter().cloned().collect();
            for (name, line) in lead.lines.extract_if(.., |name, _| !to.contains(name)) {
                lead.left_over.insert(name, line.stream.successor());
            }
            let first = Attempt { epoch: lead.epoch, number: 0 };
            let new: Vec<MemberId> = to.into_iter().filter(|name| !lead.lines.contains_key(name)).collect();
            let counted: BTreeSet<MemberId> = lead.handoff.counted().into_iter().cloned().collect();
            for name in &new {
                let stream = lead.left_over.get(name).cloned().unwrap_or_else(|| Stream::new(first));
                let anew = stream.is_anew() || retake.contains(name) && !counted.contains(name);
                let stream = if anew { stream.anew() } else { stream };
                lead.lines.insert(name.clone(), Line { stream, snapshot: None, anew });
            }
            let grown: Vec<MemberId> = if grew { lead.lines.keys().cloned().collect() } else { Vec::new() };
            for name in &new {
                self.stream(partition, name, &StreamEvent::Silence, out);
            }
            for name in grown.iter().filter(|name| !new.contains(name)) {
                self.stream(partition, name, &StreamEvent::Grew, out);
            }
            self.commit(partition);
            if !self.propose_level(partition, out) {
                return;
            }
        }
    }

    fn commit(&mut self, partition: usize) {
        let Some(lead) = self.run[partition].lead.as_mut() else { return };
        if !lead.handoff.serves() {
            return;
        }
        let copy = &mut self.disk[partition];
        let counted: Vec<MemberId> = match self.bug {
            Bug::BackupsNotCounted => vec![self.id.clone()],
            Bug::NewcomerNotCounted => lead.handoff.in_sync().to_vec(),
            Bug::ShrinksAlone => lead.handoff.counted_if_shrunk().into_iter().cloned().collect(),
            _ => lead.handoff.counted().into_iter().cloned().collect(),
        };
        let durable = |name: &MemberId| {
            let line = lead.lines.get(name).and_then(|line| line.stream.durable());
            let own = if self.bug == Bug::AckBeforeSync {
                copy.replica.chain().last().sequence
            } else {
                copy.synced
            };
            if *name == self.id { own } else { line.unwrap_or(0) }
        };
        let committed = counted.iter().map(durable).min().unwrap_or(0);
        copy.replica.commit_own(committed);
        let still = lead.waiting.split_off(&(copy.replica.committed() + 1));
        let acked = std::mem::replace(&mut lead.waiting, still);
        self.acked.extend(acked.into_values().map(|write| (partition, lead.epoch, write)));
    }

    fn propose_level(&mut self, partition: usize, out: &mut Vec<Letter>) -> bool {
        let Some(lead) = self.run[partition].lead.as_mut() else { return false };
        let replica = &self.disk[partition].replica;
        let committed = replica.committed();
        let enough = |durable| match self.bug {
            Bug::LevelBeforeEpochStart => durable >= committed,
            _ => lead.handoff.is_level(replica.chain(), committed, durable),
        };
        let level = |(_, line): &(&MemberId, &Line)| line.stream.durable().is_some_and(enough);
        let names: Vec<MemberId> = lead.lines.iter().filter(level).map(|(name, _)| name.clone()).collect();
        let proposal = names.iter().find_map(|name| lead.handoff.step(&HandoffEvent::Level(name)));
        let made = proposal.is_some();
        self.propose(partition, proposal, out);
        made
    }

    fn stream(&mut self, partition: usize, to: &MemberId, event: &StreamEvent<'_>, out: &mut Vec<Letter>) {
        let Run { lead, retake, .. } = &mut self.run[partition];
        let Some(lead) = lead.as_mut() else { return };
        let copy = &self.disk[partition];
        let Some(line) = lead.lines.get_mut(to) else { return };
        let log = OwnLog { chain: copy.replica.chain(), first: copy.base + 1 };
        let mut effects = std::collections::VecDeque::from(line.stream.step(log, event.clone()));
        if line.anew && !line.stream.is_anew() {
            line.anew = false;
            retake.remove(to);
        }
        let epoch = lead.epoch;
        while let Some(effect) = effects.pop_front() {
            let mut send = |event, rows, records| {
                let message = Message::ToReplica { event, rows, records };
                out.push(Letter { partition, from: Some(self.id.clone()), to: Some(to.clone()), message });
            };
            match effect {
                StreamEffect::Ask => send(ReplicaEvent::Ask { epoch }, Writes::new(), Vec::new()),
                StreamEffect::OpenSnapshot => {
                    let sequence = copy.replica.committed();
                    let at = Version { epoch: copy.replica.chain().epoch_at(sequence).unwrap(), sequence };
                    line.snapshot = Some((at, copy.rows_at(sequence)));
                    effects.extend(line.stream.step(log, StreamEvent::Opened(Some(at))));
                }
                StreamEffect::SendRows { attempt, at, chunk } => {
                    let (opened, rows) = line.snapshot.as_ref().unwrap();
                    assert_eq!(*opened, at);
                    let rows = rows.iter().copied().filter(|write| write % CHUNKS == chunk).collect();
                    let chain: Chain = copy.replica.chain().up_to(at);
                    let last = chunk + 1 == CHUNKS;
                    send(ReplicaEvent::Rows { attempt, chain, chunk, last }, rows, Vec::new());
                }
                StreamEffect::CloseSnapshot => line.snapshot = None,
                StreamEffect::SendRecords { after } => {
                    let records: Vec<Record> =
                        copy.log.range(after.sequence + 1..).take(BATCH).map(|(_, record)| *record).collect();
                    let event = ReplicaEvent::Records {
                        epoch,
                        previous: after,
                        records: records.iter().map(|(version, _)| *version).collect(),
                        committed: copy.replica.committed(),
                    };
                    send(event, Writes::new(), records);
                }
                StreamEffect::Durable(_) => {}
                StreamEffect::Fenced => {
                    self.run[partition].lead = None;
                    return;
                }
            }
        }
    }

    fn replicate(
        &mut self,
        partition: usize,
        from: &MemberId,
        mut event: ReplicaEvent,
        rows: &Writes,
        records: &[Record],
        out: &mut Vec<Letter>,
    ) {
        let copy = &mut self.disk[partition];
        if let (Bug::OldEpochsAccepted, ReplicaEvent::Records { epoch, .. }) = (self.bug, &mut event) {
            *epoch = copy.replica.promised().max(*epoch);
        }
        let before = copy.clone();
        if let (Bug::CutAtCommitPoint, ReplicaEvent::Ask { epoch }) = (self.bug, &event)
            && *epoch > copy.replica.promised()
        {
            copy.cut_at_commit_point();
        }
        if let Some(have) = copy.receive(&event, rows, records, self.bug) {
            let (own, to) = (Some(self.id.clone()), Some(from.clone()));
            out.push(Letter { partition, from: own, to, message: Message::Answer(have) });
        }
        if self.bug == Bug::AnswerBeforeDisk {
            self.not_on_disk.insert(partition, before.clone());
        }
        if before.replica.chain().last().epoch != self.disk[partition].replica.chain().last().epoch {
            self.forget(partition);
        }
        self.settle(partition, false, out);
    }
}
