//! Copies that differ on purpose: found, told, and mended; and copies that do not, while they are written.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures::{
    FutureExt,
    future::{BoxFuture, join_all},
};

use super::*;
use crate::{
    index::Change,
    partition::{
        applier::{open_digest, seal_digest},
        copies_world::{KEPT, PARTITIONS, PATIENCE, World, id},
    },
    storage::{
        Batch, Family,
        keys::{digest, row},
    },
    types::{Entry, EntryId, Metadata, Version},
};

const FIRST: PartitionId = PartitionId(0);
const COLLECTION: CollectionId = CollectionId(1);

/// Asks without a wire.
#[derive(Clone, Default)]
struct Direct(Arc<Mutex<BTreeMap<MemberId, Verifier>>>);

impl Others for Direct {
    fn ask(
        &self,
        member: MemberId,
        partition: PartitionId,
        question: Question,
    ) -> BoxFuture<'static, Option<Answer>> {
        let asked = self.0.lock().unwrap().get(&member).cloned();
        async move {
            // As it would be on the way.
            let question = serde_json::from_slice(&serde_json::to_vec(&question).unwrap()).unwrap();
            let answer = asked?.answer(partition, question).await?;
            Some(serde_json::from_slice(&serde_json::to_vec(&answer).unwrap()).unwrap())
        }
        .boxed()
    }
}

/// Every partition at `a`, with a copy at `b`, and some rows.
struct Two {
    world: World,
    direct: Direct,
}

impl Two {
    async fn new() -> Self {
        let world = World::new(&["a", "b"], KEPT);
        for partition in 0..PARTITIONS {
            world.want(partition, "a", &["b"]);
        }
        for partition in 0..PARTITIONS {
            world.held(partition, "a", &["a", "b"]).await;
        }
        let mut writer = world.writer(1);
        for _ in 0..120 {
            writer.write().await;
        }
        world.quiet().await;
        let two = Self { world, direct: Direct::default() };
        two.meet("a");
        two.meet("b");
        two
    }

    /// A member can be asked.
    fn meet(&self, name: &str) {
        let member = &self.world.members[&id(name)];
        let running = member.running.as_ref().unwrap();
        let verifier = Verifier::new(VerifierParts {
            member: id(name),
            engine: member.engine.clone(),
            hosts: self.world.hosts(&id(name)),
            looker: running.looker.clone(),
            view: self.world.between.view.subscribe(),
            others: Arc::new(self.direct.clone()),
            metrics: Arc::new(Metrics::new("0", "test").unwrap()),
        });
        self.direct.0.lock().unwrap().insert(id(name), verifier);
    }

    fn verifier(&self, name: &str) -> Verifier {
        self.direct.0.lock().unwrap()[&id(name)].clone()
    }

    async fn verify(&self, partition: PartitionId) -> Findings {
        self.verifier("a").verify(partition, QUICKLY).await.expect("a leads")
    }

    fn epoch(&self) -> u64 {
        self.world.between.view.borrow().partition(FIRST).epoch
    }

    /// The copy at `b` was taken out and is back.
    async fn retaken(&self, before: u64) {
        let mut view = self.world.between.view.subscribe();
        let back = view.wait_for(|view| {
            let placement = view.partition(FIRST);
            placement.epoch > before && placement.in_sync.len() == 2
        });
        assert!(tokio::time::timeout(PATIENCE, back).await.is_ok(), "the copy is taken anew");
        self.world.quiet().await;
        assert_equal(&self.verify(FIRST).await);
        self.world.check().await;
    }

    fn some_row(&self, name: &str) -> (EntryId, Version) {
        let rows = self.world.members[&id(name)].rows(FIRST);
        let (id, version) = rows.into_iter().next().unwrap();
        (EntryId::new(&id).unwrap(), version)
    }

    fn change(&self, name: &str, change: impl FnOnce(&mut Batch)) {
        let mut batch = Batch::default();
        change(&mut batch);
        self.world.members[&id(name)].engine.commit(&batch, true).unwrap();
    }
}

