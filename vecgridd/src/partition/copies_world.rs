//! For tests: owners on several members, with real logs, appliers and indexes, and a grid of the test's making between
//! them. It can lose messages, hold answers back, and let a member hear late of the table; disks can be slow.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use futures::{
    FutureExt,
    future::{BoxFuture, join_all},
};
use tokio::sync::{Semaphore, oneshot, watch};

use super::{
    Applier, ApplierObserver, CopyMessage, Hosts, Looker, Outside, OwnerParts, Purger, Retention, WriteError,
    copies_here, keep, level_indexes, recover, spawn, state::Refusal,
};
use crate::{
    index::{IndexLimits, PartitionSet, Registry},
    migration::{Have, Proposal},
    storage::{Engine, Family, FsyncObserver, LogWriter, MemoryEngine, keys::row},
    task::Tasks,
    types::{
        ClusterView, Collection, CollectionConfig, CollectionId, CollectionName, Durability, Entry, EntryId,
        Holders, IndexOptions, Member as GridMember, MemberId, MemberState, Metadata, Metric, Mutation,
        Operation, PartitionId, RequestId, Vector, Version,
    },
};

pub(super) const PARTITIONS: u16 = 4;
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

pub(super) fn id(name: &str) -> MemberId {
    MemberId(name.to_owned())
}

/// A number that looks like chance (xorshift64*).
pub(super) fn noise(seed: u64) -> u64 {
    let mut x = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    x.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 1
}

struct Quiet;

impl ApplierObserver for Quiet {
    fn failed(&self, why: &str) {
        panic!("rows: {why}");
    }
}

impl FsyncObserver for Quiet {
    fn committed(&self, _: usize, _: Option<Duration>) {}
    fn failed(&self, _: &str) {}
}

/// The table, and the way from member to member.
pub(super) struct Between {
    pub(super) view: watch::Sender<Arc<ClusterView>>,
    pub(super) hosts: RwLock<BTreeMap<MemberId, Hosts>>,
    /// One message of so many is lost, half of them on the way back; 0 = none.
    pub(super) lose: AtomicU64,
    pub(super) messages: AtomicU64,
    pub(super) snapshots: AtomicU64,
    pub(super) leases: AtomicBool,
    /// Messages that a copy did not take.
    pub(super) refused: AtomicU64,
    /// Answers that are held back, in the order of their messages; `None` = answers arrive.
    held: Mutex<Option<Vec<oneshot::Sender<()>>>>,
    /// The table as each member knows it.
    seen: Mutex<BTreeMap<MemberId, watch::Sender<Arc<ClusterView>>>>,
    /// Members that hear nothing of the table.
    late: Mutex<BTreeSet<MemberId>>,
}

impl Between {
    pub(super) fn change(&self, change: impl FnOnce(&mut ClusterView)) {
        self.view.send_modify(|view| {
            let mut next = ClusterView::clone(view);
            change(&mut next);
            next.version += 1;
            *view = Arc::new(next);
        });
        self.tell();
    }

    /// Shows the table to all that hear of it.
    fn tell(&self) {
        let (seen, late) = (self.seen.lock().unwrap(), self.late.lock().unwrap());
        let now = Arc::clone(&self.view.borrow());
        for (_, seen) in seen.iter().filter(|(member, _)| !late.contains(*member)) {
            seen.send_replace(Arc::clone(&now));
        }
    }

    /// The table as a member knows it.
    fn watch(&self, member: &MemberId) -> watch::Receiver<Arc<ClusterView>> {
        let now = Arc::clone(&self.view.borrow());
        self.seen.lock().unwrap().entry(member.clone()).or_insert_with(|| watch::Sender::new(now)).subscribe()
    }

    /// A member hears nothing of the table from now on, or hears what it missed.
    pub(super) fn set_late(&self, name: &str, late: bool) {
        {
            let mut members = self.late.lock().unwrap();
            if late {
                members.insert(id(name))
            } else {
                members.remove(&id(name))
            };
        }
        self.tell();
    }

    /// From now on answers are held back.
    pub(super) fn hold_answers(&self) {
        *self.held.lock().unwrap() = Some(Vec::new());
    }

    /// How many are held back, those included that were let go of.
    pub(super) fn held_answers(&self) -> usize {
        self.held.lock().unwrap().as_ref().map_or(0, Vec::len)
    }

