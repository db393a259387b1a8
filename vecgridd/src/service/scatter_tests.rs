//! Scatter and gather, among members that are closures.

use std::{
    collections::BTreeMap,
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::{sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{
    ServiceError,
    cover::{Holder, Plans, Why},
    scatter::{Gathered, Miss, Part, Router, Want},
};
use crate::{
    index::PartitionSet,
    partition::{Hosts, Role, Who},
    telemetry::Metrics,
    types::{ClusterView, Member, MemberId, MemberState, PartitionId, Placement},
};

fn id(name: &str) -> MemberId {
    MemberId(name.to_owned())
}

fn set(partitions: &[u16]) -> PartitionSet {
    partitions.iter().map(|number| PartitionId(*number)).collect()
}

/// A grid in which partition n has the n-th of `primaries`; this member is `a` and answers for its own.
struct Grid {
    table: watch::Sender<Arc<ClusterView>>,
    hosts: Hosts,
    metrics: Metrics,
    plans: Plans,
    frozen: CancellationToken,
    me: MemberId,
}

fn table(version: u64, primaries: &[&str], away: &str) -> Arc<ClusterView> {
    let mut view = ClusterView::bootstrap("g", 1, &id("a"));
    let placement = |name: &&str| Placement { epoch: 1, primary: id(name), in_sync: vec![id(name)] };
    view.table = primaries.iter().map(placement).collect();
    view.version = version;
    for name in ["a", "b", "c"] {
        let mut member = Member::new(id(name), "", name);
        member.state = if name == away { MemberState::Away } else { MemberState::Alive };
        view.members.insert(id(name), member);
    }
    Arc::new(view)
}

impl Grid {
    fn new(primaries: &[&str], away: &str) -> Self {
        let hosts = Hosts::default();
        for (number, _) in primaries.iter().enumerate().filter(|(_, name)| **name == "a") {
            hosts.answer(PartitionId(number as u16), Role::Primary);
        }
        let (table, _) = watch::channel(table(1, primaries, away));
        let metrics = Metrics::new("0", "test").unwrap();
        Self { table, hosts, metrics, plans: Plans::default(), frozen: CancellationToken::new(), me: id("a") }
    }

    fn router(&self) -> Router<'_> {
        Router {
            me: &self.me,
            table: self.table.subscribe(),
            frozen: &self.frozen,
            hosts: &self.hosts,
            acts: &|| true,
            plans: &self.plans,
            metrics: &self.metrics,
        }
    }
}

fn want(partitions: u16, limit: Duration, all: bool) -> Want {
    Want { partitions: PartitionSet::all(partitions), by: Instant::now() + limit, all, who: Who::InSync }
}

const LONG: Duration = Duration::from_secs(30);
const SHORT: Duration = Duration::from_millis(50);

type Told = Result<Part<(Holder, Vec<u16>)>, Miss>;

fn all_of(holder: &Holder, asked: &PartitionSet) -> Told {
    some_of(holder, asked, &[])
}

fn some_of(holder: &Holder, asked: &PartitionSet, elsewhere: &[u16]) -> Told {
    let done = asked.without(&set(elsewhere)).iter().map(|partition| partition.0).collect();
    Ok(Part::new((holder.clone(), done), set(elsewhere)))
}

/// Who answered for which partitions; each once.
fn answered(gathered: &Gathered<(Holder, Vec<u16>)>) -> BTreeMap<u16, Holder> {
    let mut by = BTreeMap::new();
    for (holder, partitions) in &gathered.answers {
        for partition in partitions {
            assert!(by.insert(*partition, holder.clone()).is_none(), "{partition} was answered twice");
        }
    }
    by
}

#[tokio::test]
async fn a_strong_read_that_came_without_a_lease_is_answered_when_there_is_one() {
    let grid = Grid::new(&["a", "b", "a"], "");
    let looked = AtomicUsize::new(0);
    // As while a new leader is elected.
    let acts = || looked.fetch_add(1, Relaxed) > 2;
    let router = Router { acts: &acts, ..grid.router() };
    let strong = Want { who: Who::PrimaryUnderLease, ..want(3, LONG, true) };
    let ask = |holder: Holder, set| async move { all_of(&holder, &set) };
    let gathered = router.gather(strong, ask).await.unwrap();
    let (here, b) = (Holder::Here, Holder::There(id("b")));
    assert_eq!(answered(&gathered), [(0, here.clone()), (1, b), (2, here)].into());
}

#[tokio::test]
async fn each_member_is_asked_once_and_all_at_once() {
    let grid = Grid::new(&["a", "b", "c", "b", "a"], "");
    let asked = AtomicUsize::new(0);
    // Nobody answers before all are asked.
    let together = tokio::sync::Barrier::new(3);
    let ask = |holder: Holder, set| {
        asked.fetch_add(1, Relaxed);
        let together = &together;
        async move {
            together.wait().await;
            all_of(&holder, &set)
        }
    };
    let gathered = grid.router().gather(want(5, LONG, true), ask).await.unwrap();
    assert!(gathered.missing.is_empty());
    assert_eq!((gathered.members, asked.load(Relaxed)), (3, 3));
    let b = Holder::There(id("b"));
    let by = [(0, Holder::Here), (1, b.clone()), (2, Holder::There(id("c"))), (3, b), (4, Holder::Here)];
    assert_eq!(answered(&gathered), by.into());
}

#[tokio::test]
async fn a_partition_that_has_moved_is_asked_for_alone_by_the_newer_table() {
    let grid = Grid::new(&["a", "b", "b"], "");
    let ask = |holder: Holder, asked: PartitionSet| {
        let told = match &holder {
            Holder::There(member) if *member == id("b") => {
                // Partition 2 went to c, of which this member hears a little later.
                grid.table.send_replace(table(2, &["a", "b", "c"], ""));
                some_of(&holder, &asked, &[2])
            }
            Holder::There(_) => {
                assert_eq!(asked, set(&[2]));
                all_of(&holder, &asked)
            }
            Holder::Here => all_of(&holder, &asked),
        };
        async { told }
    };
    let gathered = grid.router().gather(want(3, LONG, true), ask).await.unwrap();
    assert!(gathered.missing.is_empty() && gathered.unsure.is_empty());
    assert_eq!(answered(&gathered)[&2], Holder::There(id("c")));
}

#[tokio::test]
async fn a_partition_that_comes_to_this_member_is_answered_here() {
    let grid = Grid::new(&["a", "b"], "");
    let ask = |holder: Holder, asked: PartitionSet| {
        let told = match &holder {
            Holder::Here => all_of(&holder, &asked),
            Holder::There(_) => {
                grid.table.send_replace(table(2, &["a", "a"], ""));
                grid.hosts.answer(PartitionId(1), Role::Primary);
                Err(Miss::NotDone("gone".to_owned()))
            }
        };
        async { told }
    };
    let gathered = grid.router().gather(want(2, LONG, true), ask).await.unwrap();
    assert_eq!(answered(&gathered), [(0, Holder::Here), (1, Holder::Here)].into());
}

#[tokio::test]
async fn who_is_away_is_not_waited_for() {
    let grid = Grid::new(&["a", "b", "c"], "c");
    let ask = |holder: Holder, asked| async move { all_of(&holder, &asked) };
    let begun = Instant::now();
    for all in [true, false] {
        let gathered = grid.router().gather(want(3, LONG, all), ask).await.unwrap();
        assert_eq!(gathered.missing[&PartitionId(2)], Why::Because("c is away".to_owned()));
        if !all {
            assert_eq!(gathered.missing.len(), 1);
            assert_eq!(answered(&gathered).len(), 2);
        }
    }
    // Also when it goes away after it was asked.
    let grid = Grid::new(&["a", "b"], "");
    let asks = |holder: Holder, asked: PartitionSet| {
        let here = holder == Holder::Here;
        if !here {
            grid.table.send_replace(table(2, &["a", "b"], "b"));
        }
        async move { if here { all_of(&holder, &asked) } else { pending().await } }
    };
    let gathered = grid.router().gather(want(2, LONG, false), asks).await.unwrap();
    assert_eq!(gathered.unsure, set(&[1]), "it was asked: who knows what it did");
    assert!(begun.elapsed() < LONG);
}

#[tokio::test]
async fn at_the_deadline_there_is_what_there_is() {
    let grid = Grid::new(&["a", "b", "c"], "");
    let ask = |holder: Holder, asked: PartitionSet| async move {
        match &holder {
            Holder::There(member) if *member == id("b") => pending().await,
            Holder::There(_) => Err(Miss::NotDone("c cannot be reached".to_owned())),
            Holder::Here => all_of(&holder, &asked),
        }
    };
    let gathered = grid.router().gather(want(3, SHORT, false), ask).await.unwrap();
    assert_eq!(answered(&gathered).len(), 1);
    let missing =
        [(PartitionId(1), Why::Late), (PartitionId(2), Why::Because("c cannot be reached".to_owned()))];
    assert_eq!(gathered.missing, missing.into());
    // Only b was asked and did not say that it did nothing.
    assert_eq!(gathered.unsure, set(&[1]));
}

#[tokio::test]
async fn without_a_newer_table_nobody_waits_for_the_deadline() {
    let grid = Grid::new(&["a", "b", "c"], "");
    grid.frozen.cancel();
    // Who published tables is gone.
    let frozen = watch::channel(Arc::clone(&grid.table.borrow())).1;
    let begun = Instant::now();
    let ask = |holder: Holder, asked: PartitionSet| async move {
        match &holder {
            Holder::Here => pending().await,
            // It has moved, and where to is not known here.
            Holder::There(member) if *member == id("b") => some_of(&holder, &asked, &[1]),
            Holder::There(_) => all_of(&holder, &asked),
        }
    };
    let router = Router { table: frozen, ..grid.router() };
    let gathered = router.gather(want(3, LONG, false), ask).await.unwrap();
    assert!(begun.elapsed() < LONG / 2, "{:?}", begun.elapsed());
    assert_eq!(answered(&gathered).keys().copied().collect::<Vec<_>>(), [2]);
    // Also what was asked for here may have happened.
    assert_eq!(gathered.unsure, set(&[0, 1]));
}

#[tokio::test]
async fn what_may_have_been_done_is_asked_again_and_told() {
    let grid = Grid::new(&["b", "b"], "");
    let attempts = AtomicUsize::new(0);
    let ask = |holder: Holder, asked: PartitionSet| {
        let told = match attempts.fetch_add(1, Relaxed) {
            0 => Err(Miss::MaybeDone("the connection broke".to_owned())),
            1 => Ok(Part { overtaken: set(&[1]), ..some_of(&holder, &asked, &[1]).unwrap() }),
            _ => all_of(&holder, &asked),
        };
        async { told }
    };
    let gathered = grid.router().gather(want(2, LONG, true), ask).await.unwrap();
    assert_eq!((gathered.missing.len(), answered(&gathered).len(), attempts.load(Relaxed)), (0, 2, 3));
}

#[tokio::test]
async fn what_fails_for_good_is_not_repeated() {
    let grid = Grid::new(&["a", "b"], "");
    let ask = |holder: Holder, asked: PartitionSet| async move {
        match &holder {
            Holder::Here => all_of(&holder, &asked),
            Holder::There(_) => Err(Miss::Failed(ServiceError::Overloaded("b"))),
        }
    };
    let failed = grid.router().gather(want(2, LONG, true), ask).await;
    assert!(matches!(failed, Err(ServiceError::Overloaded(_))));
    let partial = grid.router().gather(want(2, LONG, false), ask).await.unwrap();
    assert_eq!((partial.missing.len(), answered(&partial).len()), (1, 1));
}

/// As [`table`], and `backup` is in sync everywhere.
fn with_backup(primaries: &[&str], backup: &str) -> Arc<ClusterView> {
    let mut view = ClusterView::clone(&table(1, primaries, ""));
    view.table.iter_mut().for_each(|placement| placement.in_sync.push(id(backup)));
    Arc::new(view)
}

#[tokio::test]
async fn a_read_goes_to_another_copy_when_one_gives_no_answer() {
    let grid = Grid::new(&["b", "b"], "");
    grid.table.send_replace(with_backup(&["b", "b"], "c"));
    for b_takes_long in [true, false] {
        let ask = |holder: Holder, asked: PartitionSet| async move {
            match &holder {
                Holder::There(member) if *member == id("b") && b_takes_long => pending().await,
                Holder::There(member) if *member == id("b") => Err(Miss::NotDone("gone".to_owned())),
                _ => all_of(&holder, &asked),
            }
        };
        let gathered = grid.router().gather(want(2, LONG, true), ask).await.unwrap();
        let c = Holder::There(id("c"));
        assert_eq!(answered(&gathered), [(0, c.clone()), (1, c)].into(), "{b_takes_long}");
    }
}

#[tokio::test]
async fn a_write_goes_to_its_primary_and_to_nobody_else() {
    let grid = Grid::new(&["b", "b"], "");
    grid.table.send_replace(with_backup(&["b", "b"], "c"));
    let ask = |holder: Holder, _: PartitionSet| async move {
        assert_eq!(holder, Holder::There(id("b")));
        pending::<Told>().await
    };
    let writes = Want { who: Who::Primary, ..want(2, SHORT, true) };
    let gathered = grid.router().gather(writes, ask).await.unwrap();
    assert_eq!(gathered.unsure, set(&[0, 1]));
}
