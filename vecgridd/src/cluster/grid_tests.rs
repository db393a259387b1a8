//! Members over real loopback connections, each with its own disk, inside one process.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    path::Path,
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use futures::{StreamExt, stream};
use tempfile::TempDir;
use tokio::{runtime::Handle, sync::watch};

use super::{Arrival, Arrived, Door, arrive, birth::Rules};
use crate::{
    control::{
        Command, Control, ControlError, ControlParts, ControlStore, ControlTiming, Decision, Entry,
        StartError,
    },
    peer::{Me, PeerLimits, PeerListener, Pool, Security, Serving},
    storage::{
        Engine, Family, RocksEngine, RocksOptions,
        keys::{control::purged_key, member::Identity},
    },
    task::{OwnRuntime, Tasks, clock},
    telemetry::Metrics,
    types::{
        ClusterView, CollectionConfig, CollectionId, CollectionName, Durability, IndexOptions, Member,
        MemberDetails, MemberId, MemberState, Metric, PartitionId,
    },
};

const PATIENCE: Duration = Duration::from_secs(30);

/// A data directory and who it belongs to.
struct Disk {
    folder: TempDir,
    identity: Identity,
}

impl Disk {
    fn new() -> Self {
        let member = MemberId(uuid::Uuid::new_v4().to_string());
        let store = uuid::Uuid::new_v4().to_string();
        Self { folder: TempDir::new().unwrap(), identity: Identity { member, store } }
    }

    fn id(&self) -> MemberId {
        self.identity.member.clone()
    }
}

/// A running member.
struct Node {
    control: Control,
    address: SocketAddr,
    metrics: Arc<Metrics>,
    tasks: Tasks,
    runtime: OwnRuntime,
    engine: Weak<RocksEngine>,
}

fn open(folder: &Path) -> Arc<RocksEngine> {
    let budgets = RocksOptions { memtable_bytes: 8 << 20, block_cache_bytes: 1 << 20 };
    Arc::new(RocksEngine::open(&folder.join("control"), budgets).unwrap())
}

fn security(disk: &Disk) -> Security {
    let file = disk.folder.path().join("secret");
    std::fs::write(&file, "a secret that all members of these tests share").unwrap();
    Security::of_secret(&file).unwrap()
}

fn timing() -> ControlTiming {
    ControlTiming { settle: Duration::from_millis(200), grace: Duration::from_secs(2), ..Default::default() }
}

/// Starts a member; a fresh one founds a grid, or joins at the seeds.
async fn start(disk: &Disk, seeds: &[SocketAddr]) -> Result<Node, StartError> {
    start_at(disk, seeds, SocketAddr::from(([127, 0, 0, 1], 0))).await
}

