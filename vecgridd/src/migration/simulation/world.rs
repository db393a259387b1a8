//! Members, control plane and network of one schedule, and what chance does to them.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use rand::{RngExt, SeedableRng, rngs::StdRng};

use super::{
    Bug,
    control::Control,
    copy::{delete, deleted_by},
    member::{Letter, Member, Message},
};
use crate::{control::failure_detector::Event, types::MemberId};

/// Letters under way at most; more are lost, as in a full queue.
const UNDER_WAY: usize = 200;
/// Beats and answers to them under way at most. They have ways of their own.
const CALLS: usize = 20;
/// Letters of one round at most, when nothing is lost.
const LETTERS: usize = 20_000;
/// Rounds within which everything must be at rest when the faults have stopped.
pub(super) const ROUNDS: usize = 300;

/// Ends of epochs that copies remember, by seed. Real ones remember more than there are in a schedule.
const ENDS: [usize; 4] = [1, 2, 3, 64];

/// How much happened.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Counts {
    acked: u64,
    crashes: u64,
    pauses: u64,
    lost: u64,
    repeated: u64,
    snapshots: u64,
    promotions: u64,
    decisions: u64,
    membership: u64,
    distrusted: u64,
    deletes: u64,
    strong_reads: u64,
    refused_reads: u64,
    worst_rounds: u64,
}

impl Counts {
    pub(super) fn add(&mut self, other: &Self) {
        self.acked += other.acked;
        self.crashes += other.crashes;
        self.pauses += other.pauses;
        self.lost += other.lost;
        self.repeated += other.repeated;
        self.snapshots += other.snapshots;
        self.promotions += other.promotions;
        self.decisions += other.decisions;
        self.membership += other.membership;
        self.distrusted += other.distrusted;
        self.deletes += other.deletes;
        self.strong_reads += other.strong_reads;
        self.refused_reads += other.refused_reads;
        self.worst_rounds = self.worst_rounds.max(other.worst_rounds);
    }

    /// At least this much per schedule, on average.
    pub(super) fn happens(&self, schedules: u64) -> bool {
        let often = [
            self.acked / 10,
            self.crashes,
            self.pauses,
            self.lost,
            self.repeated,
            self.decisions / 3,
            self.deletes,
            self.strong_reads / 10,
            self.refused_reads / 5,
        ];
        let rarer = [self.snapshots, self.membership, self.promotions * 2, self.distrusted * 4];
        often.into_iter().all(|n| n >= schedules) && rarer.into_iter().all(|n| n >= schedules / 4)
    }
}

pub(super) struct World {
    random: StdRng,
    pub(super) control: Control,
    pub(super) members: BTreeMap<MemberId, Member>,
    under_way: Vec<Letter>,
    /// Beats and answers to them.
    calls: Vec<Letter>,
    /// These hear nothing of the control plane, nor it of them; some (true) nothing of anybody.
    cut_off: BTreeMap<MemberId, bool>,
    /// Counts the steps.
    pub(super) now: Duration,
    next_write: u64,
    /// Acknowledged writes of each partition that nobody deletes.
    pub(super) acked: Vec<BTreeSet<u64>>,
    /// Writes of each partition that are deleted, which was acknowledged.
    pub(super) gone: Vec<BTreeSet<u64>>,
    pub(super) counts: Counts,
    loss: f64,
    repeat: f64,
    trouble: f64,
}

