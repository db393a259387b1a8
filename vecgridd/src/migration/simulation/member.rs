//! The driver of the machines on one member, with sets of numbers for rows.
//!
//! `disk` survives a crash, `run` does not. What a step sends is put into the `out` that it is given.

use std::collections::{BTreeMap, BTreeSet};

use super::Bug;
use crate::{
    migration::{
        Attempt, Chain, Handoff, HandoffEvent, Have, OwnLog, Proposal, Replica, ReplicaEffect, ReplicaEvent,
        Stream, StreamEffect, StreamEvent,
    },
    placement::Holders,
    types::{MemberId, Placement, Version},
};

/// Chunks of every snapshot.
const CHUNKS: u64 = 3;
/// Records of one message.
const BATCH: usize = 4;

pub(super) type Writes = BTreeSet<u64>;

/// A record: its version, and the write, if it is one.
pub(super) type Record = (Version, Option<u64>);

#[derive(Debug, Clone)]
pub(super) enum Message {
    ToReplica { event: ReplicaEvent, rows: Writes, records: Vec<Record> },
    Answer(Have),
    Propose(Proposal),
    Table { version: u64, placement: Placement, wanted: Holders, away: BTreeSet<MemberId> },
}

/// A message between two members, or a member and the control plane (`None`).
#[derive(Debug, Clone)]
pub(super) struct Letter {
    pub(super) partition: usize,
    pub(super) from: Option<MemberId>,
    pub(super) to: Option<MemberId>,
    pub(super) message: Message,
}

/// One copy on disk: rows up to `base`, then the log.
#[derive(Debug, Clone, Default)]
pub(super) struct Copy {
    pub(super) replica: Replica,
    pub(super) rows: Writes,
    pub(super) base: u64,
    pub(super) log: BTreeMap<u64, Record>,
    /// Up to here the log is on the disk. A primary sends what is not, but counts itself only for what is.
    synced: u64,
    incoming: Writes,
}

impl Copy {
    /// What it has on its disk.
    pub(super) fn writes(&self) -> Writes {
        self.rows_at(self.synced)
    }

    /// Everything that was appended gets to the disk.
    fn sync(&mut self) {
        self.synced = self.replica.chain().last().sequence;
    }

    /// What was not there is lost.
    fn lose(&mut self) {
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

    fn rows_at(&self, sequence: u64) -> Writes {
        let folded = self.log.range(..=sequence).filter_map(|(_, (_, write))| *write);
        self.rows.iter().copied().chain(folded).collect()
    }

    /// Cuts the log below a committed sequence: its writes are rows by then.
    fn trim(&mut self, sequence: u64) {
        self.rows = self.rows_at(sequence);
        self.log.retain(|at, _| *at > sequence);
        self.base = self.base.max(sequence);
    }
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
    pub(super) installed: u64,
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
        let (installed, not_on_disk) = (0, BTreeMap::new());
        Self { id, disk, run, up, paused, acked, installed, ends, not_on_disk, bug }
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
        self.run = self.disk.iter().map(|_| Run::default()).collect();
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
        for effect in copy.replica.step(&event) {
            match effect {
                ReplicaEffect::Clear => {
                    let replica = std::mem::take(&mut copy.replica);
                    *copy = Copy { replica, ..Copy::default() };
                }
                ReplicaEffect::StoreRows => {
                    copy.incoming.extend(rows);
                    if copy.replica.have().installing.is_none() {
                        self.installed += 1;
                        copy.rows = std::mem::take(&mut copy.incoming);
                        copy.base = copy.replica.chain().last().sequence;
                    }
                }
                ReplicaEffect::CutAfter(sequence) => copy.log.retain(|at, _| *at <= sequence),
                ReplicaEffect::Append(place) => {
                    let record = records[place];
                    copy.log.insert(record.0.sequence, record);
                }
                ReplicaEffect::Commit(_) => {}
                ReplicaEffect::Quarantine => panic!("{} is quarantined: partition {partition}", self.id),
                ReplicaEffect::Answer(have) => {
                    let (own, to) = (Some(self.id.clone()), Some(from.clone()));
                    out.push(Letter { partition, from: own, to, message: Message::Answer(have) });
                }
            }
        }
        copy.sync();
        if self.bug == Bug::AnswerBeforeDisk {
            self.not_on_disk.insert(partition, before.clone());
        }
        if before.replica.chain().last().epoch != self.disk[partition].replica.chain().last().epoch {
            self.forget(partition);
        }
        self.settle(partition, false, out);
    }
}