    /// Lets go of one; others are held back as before.
    pub(super) fn release(&self, number: usize) {
        let (unused, _) = oneshot::channel();
        let mut held = self.held.lock().unwrap();
        let _ = std::mem::replace(&mut held.as_mut().unwrap()[number], unused).send(());
    }

    /// Lets go of all, and holds back none any more.
    pub(super) fn release_all(&self) {
        self.held.lock().unwrap().take();
    }

    async fn pass(&self) {
        let passes = self.held.lock().unwrap().as_mut().map(|held| {
            let (pass, passes) = oneshot::channel();
            held.push(pass);
            passes
        });
        if let Some(passes) = passes {
            // An error: all may pass.
            let _ = passes.await;
        }
    }

    fn loses(&self) -> bool {
        let (every, number) =
            (self.lose.load(Ordering::Relaxed), self.messages.fetch_add(1, Ordering::Relaxed));
        // Not every n-th: two lines in step would lose all of one of them.
        every > 0 && noise(number).is_multiple_of(every)
    }
}

#[derive(Clone)]
pub(super) struct Way(Arc<Between>);

impl Outside for Way {
    fn may_act(&self) -> bool {
        self.0.leases.load(Ordering::Relaxed)
    }

    fn propose(&self, partition: PartitionId, proposal: Proposal) -> BoxFuture<'static, bool> {
        let between = Arc::clone(&self.0);
        async move {
            tokio::task::yield_now().await;
            if between.loses() {
                return true;
            }
            let place = usize::from(partition.0);
            between.change(|view| {
                if view.table[place] == proposal.expected {
                    assert!(proposal.expected.in_sync.contains(&proposal.next.primary));
                    view.table[place] = proposal.next;
                }
            });
            true
        }
        .boxed()
    }

    fn send(
        &self,
        to: MemberId,
        partition: PartitionId,
        message: CopyMessage,
    ) -> BoxFuture<'static, Option<Have>> {
        let between = Arc::clone(&self.0);
        async move {
            let host = between.hosts.read().unwrap().get(&to)?.get(partition)?;
            if matches!(message, CopyMessage::Rows { number: 0, .. }) {
                between.snapshots.fetch_add(1, Ordering::Relaxed);
            }
            let lost = between.loses();
            let lost_before = lost && between.messages.load(Ordering::Relaxed).is_multiple_of(2);
            let have = if lost_before { None } else { host.replicate(message).await };
            if have.is_none() {
                between.refused.fetch_add(1, Ordering::Relaxed);
            }
            between.pass().await;
            have.filter(|_| !lost)
        }
        .boxed()
    }
}

pub(super) struct Member {
    pub(super) me: MemberId,
    pub(super) engine: Arc<MemoryEngine>,
    pub(super) run: u64,
    pub(super) running: Option<Running>,
}

pub(super) struct Running {
    pub(super) tasks: Tasks,
    pub(super) hosts: Hosts,
    pub(super) indexes: Arc<Registry>,
    pub(super) threads: Vec<std::thread::JoinHandle<()>>,
    pub(super) purger: Purger,
    pub(super) looker: Looker,
}

