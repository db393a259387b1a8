//! Owners on several members, with real logs, appliers and indexes, and a grid of the test's making between them:
//! partitions move, are copied, and come back while they are written, and nothing that was acknowledged is lost.

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
use tokio::sync::{Semaphore, watch};

use super::{
    Applier, ApplierObserver, CopyMessage, Hosts, Looker, Outside, OwnerParts, Retention, WriteError,
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
fn noise(seed: u64) -> u64 {
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
    hosts: RwLock<BTreeMap<MemberId, Hosts>>,
    /// One message of so many is lost, half of them on the way back; 0 = none.
    lose: AtomicU64,
    messages: AtomicU64,
    snapshots: AtomicU64,
    leases: AtomicBool,
}

impl Between {
    fn change(&self, change: impl FnOnce(&mut ClusterView)) {
        self.view.send_modify(|view| {
            let mut next = ClusterView::clone(view);
            change(&mut next);
            next.version += 1;
            *view = Arc::new(next);
        });
    }

    fn loses(&self) -> bool {
        let (every, number) =
            (self.lose.load(Ordering::Relaxed), self.messages.fetch_add(1, Ordering::Relaxed));
        // Not every n-th: two lines in step would lose all of one of them.
        every > 0 && noise(number).is_multiple_of(every)
    }
}

#[derive(Clone)]
struct Way(Arc<Between>);

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
            have.filter(|_| !lost)
        }
        .boxed()
    }
}

pub(super) struct Member {
    me: MemberId,
    pub(super) engine: Arc<MemoryEngine>,
    run: u64,
    pub(super) running: Option<Running>,
}