async fn start_at(disk: &Disk, seeds: &[SocketAddr], at: SocketAddr) -> Result<Node, StartError> {
    let runtime = OwnRuntime::start("control", 1).unwrap();
    let (tasks, me) = (Tasks::default(), Arc::new(Me::new(disk.identity.clone())));
    let metrics = Arc::new(Metrics::new("0", "test").unwrap());
    let listener = PeerListener::bind(at).unwrap();
    let address = listener.address();
    let door = Arc::new(Door::new("g", me.member(), &address.to_string()));
    // All tests with a secret: what holds with TLS holds without it.
    let security = security(disk);
    let limits = PeerLimits::default();
    let (host, whose) = (Arc::clone(&door), Arc::clone(&me));
    let serving = Serving {
        host,
        me: whose,
        security: security.clone(),
        metrics: Arc::clone(&metrics),
        limits,
        data: None,
    };
    let serving_tasks = tasks.clone();
    let serve = async move { listener.serve(serving, &serving_tasks).unwrap() };
    runtime.run(serve).await.unwrap();
    let engine = open(disk.folder.path());
    let store = ControlStore::new(engine.clone());
    let engine = Arc::downgrade(&engine);
    let pool = Pool::new(Arc::clone(&me), security, runtime.handle().unwrap());
    let mut details = MemberDetails { name: "n".into(), address: address.to_string(), ..Default::default() };
    if store.owner()?.is_none() {
        let (_seeds, addresses) = watch::channel(seeds.iter().copied().collect());
        let arrival = Arrival {
            member: disk.id(),
            grid_name: "g".to_owned(),
            details: MemberDetails { incarnation: 1, ..details.clone() },
            rules: Rules { bootstrap: seeds.is_empty(), ..Rules::default() },
            waiting: Duration::ZERO,
            addresses,
            sees: door.sees(),
        };
        let (pool, stop) = (pool.clone(), tasks.token());
        let arrived = runtime.run(async move { arrive(&pool, arrival, &stop).await }).await.unwrap();
        match arrived.unwrap() {
            Arrived::Found => store.take(&disk.identity, &uuid::Uuid::new_v4().to_string(), true)?,
            Arrived::Joined(grid) => store.take(&disk.identity, &grid, false)?,
        }
    }
    let owner = store.start(&disk.identity)?;
    me.belongs_to(&owner.grid);
    details.incarnation = owner.incarnation;
    let entry = if owner.founder {
        let founder =
            Member { details: details.clone(), ..Member::new(disk.id(), &disk.identity.store, "n") };
        Entry::Found(Box::new(ClusterView::found(&owner.grid, "g", 8, founder)))
    } else {
        Entry::Member
    };
    let (tasks_too, metrics_too) = (tasks.clone(), Arc::clone(&metrics));
    let parts =
        ControlParts { tasks: tasks_too, store, pool, details, metrics: metrics_too, timing: timing() };
    let control = Control::start(&runtime, parts).await?;
    door.open(control.clone());
    control.enter(entry).await?;
    Ok(Node { control, address, metrics, tasks, runtime, engine })
}

impl Node {
    fn version(&self) -> u64 {
        self.control.view().version()
    }

    fn leads(&self) -> bool {
        self.control.status().leads
    }

    /// As a process that is killed: nothing is said to anyone, connections break.
    async fn kill(self) {
        let Self { control, tasks, runtime, engine, .. } = self;
        drop((control, tasks));
        // The database must be closed before it is opened again.
        runtime.end(PATIENCE).await;
        assert_eq!(engine.strong_count(), 0);
    }
}

/// Waits until something is so.
async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "in vain: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn grid(members: usize) -> (Vec<Disk>, Vec<Node>) {
    // To see what happened: RUST_LOG=info,openraft=off.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .with_test_writer()
        .try_init();
    let disks: Vec<Disk> = (0..members).map(|_| Disk::new()).collect();
    let mut nodes = vec![start(&disks[0], &[]).await.unwrap()];
    let seeds = [nodes[0].address];
    for disk in &disks[1..] {
        nodes.push(start(disk, &seeds).await.unwrap());
    }
    let all = disks.len();
    until("all are members everywhere", || {
        nodes.iter().all(|node| node.control.view().members().filter(|m| m.is_alive()).count() == all)
    })
    .await;
    (disks, nodes)
}

/// Waits until these many vote, and everybody knows one leader.
async fn settled(nodes: &[&Node], voters: usize) {
    until("voters are chosen and there is one leader", || {
        let status: Vec<_> = nodes.iter().map(|node| node.control.status()).collect();
        status.iter().filter(|s| s.leads).count() == 1
            && status.iter().all(|s| s.leader.is_some() && s.leader == status[0].leader)
            && status.iter().all(|s| s.voters.len() == voters && !s.changing)
    })
    .await;
}