impl Member {
    pub(super) fn start(&mut self, between: &Arc<Between>, retention: Retention) {
        self.run += 1;
        between.change(|view| {
            // It tells the grid of its start; whether that begins new epochs at once, or its owners do, varies.
            let again = self.run.is_multiple_of(2);
            for placement in &mut view.table {
                let leads = placement.primary == self.me && placement.in_sync.len() > 1;
                placement.epoch += u64::from(again && leads);
            }
            view.members.get_mut(&self.me).unwrap().details.incarnation = self.run;
        });
        let engine: Arc<dyn Engine> = self.engine.clone();
        let limits = IndexLimits { build_threads: 1, ..IndexLimits::default() };
        let indexes = Arc::new(Registry::new(limits, None));
        let view = Arc::clone(&between.watch(&self.me).borrow());
        let here = copies_here(&*engine, &view, &self.me).unwrap();
        engine.create_partitions(&here).unwrap();
        let recovered: Vec<_> =
            here.iter().map(|p| recover(&*engine, &view, &self.me, *p, retention).unwrap()).collect();
        level_indexes(&*engine, &view, &indexes, &PartitionSet::new()).unwrap();
        let (log, log_thread) = LogWriter::start(Arc::clone(&engine), 64, Quiet).unwrap();
        let watched = between.watch(&self.me);
        let (applier, applier_thread) =
            Applier::start(Arc::clone(&engine), Arc::clone(&indexes), watched, Quiet).unwrap();
        let (tasks, hosts) = (Tasks::default(), Hosts::default());
        let (purger, looker) = (applier.purger(), applier.looker());
        let parts = OwnerParts {
            engine,
            log,
            applier,
            outside: Arc::new(Way(Arc::clone(between))),
            view: between.watch(&self.me),
            hosts: hosts.clone(),
            moves: Arc::new(Semaphore::new(2)),
            incarnation: self.run,
            retention,
        };
        for recovered in recovered {
            hosts.add(recovered.state.partition(), spawn(&tasks, recovered, &parts));
        }
        between.hosts.write().unwrap().insert(self.me.clone(), hosts.clone());
        tasks.spawn("keeper", keep(tasks.clone(), parts, self.me.clone(), here.into_iter().collect()));
        let threads = vec![log_thread, applier_thread];
        self.running = Some(Running { tasks, hosts, indexes, threads, purger, looker });
    }

    /// Ends it; what was not synced is lost.
    pub(super) async fn crash(&mut self, between: &Arc<Between>) {
        let Some(running) = self.running.take() else { return };
        between.hosts.write().unwrap().remove(&self.me);
        assert!(running.tasks.stop(PATIENCE).await, "owners end");
        running.threads.into_iter().for_each(|thread| thread.join().unwrap());
        self.engine.crash();
    }

    pub(super) fn rows(&self, partition: PartitionId) -> BTreeMap<String, Version> {
        let (from, to) = row::all();
        let mut rows = BTreeMap::new();
        let mut visit = |key: &[u8], value: &[u8]| {
            let (_, id) = row::parse_key(key)?;
            rows.insert(id.as_str().to_owned(), row::version(value)?);
            Ok(std::ops::ControlFlow::Continue(()))
        };
        self.engine.scan(Family::Partition(partition), &from, &to, &mut visit).unwrap();
        rows
    }

    pub(super) fn indexed(&self, partition: PartitionId) -> BTreeMap<String, Version> {
        self.indexed_of(CollectionId(1), partition)
    }

    pub(super) fn indexed_of(
        &self,
        collection: CollectionId,
        partition: PartitionId,
    ) -> BTreeMap<String, Version> {
        let Some(index) = self.running.as_ref().and_then(|r| r.indexes.get(collection)) else {
            return BTreeMap::new();
        };
        let set: PartitionSet = [partition].into_iter().collect();
        index
            .view()
            .versions(&set)
            .into_iter()
            .map(|(_, id, version)| (id.as_str().to_owned(), version))
            .collect()
    }
}

/// A grid of members.
pub(super) struct World {
    pub(super) between: Arc<Between>,
    pub(super) members: BTreeMap<MemberId, Member>,
    pub(super) retention: Retention,
    /// What was acknowledged last of each id, or may have happened.
    pub(super) ledger: Arc<Mutex<BTreeMap<(u16, String), Entries>>>,
    /// Writes that nobody waits for any more; they may still happen.
    abandoned: Abandoned,
}

type Abandoned = Arc<Mutex<Vec<BoxFuture<'static, ()>>>>;

#[derive(Debug, Clone, Default)]
pub(super) struct Entries {
    pub(super) acknowledged: Version,
    pub(super) unknown: bool,
}

impl World {
    pub(super) fn new(names: &[&str], retention: Retention) -> Self {
        let first = id(names[0]);
        let mut view = ClusterView::bootstrap("g", PARTITIONS, &first);
        for name in &names[1..] {
            let member = GridMember { joined: 2, ..GridMember::new(id(name), "", name) };
            view.members.insert(id(name), member);
        }
        let config = CollectionConfig {
            name: CollectionName::new("c").unwrap(),
            dimension: 2,
            metric: Metric::Euclidean,
            index: IndexOptions::default(),
            durability: Durability::Sync,
        };
        view.collections.insert(config.name.clone(), Collection { id: CollectionId(1), config });
        let between = Arc::new(Between {
            view: watch::Sender::new(Arc::new(view)),
            hosts: RwLock::default(),
            lose: AtomicU64::new(0),
            messages: AtomicU64::new(0),
            snapshots: AtomicU64::new(0),
            leases: AtomicBool::new(true),
            refused: AtomicU64::new(0),
            held: Mutex::default(),
            seen: Mutex::default(),
            late: Mutex::default(),
        });
        let mut members = BTreeMap::new();
        for name in names {
            let mut member = Member { me: id(name), engine: Arc::default(), run: 0, running: None };
            member.start(&between, retention);
            members.insert(id(name), member);
        }
        Self { between, members, retention, ledger: Arc::default(), abandoned: Abandoned::default() }
    }