pub(super) struct Running {
    tasks: Tasks,
    hosts: Hosts,
    pub(super) indexes: Arc<Registry>,
    pub(super) looker: Looker,
    threads: Vec<std::thread::JoinHandle<()>>,
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
        let view = Arc::clone(&between.view.borrow());
        let here = copies_here(&*engine, &view, &self.me).unwrap();
        engine.create_partitions(&here).unwrap();
        let recovered: Vec<_> =
            here.iter().map(|p| recover(&*engine, &view, &self.me, *p, retention).unwrap()).collect();
        level_indexes(&*engine, &view, &indexes).unwrap();
        let (log, log_thread) = LogWriter::start(Arc::clone(&engine), 64, Quiet).unwrap();
        let watched = between.view.subscribe();
        let (applier, applier_thread) =
            Applier::start(Arc::clone(&engine), Arc::clone(&indexes), watched, Quiet).unwrap();
        let (tasks, hosts) = (Tasks::default(), Hosts::default());
        let looker = applier.looker();
        let parts = OwnerParts {
            engine,
            log,
            applier,
            outside: Arc::new(Way(Arc::clone(between))),
            view: between.view.subscribe(),
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
        self.running = Some(Running { tasks, hosts, indexes, looker, threads });
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

    fn indexed(&self, partition: PartitionId) -> BTreeMap<String, Version> {
        let Some(index) = self.running.as_ref().and_then(|r| r.indexes.get(CollectionId(1))) else {
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
    ledger: Arc<Mutex<BTreeMap<(u16, String), Entries>>>,
}

#[derive(Debug, Clone, Default)]
struct Entries {
    acknowledged: Version,
    unknown: bool,
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
        });
        let mut members = BTreeMap::new();
        for name in names {
            let mut member = Member { me: id(name), engine: Arc::default(), run: 0, running: None };
            member.start(&between, retention);
            members.insert(id(name), member);
        }
        Self { between, members, retention, ledger: Arc::default() }
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

    fn set_away(&self, name: &str, away: bool) {
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

    pub(super) fn writer(&self, seed: u64) -> Writer {
        let (between, ledger) = (Arc::clone(&self.between), Arc::clone(&self.ledger));
        Writer { between, ledger, next: seed << 32, request: 0 }
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

    /// Waits until all copies show the same.
    pub(super) async fn quiet(&self) {
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
    between: Arc<Between>,
    ledger: Arc<Mutex<BTreeMap<(u16, String), Entries>>>,
    next: u64,
    request: u64,
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
                Ok(taken) => match tokio::time::timeout_at(until, taken.done()).await {
                    Ok(outcome) => outcome,
                    Err(_) => Err(WriteError::Interrupted),
                },
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partition_moves_while_it_is_written() {
    let world = World::new(&["a", "b"], KEPT);
    let stop = AtomicBool::new(false);
    let write = |n| {
        let (mut writer, stop) = (world.writer(n), &stop);
        async move {
            let mut written = 0;
            while !stop.load(Ordering::Relaxed) {
                writer.write().await;
                written += 1;
            }
            written
        }
    };
    let moving = async {
        move_there_and_back(&world).await;
        stop.store(true, Ordering::Relaxed);
    };
    let (written, ()) = tokio::join!(join_all((0..4).map(write)), moving);
    assert!(written.iter().all(|written| *written > 10), "writes went on: {written:?}");
    let unknown = world.ledger.lock().unwrap().values().filter(|entries| entries.unknown).count();
    assert_eq!(unknown, 0, "in an orderly move every write has an answer");
    world.check().await;
}

async fn move_there_and_back(world: &World) {
    for round in 0..3 {
        let (to, from) = if round % 2 == 0 { ("b", "a") } else { ("a", "b") };
        for partition in [0, 1] {
            world.want(partition, to, &[]);
        }
        for partition in [0, 1] {
            world.held(partition, to, &[to]).await;
        }
        // What was moved away is gone, and not found any more.
        let began = tokio::time::Instant::now();
        while [0, 1].iter().any(|p| world.hosts(&id(from)).get(PartitionId(*p)).is_some()) {
            assert!(began.elapsed() < PATIENCE, "the old copy stays");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert!(world.members[&id(from)].rows(PartitionId(0)).is_empty());
        assert!(world.members[&id(from)].indexed(PartitionId(0)).is_empty());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_gets_a_snapshot_when_the_log_does_not_reach_back() {
    let world = World::new(&["a", "b"], Retention { records: 8, bytes: 1 << 30 });
    let mut writer = world.writer(1);
    for _ in 0..400 {
        writer.write().await;
    }
    for partition in 0..PARTITIONS {
        world.want(partition, "a", &["b"]);
    }
    for partition in 0..PARTITIONS {
        world.held(partition, "a", &["a", "b"]).await;
    }
    assert!(world.between.snapshots.load(Ordering::Relaxed) >= u64::from(PARTITIONS));
    for _ in 0..40 {
        writer.write().await;
    }
    world.quiet().await;
    world.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_that_a_copy_lacks_is_not_acknowledged() {
    let mut world = World::new(&["a", "b"], KEPT);
    world.want(0, "a", &["b"]);
    world.held(0, "a", &["a", "b"]).await;
    world.members.get_mut(&id("b")).unwrap().crash(&world.between).await;
    let mut writer = world.writer(1);
    writer.next = 3;
    writer.write().await;
    assert!(world.ledger.lock().unwrap().values().all(|entries| entries.unknown), "it waits for b");
    world.set_away("b", true);
    world.held(0, "a", &["a"]).await;
    writer.next = 3;
    writer.write().await;
    assert!(world.ledger.lock().unwrap().values().all(|entries| entries.acknowledged > Version::default()));
    // It comes back, and gets what it missed from the log.
    world.set_away("b", false);
    let snapshots = world.between.snapshots.load(Ordering::Relaxed);
    world.members.get_mut(&id("b")).unwrap().start(&world.between, world.retention);
    world.held(0, "a", &["a", "b"]).await;
    assert_eq!(world.between.snapshots.load(Ordering::Relaxed), snapshots);
    world.quiet().await;
    world.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_lease_nothing_is_acknowledged() {
    let world = World::new(&["a"], KEPT);
    world.held(1, "a", &["a"]).await;
    world.between.leases.store(false, Ordering::Relaxed);
    let owner = world.hosts(&id("a")).get(PartitionId(1)).unwrap();
    let permit = Arc::new(Semaphore::new(1)).acquire_owned().await.unwrap();
    let operation = Operation { collection: CollectionId(1), request_id: None, mutations: Vec::new() };
    let taken = owner.write(operation, Durability::Sync, permit).await.unwrap();
    assert_eq!(taken.done().await, Err(WriteError::Refused(Refusal::NoLease)));
    world.between.leases.store(true, Ordering::Relaxed);
    let mut writer = world.writer(1);
    writer.write().await;
    assert_eq!(world.ledger.lock().unwrap().len(), 1);
    world.check().await;
}

/// Messages and proposals are lost, members crash and lose what was not synced, partitions wander.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_whatever_is_lost_between() {
    let names = ["a", "b", "c"];
    let mut world = World::new(&names, Retention { records: 32, bytes: 1 << 30 });
    world.between.lose.store(7, Ordering::Relaxed);
    let mut random = 1_u64;
    let mut draw = |below: u64| {
        random = noise(random);
        random % below
    };
    let mut writers: Vec<Writer> = (0..3).map(|n| world.writer(n)).collect();
    for _ in 0..12 {
        for partition in 0..PARTITIONS {
            let primary = draw(3) as usize;
            let other = (primary + 1 + draw(2) as usize) % 3;
            let others: &[&str] = if draw(2) == 0 { &[names[other]] } else { &[] };
            world.want(partition, names[primary], others);
        }
        let crash = (draw(2) == 0).then(|| names[draw(3) as usize]);
        let writing = writers.into_iter().map(|mut writer| async move {
            for _ in 0..20 {
                writer.write().await;
            }
            writer
        });
        let after = Duration::from_millis(draw(60));
        let crashing = async {
            if let Some(name) = crash {
                tokio::time::sleep(after).await;
                let member = world.members.get_mut(&id(name)).unwrap();
                member.crash(&world.between).await;
                member.start(&world.between, world.retention);
            }
        };
        (writers, ()) = tokio::join!(join_all(writing), crashing);
    }
    world.between.lose.store(0, Ordering::Relaxed);
    for (partition, name) in (0..PARTITIONS).zip(["a", "b", "c", "a"]) {
        world.want(partition, name, &[]);
    }
    for (partition, name) in (0..PARTITIONS).zip(["a", "b", "c", "a"]) {
        world.held(partition, name, &[name]).await;
    }
    let written = world.ledger.lock().unwrap().len();
    assert!(written > 100, "{written} ids were written");
    world.quiet().await;
    world.check().await;
}
