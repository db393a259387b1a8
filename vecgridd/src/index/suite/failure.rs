//! Engines that fail, and builders that are slow.

use std::{
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use serde_json::json;

use super::{
    super::{
        CollectionIndex, IndexLimits, PartitionSet,
        engine::{Aim, Engine, EngineError, EngineOptions, MakeEngine, Walked},
        hnsw_rs::HnswRs,
    },
    world::{Numbers, PARTITIONS, World, config, limits},
};
use crate::types::{CollectionConfig, EngineKind, IndexOptions, Metric};

fn all() -> PartitionSet {
    PartitionSet::all(PARTITIONS)
}

fn world(make: MakeEngine, limits: IndexLimits) -> World {
    let config = config(EngineKind::HnswRs, Metric::Cosine, 8);
    let mut world = World::new(config.clone());
    world.index = Arc::new(CollectionIndex::with_engine(&config, limits, Some(make)).unwrap());
    world
}

fn fill(world: &mut World, rows: u64) {
    let mut numbers = Numbers(41);
    world.put((0..rows).map(|n| (n, json!({}), Some(numbers.vector(8)))).collect());
}

/// Panics in its first insert, and in every walk.
struct Clumsy(HnswRs, &'static AtomicUsize);

impl Engine for Clumsy {
    fn insert(&self, rows: Vec<(u32, Vec<f32>)>) -> Result<(), EngineError> {
        assert!(self.1.fetch_add(1, Relaxed) > 0, "an engine that panics");
        self.0.insert(rows)
    }

    fn walk(&self, _: &[f32], _: Aim, _: Option<&[u64]>) -> Result<Walked, EngineError> {
        Err(EngineError::Panicked("as told".to_owned()))
    }

    fn rows_per_link(&self) -> f64 {
        self.0.rows_per_link()
    }

    fn len(&self) -> usize {
        self.0.len()
    }

    fn bytes(&self) -> u64 {
        self.0.bytes()
    }
}

#[test]
fn a_failed_build_is_counted_and_tried_again_and_answers_stay_whole() {
    static INSERTS: AtomicUsize = AtomicUsize::new(0);
    fn clumsy(options: &EngineOptions) -> Result<Arc<dyn Engine>, EngineError> {
        Ok(Arc::new(Clumsy(HnswRs::new(options)?, &INSERTS)))
    }
    let mut world = world(clumsy, limits());
    fill(&mut world, 1_000);
    while world.index.stats().build_failures == 0 {
        world.index.wait_built();
    }
    assert!(!world.index.wait_built(), "not built: the builder pauses");
    assert_eq!(world.recall(10, 10), 1.0, "all is scanned");
    let started = Instant::now();
    while !world.index.wait_built() {
        assert!(started.elapsed() < Duration::from_secs(60));
        std::thread::yield_now();
    }
    let stats = world.index.stats();
    assert_eq!((stats.build_failures, stats.indexed, stats.tail), (1, 1_000, 0));
    assert_eq!(world.recall(10, 10), 1.0, "walks fail, so all is scanned");
    world.check(None, &all());
}

/// Finds only every tenth slot.
struct Forgetful(HnswRs);

impl Engine for Forgetful {
    fn insert(&self, rows: Vec<(u32, Vec<f32>)>) -> Result<(), EngineError> {
        self.0.insert(rows)
    }

    fn walk(&self, query: &[f32], aim: Aim, eligible: Option<&[u64]>) -> Result<Walked, EngineError> {
        let mut walked = self.0.walk(query, aim, eligible)?;
        walked.near.retain(|(slot, _)| slot.is_multiple_of(10));
        Ok(walked)
    }

    fn rows_per_link(&self) -> f64 {
        self.0.rows_per_link()
    }

    fn len(&self) -> usize {
        self.0.len()
    }

    fn bytes(&self) -> u64 {
        self.0.bytes()
    }
}

#[test]
fn a_walk_that_brings_too_little_is_followed_by_a_scan() {
    let mut world = world(|options| Ok(Arc::new(Forgetful(HnswRs::new(options)?))), limits());
    fill(&mut world, 2_000);
    assert!(world.index.wait_built());
    assert_eq!(world.recall(20, 10), 1.0);
}

/// Inserts nothing until the gate is open.
struct Gated(HnswRs, &'static Gate);

#[derive(Default)]
struct Gate {
    open: Mutex<bool>,
    opened: Condvar,
}

impl Gate {
    const fn new() -> Self {
        Self { open: Mutex::new(false), opened: Condvar::new() }
    }

    fn open(&self) {
        *self.open.lock().unwrap() = true;
        self.opened.notify_all();
    }

    fn pass(&self) {
        drop(self.opened.wait_while(self.open.lock().unwrap(), |open| !*open).unwrap());
    }
}

impl Engine for Gated {
    fn insert(&self, rows: Vec<(u32, Vec<f32>)>) -> Result<(), EngineError> {
        self.1.pass();
        self.0.insert(rows)
    }

    fn walk(&self, query: &[f32], aim: Aim, eligible: Option<&[u64]>) -> Result<Walked, EngineError> {
        self.0.walk(query, aim, eligible)
    }

    fn rows_per_link(&self) -> f64 {
        self.0.rows_per_link()
    }

    fn len(&self) -> usize {
        self.0.len()
    }

    fn bytes(&self) -> u64 {
        self.0.bytes()
    }
}

#[tokio::test]
async fn writers_wait_for_room_in_the_tail_and_searches_do_not() {
    static GATE: Gate = Gate::new();
    fn gated(options: &EngineOptions) -> Result<Arc<dyn Engine>, EngineError> {
        Ok(Arc::new(Gated(HnswRs::new(options)?, &GATE)))
    }
    let mut world = world(gated, IndexLimits { tail_rows: 1_000, ..limits() });
    world.index.tail_room().await;
    fill(&mut world, 1_000);
    let stats = world.index.stats();
    assert_eq!((stats.tail, stats.indexed), (1_000, 0));
    let index = Arc::clone(&world.index);
    let waiting = async move { index.tail_room().await };
    tokio::pin!(waiting);
    assert!(tokio::time::timeout(Duration::from_millis(50), &mut waiting).await.is_err(), "no room");
    assert_eq!(world.recall(5, 10), 1.0);
    GATE.open();
    tokio::time::timeout(Duration::from_secs(60), waiting)
        .await
        .expect("room after the builder has caught up");
    assert!(world.index.wait_built());
    assert_eq!(world.index.stats().tail, 0);
}

#[test]
fn dropping_an_index_stops_its_builder() {
    let mut world = World::with_limits(config(EngineKind::HnswRs, Metric::Cosine, 8), limits());
    fill(&mut world, 20_000);
    let view = world.index.view();
    let started = Instant::now();
    drop(world);
    assert!(started.elapsed() < Duration::from_secs(20));
    assert_eq!(view.count(None, &all()), 20_000, "a view outlives its index");
}

/// Each row takes long; the batch at hand would take half a minute.
#[test]
fn a_builder_stops_inside_a_batch() {
    let config = CollectionConfig {
        index: IndexOptions { ef_construction: 2_000, ..config(EngineKind::Native, Metric::Cosine, 8).index },
        ..config(EngineKind::Native, Metric::Cosine, 1_024)
    };
    let mut world = World::with_limits(config, limits());
    let mut numbers = Numbers(42);
    world.put((0..4_000).map(|n| (n, json!({}), Some(numbers.vector(1_024)))).collect());
    let begun = Instant::now();
    while world.index.stats().indexed < 1_000 {
        assert!(begun.elapsed() < Duration::from_secs(120));
        std::thread::yield_now();
    }
    let view = world.index.view();
    let query = world.query(numbers.vector(1_024), 10);
    let started = Instant::now();
    drop(world);
    let took = started.elapsed();
    assert!(took < Duration::from_millis(500), "{took:?}");
    assert_eq!(view.search(&query, &all()).unwrap().len(), 10, "what a view has is still found");
}

#[test]
fn small_collections_have_no_graph_and_no_tail() {
    let mut world = World::new(config(EngineKind::HnswRs, Metric::Cosine, 8));
    fill(&mut world, limits().small_rows as u64);
    assert!(world.index.wait_built());
    let stats = world.index.stats();
    assert_eq!((stats.indexed, stats.tail, stats.bytes.links), (0, 0, 0));
    fill(&mut world, limits().small_rows as u64 + 1);
    assert!(world.index.wait_built());
    assert_eq!(world.index.stats().indexed, limits().small_rows as u64 + 1);
}