    pub(super) fn want(&self, partition: u16, primary: &str, others: &[&str]) {
        let holders = Holders { primary: id(primary), others: others.iter().map(|name| id(name)).collect() };
        self.between.change(|view| {
            if view.wanted.is_empty() {
                view.wanted = view.table.iter().map(Into::into).collect();
            }
            view.wanted[usize::from(partition)] = holders;
        });
    }

    pub(super) fn set_away(&self, name: &str, away: bool) {
        self.between.change(|view| {
            let member = view.members.get_mut(&id(name)).unwrap();
            member.state = if away { MemberState::Away } else { MemberState::Alive };
        });
    }

    /// Waits until a partition is held like that.
    pub(super) async fn held(&self, partition: u16, primary: &str, in_sync: &[&str]) {
        let mut view = self.between.view.subscribe();
        let all: BTreeSet<MemberId> = in_sync.iter().map(|name| id(name)).collect();
        let so = view.wait_for(|view| {
            let placement = view.partition(PartitionId(partition));
            placement.primary == id(primary)
                && placement.in_sync.iter().cloned().collect::<BTreeSet<_>>() == all
        });
        let held = tokio::time::timeout(PATIENCE, so).await.is_ok();
        assert!(held, "{partition}: {:?}", self.between.view.borrow().partition(PartitionId(partition)));
        let answers: PartitionSet = [PartitionId(partition)].into_iter().collect();
        let hosts = self.hosts(&id(primary));
        let answers = hosts.until_leads(&answers);
        tokio::time::timeout(PATIENCE, answers)
            .await
            .unwrap_or_else(|_| panic!("{partition} is not answered for"));
    }

    pub(super) fn hosts(&self, member: &MemberId) -> Hosts {
        self.members[member].running.as_ref().unwrap().hosts.clone()
    }

    /// Hands one entry to the primary of a partition.
    pub(super) async fn put(
        &self,
        collection: CollectionId,
        partition: u16,
        name: &str,
        durability: Durability,
    ) -> Result<Version, WriteError> {
        let primary = self.between.view.borrow().partition(PartitionId(partition)).primary.clone();
        let owner = self.hosts(&primary).get(PartitionId(partition)).unwrap();
        let vector = Some(Vector::new(vec![1.0, 2.0], 2, Metric::Euclidean).unwrap());
        let entry = Entry { id: EntryId::new(name).unwrap(), vector, metadata: Metadata::default() };
        let operation = Operation { collection, request_id: None, mutations: vec![Mutation::Put(entry)] };
        let permit = Arc::new(Semaphore::new(1)).acquire_owned().await.unwrap();
        let taken = owner.write(operation, durability, permit).await?;
        Ok(taken.done().await?.unwrap().version)
    }

    /// One more collection.
    pub(super) fn create_collection(&self, number: u32, name: &str) {
        self.between.change(|view| {
            let mut collection = view.collections.values().next().unwrap().clone();
            collection.id = CollectionId(number);
            collection.config.name = CollectionName::new(name).unwrap();
            view.collections.insert(collection.config.name.clone(), collection);
        });
    }

    pub(super) fn writer(&self, seed: u64) -> Writer {
        let (between, ledger) = (Arc::clone(&self.between), Arc::clone(&self.ledger));
        Writer { between, ledger, abandoned: Arc::clone(&self.abandoned), next: seed << 32, request: 0 }
    }