impl World {
    pub(super) fn new(seed: u64, bug: Bug) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let partitions = random.random_range(1..=4);
        let all: Vec<MemberId> = (0..5).map(|n| MemberId(format!("m{n}"))).collect();
        let first: BTreeSet<MemberId> = all[..random.random_range(1..=4)].iter().cloned().collect();
        let control = Control::new(&all, first, partitions, random.random_range(0..=2), bug);
        let ends = ENDS[(seed % ENDS.len() as u64) as usize];
        let members =
            all.into_iter().map(|id| (id.clone(), Member::new(id, partitions, ends, bug))).collect();
        let (loss, repeat) = (random.random_range(0.0..0.3), random.random_range(0.0..0.3));
        let trouble = random.random_range(0.005..0.08);
        Self {
            random,
            control,
            members,
            under_way: Vec::new(),
            calls: Vec::new(),
            cut_off: BTreeMap::new(),
            now: Duration::ZERO,
            next_write: 0,
            acked: vec![BTreeSet::new(); partitions],
            gone: vec![BTreeSet::new(); partitions],
            counts: Counts::default(),
            loss,
            repeat,
            trouble,
        }
    }

    pub(super) fn length(&mut self) -> usize {
        self.random.random_range(200..1_200)
    }

    fn somebody(&mut self) -> MemberId {
        let at = self.random.random_range(0..self.members.len());
        self.members.keys().nth(at).cloned().unwrap()
    }

    fn some_partition(&mut self) -> usize {
        self.random.random_range(0..self.acked.len())
    }

    fn send(&mut self, letters: Vec<Letter>) {
        for letter in letters {
            if self.under_way.len() < UNDER_WAY {
                self.under_way.push(letter);
            } else {
                self.counts.lost += 1;
            }
        }
    }

    /// A new write, which may delete what another one brought.
    fn new_write(&mut self, partition: usize) -> u64 {
        let number = self.next_write;
        self.next_write += 1;
        let puts = || self.acked[partition].iter().filter(|write| deleted_by(**write).is_none());
        let which = self.random.random_range(0..5 * puts().count().max(1));
        puts().nth(which).map_or(number, |put| delete(number, *put))
    }

    pub(super) fn fault_or_step(&mut self) {
        self.session_step();
        if self.random.random_bool(self.trouble) {
            self.fault();
            return;
        }
        let mut out = Vec::new();
        match self.random.random_range(0..100) {
            0..=14 => {
                let partition = self.some_partition();
                let write = self.new_write(partition);
                // Clients go to whoever says it is the primary: perhaps two do.
                let who = self.somebody();
                let takes = self.members.values_mut().filter(|m| m.acts());
                let mut takes: Vec<&mut Member> = takes.collect();
                takes.sort_by_key(|m| m.id < who);
                let taken = takes.into_iter().any(|m| m.write(partition, write, &mut out));
                if let Some(deleted) = deleted_by(write).filter(|_| taken) {
                    self.acked[partition].remove(&deleted);
                }
            }
            15..=24 => {
                let (who, partition) = (self.somebody(), self.some_partition());
                if let Some(member) = self.members.get_mut(&who).filter(|m| m.acts()) {
                    member.silence(partition, &mut out);
                }
            }
            25..=29 => {
                let who = self.somebody();
                if let Some(member) = self.members.get_mut(&who).filter(|m| m.acts()) {
                    member.sync(&mut out);
                }
            }
            30..=39 => {
                let (who, partition) = (self.somebody(), self.some_partition());
                out.push(self.table_for(&who, partition));
            }
            _ => self.deliver(&mut out),
        }
        self.send(out);
        self.note();
    }

    fn note(&mut self) {
        let all = self.members.values_mut();
        let acked: Vec<_> =
            all.flat_map(|m| std::mem::take(&mut m.acked).into_iter().map(|a| (m.id.clone(), a))).collect();
        for (by, (partition, epoch, write)) in acked {
            let term = self.control.terms.get(&(partition, epoch));
            assert_eq!(
                term,
                Some(&by),
                "{by} acknowledged, and is not the primary of epoch {epoch} of {partition}"
            );
            self.acked[partition].insert(write);
            let deleted = deleted_by(write);
            self.counts.deletes += u64::from(deleted.is_some());
            self.gone[partition].extend(deleted);
            self.counts.acked += 1;
        }
    }

    /// Beats, their answers, and a read, beside everything else.
    fn session_step(&mut self) {
        self.now += Duration::from_millis(1);
        match self.random.random_range(0..8) {
            0 => {
                let who = self.somebody();
                let member = &self.members[&who];
                if member.acts() && self.calls.len() < CALLS {
                    self.calls.push(member.beat(self.now));
                }
            }
            1 => self.watch(&Event::Tick),
            2 | 3 => {
                let partition = self.some_partition();
                self.strong_reads(partition);
            }
            4 | 5 => self.deliver_call(),
            _ => {}
        }
    }

    /// Lets the failure detector look. Who is promoted is told first.
    fn watch(&mut self, event: &Event) {
        let before = self.control.table.clone();
        self.control.watch(self.now, event);
        let changed =
            (0..before.len()).filter(|partition| self.control.table[*partition] != before[*partition]);
        let letters =
            changed.map(|partition| self.table_for(&self.control.table[partition].primary, partition));
        self.send(letters.collect());
    }

    /// One beat or answer, whichever; perhaps it is lost. Each comes once.
    fn deliver_call(&mut self) {
        if self.calls.is_empty() {
            return;
        }
        let at = self.random.random_range(0..self.calls.len());
        let letter = self.calls.swap_remove(at);
        if letter.to.as_ref().is_some_and(|to| self.members[to].paused) {
            // It finds it when it goes on.
            self.calls.push(letter);
        } else if !self.random.random_bool(self.loss) && !self.is_cut_off(&letter) {
            if let (Some(from), partition) = (&letter.from, self.some_partition()) {
                // What is decided is sent by itself, and comes sooner or later than the answer.
                let table = self.table_for(from, partition);
                self.send(vec![table]);
            }
            let answer = self.call(letter);
            self.calls.extend(answer);
        }
    }

    /// Is it from or to a member that is cut off, and does it go that way?
    fn is_cut_off(&self, letter: &Letter) -> bool {
        let Letter { from, to, .. } = letter;
        let control = from.is_none() || to.is_none();
        let all = from.iter().chain(to).filter_map(|member| self.cut_off.get(member));
        all.into_iter().any(|from_all| *from_all || control)
    }

    fn call(&mut self, letter: Letter) -> Option<Letter> {
        let Letter { partition, from, to, message } = letter;
        match (message, from, to) {
            (Message::Beat { incarnation, sent }, Some(from), None) => {
                let taken = self.control.hear(&from, incarnation, self.now);
                let version = self.control.version;
                let message = Message::Granted { incarnation, sent, version };
                taken.then_some(Letter { partition, from: None, to: Some(from), message })
            }
            (Message::Granted { incarnation, sent, version }, None, Some(to)) => {
                let member = self.members.get_mut(&to).filter(|member| member.acts());
                member.into_iter().for_each(|m| m.granted(incarnation, sent, version, self.now));
                None
            }
            call => panic!("nobody sends this: {call:?}"),
        }
    }

    /// Clients ask everybody who takes itself for the primary.
    fn strong_reads(&mut self, partition: usize) {
        let (mut shown, mut refused) = (0, 0);
        for (who, member) in self.members.iter().filter(|(_, m)| m.acts() && m.leads(partition)) {
            if let Some(writes) = member.strong_read(partition, self.now) {
                super::judge::strong_read(self, partition, who, &writes);
                shown += 1;
            } else {
                refused += 1;
            }
        }
        self.counts.strong_reads += shown;
        self.counts.refused_reads += refused;
    }

    fn table_for(&self, to: &MemberId, partition: usize) -> Letter {
        let message = Message::Table {
            version: self.control.version,
            placement: self.control.table[partition].clone(),
            wanted: self.control.wanted[partition].clone(),
            away: self.control.away.clone(),
        };
        Letter { partition, from: None, to: Some(to.clone()), message }
    }

    /// One letter, whichever; perhaps it is lost, perhaps it comes again.
    fn deliver(&mut self, out: &mut Vec<Letter>) {
        if self.under_way.is_empty() {
            return;
        }
        let at = self.random.random_range(0..self.under_way.len());
        let letter = if self.random.random_bool(self.repeat) {
            self.counts.repeated += 1;
            self.under_way[at].clone()
        } else {
            self.under_way.swap_remove(at)
        };
        if self.random.random_bool(self.loss) || self.is_cut_off(&letter) {
            self.counts.lost += 1;
        } else {
            self.arrive(letter, out);
        }
    }

    fn arrive(&mut self, letter: Letter, out: &mut Vec<Letter>) {
        match (&letter.to, &letter.message, &letter.from) {
            (None, Message::Propose(proposal), Some(from)) => {
                let before = self.control.version;
                self.control.propose(letter.partition, proposal);
                self.counts.decisions += u64::from(self.control.version > before);
                out.push(self.table_for(from, letter.partition));
            }
            (Some(to), ..) => {
                if let Some(member) = self.members.get_mut(to).filter(|m| m.acts()) {
                    member.receive(letter, out);
                }
            }
            _ => panic!("a letter to nobody: {letter:?}"),
        }
    }

    fn fault(&mut self) {
        let who = self.somebody();
        let partitions = self.acked.len();
        let member = self.members.get_mut(&who).unwrap();
        match self.random.random_range(0..13) {
            0 | 1 if member.up => {
                member.crash();
                self.counts.crashes += 1;
            }
            0 | 1 | 4 if !member.up => member.start(),
            2 | 3 if member.acts() => {
                member.paused = true;
                self.counts.pauses += 1;
            }
            2..=4 if member.paused => {
                // It goes on as if nothing had happened, and hears only later that it was fenced.
                member.paused = false;
            }
            // Its host says that it is gone, so nobody waits for its session to end.
            5 | 6 if !member.up => {
                self.watch(&Event::Gone { member: who, asked: self.now });
            }
            7 => (0..partitions).for_each(|partition| member.trim(partition)),
            8 => {
                let joins = !self.control.members.contains(&who);
                if joins {
                    self.control.members.insert(who);
                } else if self.control.members.len() > 1 {
                    self.control.members.remove(&who);
                }
                self.control.plan();
                self.counts.membership += 1;
            }
            12 => {
                if self.cut_off.remove(&who).is_none() {
                    self.cut_off.insert(who, self.random.random_bool(0.5));
                }
            }
            11 => self.control.change_leader(self.now),
            9 => {
                let partition = self.some_partition();
                let other = self.control.table[partition].in_sync.last().cloned();
                let mut out = Vec::new();
                let primaries = self.members.values_mut().filter(|member| member.acts());
                let distrusts = primaries.flat_map(|member| {
                    other.as_ref().map(|other| member.distrust(partition, other, &mut out))
                });
                self.counts.distrusted += distrusts.filter(|did| *did).count() as u64;
                self.send(out);
            }
            _ => {
                self.control.backups = self.random.random_range(0..=2);
                self.control.plan();
            }
        }
    }

    /// No more faults: everybody is there, nothing is lost, and nothing new comes in.
    pub(super) fn heal(&mut self) {
        self.cut_off.clear();
        for member in self.members.values_mut() {
            member.paused = false;
            if !member.up {
                member.start();
            }
        }
        let names: Vec<MemberId> = self.members.keys().cloned().collect();
        for round in 0..ROUNDS {
            self.now += Duration::from_millis(1);
            for name in &names {
                let answer = self.call(self.members[name].beat(self.now));
                answer.and_then(|answer| self.call(answer));
            }
            let mut out = Vec::new();
            for (name, partition) in names.iter().flat_map(|n| (0..self.acked.len()).map(move |p| (n, p))) {
                out.push(self.table_for(name, partition));
                let member = self.members.get_mut(name).unwrap();
                member.sync(&mut out);
                member.silence(partition, &mut out);
            }
            // Nothing is lost from now on, so the queue is as long as it must be.
            let mut letters: std::collections::VecDeque<Letter> =
                self.under_way.drain(..).chain(out).collect();
            let mut arrived = 0;
            while let Some(letter) = letters.pop_front() {
                arrived += 1;
                assert!(arrived < LETTERS, "did not end: each answer leads to another one");
                let mut out = Vec::new();
                self.arrive(letter, &mut out);
                letters.extend(out);
                self.note();
                super::judge::always(self);
            }
            (0..self.acked.len()).for_each(|partition| self.strong_reads(partition));
            self.counts.worst_rounds = round as u64 + 1;
            if super::judge::unfinished(self).is_none() {
                break;
            }
        }
        let copies = self.members.values().flat_map(|member| &member.disk);
        self.counts.snapshots = copies.map(|copy| copy.installed).sum();
        self.counts.promotions = self.control.promotions;
    }
}