fn collection(name: &str) -> Command {
    Command::CreateCollection(CollectionConfig {
        name: CollectionName::new(name).unwrap(),
        dimension: 4,
        metric: Metric::Cosine,
        index: IndexOptions::default(),
        durability: Durability::Sync,
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn members_join_by_a_seed_and_all_of_them_publish_the_same_view() {
    let (_disks, nodes) = grid(3).await;
    settled(&nodes.iter().collect::<Vec<_>>(), 3).await;
    // From any member; and who asked finds what was decided.
    for (number, node) in nodes.iter().enumerate() {
        let name = format!("c{number}");
        let decision = node.control.propose(collection(&name)).await.unwrap();
        assert!(matches!(decision, Decision::Created(_)));
        assert!(node.control.view().collection(&CollectionName::new(&name).unwrap()).is_some());
        assert!(node.control.lease().holds(clock::now()));
    }
    let version = nodes[2].version();
    until("the same version everywhere", || nodes.iter().all(|node| node.version() == version)).await;
    assert!(nodes.iter().all(|node| *node.control.view() == *nodes[0].control.view()));
    let joined: Vec<u64> = nodes[0].control.view().members().map(|m| m.joined).collect();
    assert_eq!(joined.iter().collect::<BTreeSet<_>>().len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_leader_is_found_when_one_is_killed_and_it_is_fenced_and_comes_back() {
    let (disks, mut nodes) = grid(3).await;
    settled(&nodes.iter().collect::<Vec<_>>(), 3).await;
    let at = nodes.iter().position(Node::leads).unwrap();
    let lost = disks[at].id();
    nodes.remove(at).kill().await;
    settled(&nodes.iter().collect::<Vec<_>>(), 3).await;
    nodes[0].control.propose(collection("after")).await.unwrap();
    let state = |node: &Node, id: &MemberId| node.control.view().member(id).unwrap().state;
    until("it is fenced", || nodes.iter().all(|node| state(node, &lost) == MemberState::Away)).await;
    let back = start(&disks[at], &[]).await.unwrap();
    nodes.push(back);
    until("it is back", || nodes.iter().all(|node| state(node, &lost) == MemberState::Alive)).await;
    let after = CollectionName::new("after").unwrap();
    until("it knows what was decided", || nodes[2].control.view().collection(&after).is_some()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_is_gone_is_noticed_before_its_session_ends() {
    let (disks, mut nodes) = grid(3).await;
    settled(&nodes.iter().collect::<Vec<_>>(), 3).await;
    let since = Instant::now();
    until("the leader may fence", || since.elapsed() > timing().session).await;
    let at = nodes.iter().position(|node| !node.leads()).unwrap();
    let gone = disks[at].id();
    let killed = Instant::now();
    nodes.remove(at).kill().await;
    let away = |node: &Node| node.control.view().member(&gone).unwrap().state == MemberState::Away;
    until("it is fenced", || nodes.iter().all(away)).await;
    let took = killed.elapsed();
    println!("noticed and agreed on after {took:?}");
    assert!(took < timing().session * 3 / 4, "{took:?}: only its session told");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_is_cut_and_who_was_away_or_comes_new_gets_a_snapshot() {
    let (disks, mut nodes) = grid(3).await;
    settled(&nodes.iter().collect::<Vec<_>>(), 3).await;
    let at = nodes.iter().position(|node| !node.leads()).unwrap();
    nodes.remove(at).kill().await;
    nodes[0].control.propose(collection("before")).await.unwrap();
    let leader = nodes.iter().find(|node| node.leads()).unwrap();
    // Entries that change nothing: only the length of the log matters.
    let nothing = Command::Purged { collection: CollectionId(99), member: MemberId("nobody".into()) };
    let proposals = (0..1_700).map(|_| leader.control.propose(nothing.clone()));
    let decided: Vec<_> = stream::iter(proposals).buffer_unordered(64).collect().await;
    assert!(decided.iter().all(Result::is_ok));
    let purged = |node: &Node| {
        let engine = node.engine.upgrade().unwrap();
        engine.get(Family::Member, &purged_key()).unwrap().is_some()
    };
    until("the log is cut", || purged(leader)).await;
    let seeds = [leader.address];
    nodes.push(start(&disks[at], &[]).await.unwrap());
    let fresh = Disk::new();
    nodes.push(start(&fresh, &seeds).await.unwrap());
    until("all know the same", || {
        let views: Vec<_> = nodes.iter().map(|node| node.control.view()).collect();
        views.iter().all(|view| *view == views[0] && view.members().count() == 4)
    })
    .await;
    let before = CollectionName::new("before").unwrap();
    assert!(nodes[3].control.view().collection(&before).is_some());
    // And from a snapshot on their own disk.
    let last = nodes.pop().unwrap();
    let view = last.control.view();
    last.kill().await;
    let again = start(&fresh, &[]).await.unwrap();
    assert!(again.control.view().version() >= view.version());
    assert!(again.control.view().collection(&before).is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_majority_leases_end_nothing_is_decided_and_what_is_known_stays() {
    let (_disks, mut nodes) = grid(3).await;
    settled(&nodes.iter().collect::<Vec<_>>(), 3).await;
    until("each has a lease", || nodes.iter().all(|node| node.control.lease().holds(clock::now()))).await;
    let version = nodes[0].version();
    for _ in 0..2 {
        nodes.pop().unwrap().kill().await;
    }
    let cut = clock::now();
    until("its lease ends", || !nodes[0].control.lease().holds(clock::now())).await;
    assert!(clock::now() - cut <= timing().lease + Duration::from_millis(200), "later than promised");
    let refused = nodes[0].control.propose(collection("never")).await.unwrap_err();
    let sure = matches!(refused, ControlError::Unavailable(_));
    assert!(sure || matches!(refused, ControlError::Unknown(_)), "{refused}");
    assert!(!nodes[0].control.lease().holds(clock::now()));
    assert_eq!(nodes[0].version(), version, "what it knows it goes on showing");
}

#[tokio::test(flavor = "multi_thread")]
async fn all_members_restart_elsewhere_and_it_is_the_same_grid() {
    let (disks, nodes) = grid(3).await;
    settled(&nodes.iter().collect::<Vec<_>>(), 3).await;
    nodes[1].control.propose(collection("kept")).await.unwrap();
    let (id, version) = (nodes[0].control.view().id().to_owned(), nodes[1].version());
    for node in nodes {
        node.kill().await;
    }
    let mut nodes = Vec::new();
    for disk in &disks {
        nodes.push(start(disk, &[]).await.unwrap());
    }
    // Every port is another one: they must hear of each other. Discovery does that; here the test says it.
    for node in &nodes {
        for (disk, other) in disks.iter().zip(&nodes) {
            node.control.learn_address(&disk.id(), &other.address.to_string(), 2);
        }
    }
    settled(&nodes.iter().collect::<Vec<_>>(), 3).await;
    until("the new addresses are agreed", || {
        nodes.iter().all(|node| {
            disks.iter().zip(&nodes).all(|(disk, other)| {
                let view = node.control.view();
                let member = view.member(&disk.id()).unwrap();
                member.details.address == other.address.to_string() && member.is_alive()
            })
        })
    })
    .await;
    assert!(nodes.iter().all(|node| node.control.view().id() == id && node.version() > version));
    assert!(nodes[2].control.view().collection(&CollectionName::new("kept").unwrap()).is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_disk_a_copied_one_and_another_grid_are_refused() {
    let (disks, nodes) = grid(2).await;
    settled(&nodes.iter().collect::<Vec<_>>(), 2).await;
    // The same member on an empty disk.
    let mut lost = Disk::new();
    lost.identity.member = disks[1].id();
    let seeds = [nodes[0].address];
    let pool = Pool::new(Arc::new(Me::new(lost.identity.clone())), security(&lost), Handle::current());
    let details = MemberDetails { incarnation: 9, ..Default::default() };
    let message = vecgrid_proto::peer::JoinRequest {
        grid_name: "g".to_owned(),
        details: Some(crate::control::details_for(&details)),
    };
    let refused = pool.join(&seeds[0].to_string(), message, PATIENCE).await.unwrap_err().to_string();
    assert!(refused.contains("empty --data-dir"), "{refused}");
    // The same member, of the right grid, on another disk.
    let me = Arc::new(Me::new(lost.identity.clone()));
    me.belongs_to(nodes[0].control.view().id());
    let pool = Pool::new(me, security(&lost), Handle::current());
    pool.learn(&disks[0].id(), &seeds[0].to_string(), 1);
    let refused = pool.beat(&disks[0].id(), Default::default(), PATIENCE).await.unwrap_err().to_string();
    assert!(refused.contains("other_store"), "{refused}");
    // A member of another grid.
    let me = Arc::new(Me::new(Disk::new().identity));
    me.belongs_to("another");
    let pool = Pool::new(me, security(&lost), Handle::current());
    pool.learn(&disks[0].id(), &seeds[0].to_string(), 1);
    let refused = pool.beat(&disks[0].id(), Default::default(), PATIENCE).await.unwrap_err().to_string();
    assert!(refused.contains("other_grid"), "{refused}");
    until("it is counted", || nodes[0].metrics.peer_refused("other_grid") > 0).await;
    // Somebody who does not know the secret.
    std::fs::write(lost.folder.path().join("other"), "a secret that only this stranger here knows").unwrap();
    let stranger = Security::of_secret(&lost.folder.path().join("other")).unwrap();
    let pool = Pool::new(Arc::new(Me::new(lost.identity.clone())), stranger, Handle::current());
    let refused = pool.hello(&seeds[0].to_string(), Default::default(), PATIENCE).await.unwrap_err();
    assert!(refused.is_distrust(), "{refused}");
    let pool = Pool::new(Arc::new(Me::new(lost.identity.clone())), Security::Open, Handle::current());
    assert!(pool.hello(&seeds[0].to_string(), Default::default(), PATIENCE).await.is_err());
    until("both are counted", || nodes[0].metrics.peer_refused("stranger") >= 2).await;
    // An emptied control store does not start.
    let mut nodes = nodes;
    nodes.remove(1).kill().await;
    std::fs::remove_dir_all(disks[1].folder.path().join("control")).unwrap();
    let emptied = ControlStore::new(open(disks[1].folder.path())).start(&disks[1].identity).unwrap_err();
    assert!(emptied.to_string().contains("Restore the folder"), "{emptied}");
}

/// Does what primaries do with what is wanted, without any rows: copies in, the wanted primary, the others out.
async fn moved(node: &Node) {
    for number in 0..node.control.view().partitions() {
        let partition = PartitionId(number);
        loop {
            let view = node.control.view();
            let expected = view.partition(partition).clone();
            let wanted = view.wanted(partition).unwrap();
            let mut next = expected.clone();
            if expected.primary == wanted.primary {
                next.in_sync.retain(|member| wanted.holds(member));
                next.epoch += 1;
            } else if expected.in_sync.contains(&wanted.primary) {
                next.primary = wanted.primary.clone();
                next.epoch += 1;
            } else {
                next.in_sync.push(wanted.primary.clone());
            }
            if next.in_sync == expected.in_sync && next.primary == expected.primary {
                break;
            }
            node.control.propose(Command::Place { partition, expected, next }).await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn members_that_join_are_meant_to_hold_their_shares_and_a_restart_changes_nothing() {
    let (disks, mut nodes) = grid(3).await;
    settled(&nodes.iter().collect::<Vec<_>>(), 3).await;
    let share = |node: &Node, disk: &Disk| {
        let view = node.control.view();
        (0..view.partitions()).filter(|n| view.is_wanted_at(&disk.id(), PartitionId(*n))).count()
    };
    until("everybody has a share", || {
        disks.iter().all(|disk| nodes.iter().all(|node| (2..=3).contains(&share(node, disk))))
    })
    .await;
    let wanted = |node: &Node| node.control.view().wanted.clone();
    let before = wanted(&nodes[0]);
    let at = nodes.iter().position(|node| !node.leads()).unwrap();
    nodes.remove(at).kill().await;
    let state = |node: &Node| node.control.view().member(&disks[at].id()).unwrap().state;
    until("it is missed", || nodes.iter().all(|node| state(node) == MemberState::Away)).await;
    nodes.push(start(&disks[at], &[]).await.unwrap());
    until("it is back", || nodes.iter().all(|node| state(node) == MemberState::Alive)).await;
    settled(&nodes.iter().collect::<Vec<_>>(), 3).await;
    let since = Instant::now();
    until("there was time for a plan", || since.elapsed() > 3 * timing().settle).await;
    assert!(nodes.iter().all(|node| wanted(node) == before));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_leaves_gives_away_what_it_holds_its_lead_and_its_vote_and_is_gone_when_it_stops() {
    let (disks, mut nodes) = grid(3).await;
    settled(&nodes.iter().collect::<Vec<_>>(), 3).await;
    until("there is a plan", || nodes.iter().all(|node| node.control.view().moving() > 0)).await;
    moved(&nodes[0]).await;
    let at = nodes.iter().position(Node::leads).unwrap();
    let me = disks[at].id();
    nodes[at].control.propose(Command::Leave(me.clone())).await.unwrap();
    let left = |node: &Node| node.control.view().hosted(&me).len();
    until("its partitions are meant for others", || {
        let view = nodes[at].control.view();
        (0..view.partitions()).all(|n| !view.is_wanted_at(&me, PartitionId(n)))
    })
    .await;
    assert!(left(&nodes[at]) >= 2, "nothing is taken from it before others have it");
    assert!(nodes[at].control.propose(Command::Remove(me.clone())).await.is_err(), "it holds something");
    moved(&nodes[at]).await;
    until("it votes no more", || {
        nodes.iter().all(|node| {
            let decides = node.control.status();
            let votes = decides.changing || decides.voters.contains(&me);
            decides.leader.is_some_and(|leader| leader != me) && !votes
        })
    })
    .await;
    assert!(nodes.iter().all(|node| node.control.view().has_emptied(&me)), "it runs, so it is a member");
    nodes.remove(at).kill().await;
    let members = |node: &Node| node.control.view().members().count();
    until("it has left", || nodes.iter().all(|node| members(node) == 2)).await;
    nodes[0].control.propose(collection("after")).await.unwrap();
    // Its own disk does not know it yet. (Discovery says where the others are; here the test does.)
    let back = start(&disks[at], &[]).await.unwrap();
    for (disk, node) in
        disks.iter().enumerate().filter(|(number, _)| *number != at).map(|(_, d)| d).zip(&nodes)
    {
        back.control.learn_address(&disk.id(), &node.address.to_string(), 1);
    }
    tokio::time::timeout(PATIENCE, back.control.left()).await.unwrap();
    let refused = back.control.propose(collection("never")).await.unwrap_err();
    assert!(refused.to_string().contains("empty --data-dir"), "{refused}");
}

/// Kills the leader again and again; the times until another one has decided something.
async fn kill_leaders(members: usize, times: usize) -> Vec<Duration> {
    let (disks, nodes) = grid(members).await;
    let mut nodes: Vec<Option<Node>> = nodes.into_iter().map(Some).collect();
    let mut took = Vec::new();
    for round in 0..times {
        let up: Vec<&Node> = nodes.iter().flatten().collect();
        settled(&up, members).await;
        let at = nodes.iter().flatten().position(Node::leads).unwrap();
        let (term, address) = (up[at].control.status().term, up[at].address);
        nodes[at].take().unwrap().kill().await;
        let killed = Instant::now();
        let survivor = nodes.iter().flatten().next().unwrap();
        until("another one leads", || nodes.iter().flatten().any(Node::leads)).await;
        survivor.control.propose(collection(&format!("c{round}"))).await.unwrap();
        took.push(killed.elapsed());
        assert!(nodes.iter().flatten().filter(|n| n.leads()).all(|n| n.control.status().term > term));
        nodes[at] = Some(start_at(&disks[at], &[], address).await.unwrap());
    }
    took.sort_unstable();
    took
}

#[tokio::test(flavor = "multi_thread")]
async fn leaders_are_killed_again_and_again() {
    let took = kill_leaders(3, 5).await;
    assert!(took.last().is_some_and(|worst| *worst < Duration::from_secs(5)), "{took:?}");
}

/// Run it with `--ignored --nocapture`: it prints the figures.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes"]
async fn leaders_are_killed_200_times() {
    for members in [3, 5] {
        let took = kill_leaders(members, 200).await;
        let (median, worst) = (took[took.len() / 2], took[took.len() - 1]);
        println!("{members} members, leader killed {} times: median {median:?}, worst {worst:?}", took.len());
        assert!(worst < Duration::from_secs(5) && median < Duration::from_secs(2), "{took:?}");
    }
}