    /// Every acknowledged write is in the rows and in the index of the primary, and of every copy in sync.
    pub(super) async fn check(&self) {
        let ledger = self.ledger.lock().unwrap().clone();
        for partition in (0..PARTITIONS).map(PartitionId) {
            let placement = self.between.view.borrow().partition(partition).clone();
            let of = |member: &MemberId| {
                (self.members[member].rows(partition), self.members[member].indexed(partition))
            };
            let (rows, indexed) = of(&placement.primary);
            assert_eq!(rows, indexed, "{partition}: rows and index of {placement:?}");
            for ((_, name), entries) in ledger.iter().filter(|((p, _), _)| *p == partition.0) {
                let found = rows.get(name).copied().unwrap_or_default();
                let right = found == entries.acknowledged || entries.unknown && found > entries.acknowledged;
                assert!(
                    right,
                    "{partition} {name}: {entries:?} was acknowledged, found {found} {placement:?}"
                );
            }
            for member in &placement.in_sync {
                assert_eq!(of(member), (rows.clone(), rows.clone()), "{partition} on {member}");
            }
        }
    }

    /// Waits until no write is under way and all copies show the same.
    pub(super) async fn quiet(&self) {
        let abandoned = std::mem::take(&mut *self.abandoned.lock().unwrap());
        let ended = tokio::time::timeout(PATIENCE, join_all(abandoned)).await;
        assert!(ended.is_ok(), "a write is still under way");
        let began = tokio::time::Instant::now();
        for partition in (0..PARTITIONS).map(PartitionId) {
            let placement = self.between.view.borrow().partition(partition).clone();
            let applied = |member: &MemberId| self.hosts(member).get(partition).map(|owner| owner.applied());
            while placement.in_sync.iter().any(|member| applied(member) != applied(&placement.primary)) {
                assert!(began.elapsed() < PATIENCE, "{partition} {placement:?} is not level");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    }
}

/// Writes to whoever the table says, as a router would.
pub(super) struct Writer {
    pub(super) between: Arc<Between>,
    pub(super) ledger: Arc<Mutex<BTreeMap<(u16, String), Entries>>>,
    abandoned: Abandoned,
    pub(super) next: u64,
    pub(super) request: u64,
}

impl Writer {
    pub(super) async fn write(&mut self) {
        self.next += 1;
        self.request += 1;
        let number = self.next % 97;
        let partition = PartitionId((number % u64::from(PARTITIONS)) as u16);
        let name = format!("{}-{number}", self.next >> 32);
        let vector = Some(Vector::new(vec![1.0, self.request as f32], 2, Metric::Euclidean).unwrap());
        let entry = Entry { id: EntryId::new(&name).unwrap(), vector, metadata: Metadata::default() };
        let request_id = Some(RequestId::new(&format!("{}-{}", self.next, self.request)).unwrap());
        let operation =
            Operation { collection: CollectionId(1), request_id, mutations: vec![Mutation::Put(entry)] };
        let key = (partition.0, name);
        let until = tokio::time::Instant::now() + Duration::from_secs(2);
        while tokio::time::Instant::now() < until {
            let primary = self.between.view.borrow().partition(partition).primary.clone();
            let owner =
                self.between.hosts.read().unwrap().get(&primary).and_then(|hosts| hosts.get(partition));
            let Some(owner) = owner else {
                tokio::time::sleep(Duration::from_millis(2)).await;
                continue;
            };
            let permit = Arc::new(Semaphore::new(1)).acquire_owned().await.unwrap();
            let outcome = match owner.write(operation.clone(), Durability::Sync, permit).await {
                Ok(taken) => {
                    let mut done = taken.done().boxed();
                    match tokio::time::timeout_at(until, &mut done).await {
                        Ok(outcome) => outcome,
                        Err(_) => {
                            self.abandoned.lock().unwrap().push(done.map(drop).boxed());
                            Err(WriteError::Interrupted)
                        }
                    }
                }
                Err(error) => Err(error),
            };
            match outcome {
                Ok(outcome) => {
                    let acknowledged = outcome.unwrap().version;
                    self.ledger.lock().unwrap().insert(key, Entries { acknowledged, unknown: false });
                    return;
                }
                Err(WriteError::Refused(Refusal::NotPrimary | Refusal::NoLease) | WriteError::Closed) => {
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
                Err(_) => self.ledger.lock().unwrap().entry(key.clone()).or_default().unknown = true,
            }
        }
    }
}

pub(super) const KEPT: Retention = Retention { records: 10_000, bytes: 1 << 30 };