fn assert_equal(findings: &Findings) {
    assert!(!findings.differs(), "{findings:?}");
    assert!(findings.copies.iter().all(|copy| copy.unverified.is_none()), "{findings:?}");
}

fn whats(copy: &CopyVerdict) -> Vec<What> {
    let mut whats: Vec<What> = copy.differences.iter().map(|found| found.what).collect();
    whats.sort_unstable();
    whats.dedup();
    whats
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_that_a_copy_lost_is_found_and_the_copy_is_taken_anew() {
    let two = Two::new().await;
    for partition in (0..PARTITIONS).map(PartitionId) {
        let findings = two.verify(partition).await;
        assert_equal(&findings);
        assert_eq!(findings.copies[0].rows, findings.copies[1].rows);
    }
    assert!(two.verifier("a").age().is_some(), "all were compared");
    let (lost, _) = two.some_row("b");
    let epoch = two.epoch();
    two.change("b", |batch| batch.delete(Family::Partition(FIRST), row::key(COLLECTION, &lost)));
    let findings = two.verify(FIRST).await;
    assert!(findings.copies[0].differences.is_empty(), "{findings:?}");
    assert_eq!(whats(&findings.copies[1]), [What::Rows, What::Index], "{findings:?}");
    assert_eq!(findings.copies[1].rows + 1, findings.copies[0].rows);
    let named = findings.copies[1].differences.iter().any(|found| found.ids == [lost.as_str()]);
    assert!(named, "{findings:?}");
    two.retaken(epoch).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_that_came_back_from_the_dead_is_found_by_digests_alone() {
    let mut two = Two::new().await;
    two.direct.0.lock().unwrap().clear();
    let between = Arc::clone(&two.world.between);
    let retention = two.world.retention;
    two.world.members.get_mut(&id("b")).unwrap().crash(&between).await;
    // As if the copy had never heard of a delete: sound in itself.
    let ghost = Entry { id: EntryId::new("ghost").unwrap(), vector: None, metadata: Metadata::default() };
    let version = Version { epoch: 1, sequence: 1 };
    let family = Family::Partition(FIRST);
    let stored = two.world.members[&id("b")].engine.get(family, &digest::key(COLLECTION)).unwrap();
    let mut all = stored.map(|bytes| open_digest(FIRST, &bytes).unwrap()).unwrap_or_default();
    all.add("ghost", version);
    two.change("b", |batch| {
        batch.put(family, row::key(COLLECTION, &ghost.id), row::encode(&ghost, version));
        batch.put(family, digest::key(COLLECTION), seal_digest(all));
    });
    two.world.members.get_mut(&id("b")).unwrap().start(&between, retention);
    // It hears with the next write how far its log is committed.
    let mut writer = two.world.writer(2);
    for _ in 0..8 {
        writer.write().await;
    }
    two.world.quiet().await;
    two.meet("a");
    two.meet("b");
    assert!(two.verifier("a").compare_digests(FIRST).await);
    assert!(!two.verifier("a").compare_digests(PartitionId(1)).await);
    let epoch = two.epoch();
    let findings = two.verify(FIRST).await;
    assert!(findings.copies[0].differences.is_empty(), "{findings:?}");
    let [found] = &findings.copies[1].differences[..] else { panic!("{findings:?}") };
    assert_eq!((found.what, found.rows, &found.ids[..]), (What::Copy, 1, &["ghost".to_owned()][..]));
    two.retaken(epoch).await;
    assert!(!two.world.members[&id("b")].rows(FIRST).contains_key("ghost"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_content_under_the_same_version_is_found() {
    let two = Two::new().await;
    let (changed, version) = two.some_row("b");
    let entry = Entry { id: changed.clone(), vector: None, metadata: Metadata::default() };
    let epoch = two.epoch();
    two.change("b", |batch| {
        let key = row::key(COLLECTION, &changed);
        batch.put(Family::Partition(FIRST), key, row::encode(&entry, version));
    });
    assert!(!two.verifier("a").compare_digests(FIRST).await, "digests do not see it");
    let findings = two.verify(FIRST).await;
    let [found] = &findings.copies[1].differences[..] else { panic!("{findings:?}") };
    assert_eq!((found.what, &found.ids[..]), (What::Content, &[changed.as_str().to_owned()][..]));
    two.retaken(epoch).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_index_that_does_not_show_its_rows_is_made_equal_to_them() {
    let two = Two::new().await;
    let epoch = two.epoch();
    for (place, name) in ["a", "b"].into_iter().enumerate() {
        let (hidden, version) = two.some_row(name);
        let forget = Change::Delete { partition: FIRST, id: hidden.clone(), version };
        let running = two.world.members[&id(name)].running.as_ref().unwrap();
        running.indexes.get(COLLECTION).unwrap().apply(vec![forget]);
        let findings = two.verify(FIRST).await;
        let [found] = &findings.copies[place].differences[..] else { panic!("{findings:?}") };
        assert_eq!((found.what, &found.ids[..]), (What::Index, &[hidden.as_str().to_owned()][..]));
        assert_equal(&two.verify(FIRST).await);
    }
    // By a glance, too, and without reading rows.
    let (hidden, version) = two.some_row("b");
    let forget = Change::Delete { partition: FIRST, id: hidden, version };
    let running = two.world.members[&id("b")].running.as_ref().unwrap();
    running.indexes.get(COLLECTION).unwrap().apply(vec![forget]);
    assert_eq!(two.verifier("b").glance(FIRST).await.unwrap().index, [COLLECTION].into());
    assert!(two.verifier("b").glance(FIRST).await.unwrap().index.is_empty());
    two.world.check().await;
    assert_eq!(two.epoch(), epoch, "no copy was taken anew");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_whose_rows_are_not_sound_steps_down_and_is_taken_anew_from_the_good_copy() {
    let two = Two::new().await;
    let (lost, _) = two.some_row("a");
    let epoch = two.epoch();
    two.change("a", |batch| batch.delete(Family::Partition(FIRST), row::key(COLLECTION, &lost)));
    let findings = two.verify(FIRST).await;
    assert!(whats(&findings.copies[0]).contains(&What::Rows), "{findings:?}");
    // The other one leads, until it has brought this one level; then it is as it should be.
    let mut view = two.world.between.view.subscribe();
    let leads = view.wait_for(|view| view.partition(FIRST).epoch >= epoch + 2);
    tokio::time::timeout(PATIENCE, leads).await.unwrap().unwrap();
    two.world.held(FIRST.0, "a", &["a", "b"]).await;
    assert!(two.world.members[&id("a")].rows(FIRST).contains_key(lost.as_str()));
    assert!(two.world.members[&id("b")].rows(FIRST).contains_key(lost.as_str()), "the good copy is kept");
    assert_equal(&two.verify(FIRST).await);
    two.world.quiet().await;
    two.world.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_look_writes_nothing() {
    let two = Two::new().await;
    let engine = &two.world.members[&id("a")].engine;
    let before = engine.commits();
    for _ in 0..3 {
        assert!(two.verifier("a").glance(FIRST).await.is_some());
    }
    assert_eq!(engine.commits(), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn copies_that_are_written_all_the_time_are_compared_and_equal() {
    let two = Two::new().await;
    let stop = AtomicBool::new(false);
    let write = |n| {
        let (mut writer, stop) = (two.world.writer(n), &stop);
        async move {
            while !stop.load(Ordering::Relaxed) {
                writer.write().await;
            }
        }
    };
    let verifying = async {
        let mut compared = 0;
        for round in 0..12 {
            let partition = PartitionId(round % PARTITIONS);
            assert!(!two.verifier("a").compare_digests(partition).await);
            let findings = two.verify(partition).await;
            assert!(!findings.differs(), "{findings:?}");
            compared += usize::from(findings.copies[1].unverified.is_none());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        stop.store(true, Ordering::Relaxed);
        compared
    };
    let (_, compared) = tokio::join!(join_all((2..6).map(write)), verifying);
    assert!(compared > 0, "some were compared at one version");
    two.world.quiet().await;
    two.world.check().await;
}
