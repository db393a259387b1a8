//! Checks of answers: without bias, and in time.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::json;

use super::{
    super::{
        Answered, CheckOptions, Checker, CollectionIndex, PartitionSet, RecallStats, Searched, View,
        engine::{Aim, Engine, EngineError, EngineOptions, Walked},
        native::Native,
    },
    world::{Numbers, PARTITIONS, World, config, filter, limits},
};
use crate::types::{CollectionId, EngineKind, Explain, Hit, Metric, PartitionId, Query, SearchPlan};

const DIMENSION: u32 = 24;
const K: usize = 10;

fn all() -> PartitionSet {
    PartitionSet::all(PARTITIONS)
}

/// Does not find three slots of ten.
struct Damaged(Native);

impl Engine for Damaged {
    fn insert(&self, rows: Vec<(u32, Vec<f32>)>) -> Result<(), EngineError> {
        self.0.insert(rows)
    }

    fn walk(&self, query: &[f32], aim: Aim, eligible: Option<&[u64]>) -> Result<Walked, EngineError> {
        let mut walked = self.0.walk(query, aim, eligible)?;
        walked.near.retain(|(slot, _)| Numbers(u64::from(*slot)).below(10) >= 3);
        Ok(walked)
    }

    fn walks_filtered(&self) -> bool {
        true
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

fn world(damaged: bool) -> World {
    let config = config(EngineKind::Native, Metric::Cosine, DIMENSION);
    let mut world = World::new(config.clone());
    if damaged {
        fn make(options: &EngineOptions) -> Result<Arc<dyn Engine>, EngineError> {
            Ok(Arc::new(Damaged(Native::new(options))))
        }
        let index = CollectionIndex::with_engine(&config, limits(), Some(make));
        world.index = Arc::new(index.unwrap());
    }
    let mut numbers = Numbers(71);
    for from in (0..6_000).step_by(1_000) {
        let rows = (from..from + 1_000).map(|n| (n, json!({"n": n}), Some(numbers.vector(DIMENSION))));
        world.put(rows.collect());
    }
    assert!(world.index.wait_built());
    world
}

/// Hits of a walk, and what they missed by an exact search.
fn searched(world: &World, query: &Query) -> (Vec<Hit>, Explain, f64) {
    let view = world.index.view();
    let (hits, explain) = view.search_explained(query, &all()).unwrap();
    let truth = view.search(&Query { exact: true, ..query.clone() }, &all()).unwrap();
    let Some(last) = truth.last() else { return (hits, explain, 0.0) };
    let counting = hits.iter().filter(|hit| hit.distance <= last.distance).count();
    (hits, explain, (truth.len() - counting) as f64 / truth.len() as f64)
}

/// The module's proof, by trying every choice of two partitions of eight.
#[test]
fn an_estimate_is_right_on_average_over_all_choices() {
    let world = world(true);
    let view = world.index.view();
    let mut numbers = Numbers(72);
    let (mut answers, mut missing) = (0, 0);
    for number in 0..60 {
        let mut query = world.query(numbers.vector(DIMENSION), [1, K, 40][number % 3]);
        query.ef = Some(100);
        match number / 3 % 4 {
            1 => query.filter = filter(json!({"n": {"$lt": 3_000}})),
            2 => query.max_distance = Some(0.25),
            3 => query.filter = filter(json!({"n": {"$lt": 20}})),
            _ => {}
        }
        let (hits, _, missed) = searched(&world, &query);
        let kept: Vec<Answered> = hits.iter().map(Answered::from).collect();
        let (mut sum, mut choices) = (0.0, 0);
        for a in 0..PARTITIONS {
            for b in a + 1..PARTITIONS {
                let chosen = [a, b].into_iter().map(PartitionId).collect();
                sum += view.missed(&query, &kept, &all(), &chosen).unwrap();
                choices += 1;
            }
        }
        let mean = sum / f64::from(choices);
        assert!((mean - missed).abs() < 1e-9, "query {number}: {mean} instead of {missed}");
        answers += 1;
        missing += usize::from(missed > 0.0);
    }
    assert!(missing * 4 > answers && missing < answers, "{missing} of {answers} answers missed something");
}

/// Whole answers, and answers with equals in another order, miss nothing.
#[test]
fn nothing_is_missed_of_what_is_there() {
    let mut world = World::new(config(EngineKind::Flat, Metric::Euclidean, 2));
    world.put((0..100).map(|n| (n, json!({}), Some(vec![(n / 10) as f32, 0.0]))).collect());
    let view = world.index.view();
    for k in [5, 10, 15, 100, 200] {
        let query = world.query(vec![0.0, 0.0], k);
        let mut hits: Vec<Answered> =
            view.search(&query, &all()).unwrap().iter().map(Answered::from).collect();
        assert_eq!(view.missed(&query, &hits, &all(), &all()).unwrap(), 0.0);
        if k % 10 == 5 {
            // Another of those that are as far as the last.
            hits[k - 1].id = super::world::id(k / 10 * 10 + 9);
            assert_eq!(view.missed(&query, &hits, &all(), &all()).unwrap(), 0.0, "{k}");
        }
        let short = &hits[..hits.len() - 1];
        let missed = view.missed(&query, short, &all(), &all()).unwrap();
        assert!((missed - 1.0 / k.min(100) as f64).abs() < 1e-9, "{missed} with one hit of {k} gone");
    }
}

fn wait(what: &str, mut condition: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < Duration::from_secs(60), "in vain: {what}");
        std::thread::sleep(Duration::from_micros(100));
    }
}

fn offer(
    checker: &Checker,
    (world, collection, view): (&World, CollectionId, &Arc<View>),
    query: &Query,
    (hits, explain): (&[Hit], &Explain),
) {
    let index = Some(&world.index);
    checker.offer(Searched { collection, index, view, query, answer_set: &all(), hits, explain });
}

/// Offers the answers of some searches; the exact recall, and what was found.
fn checked(world: &World, collection: CollectionId, checker: &Checker, queries: u64) -> (f64, RecallStats) {
    let (view, mut numbers, mut sum) = (world.index.view(), Numbers(73), 0.0);
    let checks = |checker: &Checker| checker.stats(collection).first().map_or(0, |(_, stats)| stats.checks);
    let before = checks(checker);
    for number in 0..queries {
        // Wide enough for ten of what is not lost.
        let query = Query { ef: Some(40), ..world.query(numbers.vector(DIMENSION), K) };
        let (hits, explain, missed) = searched(world, &query);
        assert_eq!(explain.plan, SearchPlan::Walk);
        offer(checker, (world, collection, &view), &query, (&hits, &explain));
        sum += missed;
        // Not more than may wait.
        wait("a check", || checks(checker) > before + number);
    }
    let (k, stats) = checker.stats(collection)[0];
    assert_eq!(k, K);
    (1.0 - sum / queries as f64, stats)
}

#[test]
fn damage_is_seen_and_health_is_too() {
    let (checker, thread) = Checker::start(CheckOptions { share: 1.0, cpu: 1.0 }).unwrap();
    let (healthy, ill) = (CollectionId(1), CollectionId(2));
    for (collection, damaged) in [(healthy, false), (ill, true)] {
        let (recall, stats) = checked(&world(damaged), collection, &checker, 600);
        assert_eq!((stats.recent, stats.checks), (600, 600));
        // Three of its own standard errors, of which an interval has two on each side.
        let width = (stats.upper - stats.lower) * 0.75 + 0.005;
        assert!((stats.ratio - recall).abs() <= width, "{recall} was told as {stats:?}");
    }
    let [healthy_stats, ill_stats] = [healthy, ill].map(|collection| checker.stats(collection)[0].1);
    assert!(ill_stats.upper < 0.85 && healthy_stats.lower > 0.9, "{healthy_stats:?} {ill_stats:?}");
    checker.forget(ill);
    assert!(checker.stats(ill).is_empty() && !checker.stats(healthy).is_empty());
    drop(checker);
    thread.join().unwrap();
}

#[test]
fn what_cannot_be_checked_in_time_is_dropped() {
    // No time at all: everything waits, nothing is checked, and only so many views are held.
    let (checker, thread) = Checker::start(CheckOptions { share: 1.0, cpu: 0.0 }).unwrap();
    let (world, collection) = (world(false), CollectionId(1));
    let view = world.index.view();
    let query = world.query(Numbers(1).vector(DIMENSION), K);
    let (hits, explain, _) = searched(&world, &query);
    let held = Arc::strong_count(&view);
    for _ in 0..100 {
        offer(&checker, (&world, collection, &view), &query, (&hits, &explain));
    }
    assert!(checker.dropped() >= 100 - 16 && checker.stats(collection).is_empty());
    // Those in the queue, and the one that the thread has in hand.
    assert!(Arc::strong_count(&view) <= held + 16 + 1);
    drop(checker);
    thread.join().unwrap();
}

#[test]
fn only_a_share_is_checked_and_only_walks() {
    let (checker, thread) = Checker::start(CheckOptions { share: 0.0, cpu: 1.0 }).unwrap();
    let (world, collection) = (world(false), CollectionId(1));
    let (all_of_them, other) = Checker::start(CheckOptions { share: 1.0, cpu: 1.0 }).unwrap();
    let view = world.index.view();
    let held = Arc::strong_count(&view);
    let mut query = world.query(Numbers(1).vector(DIMENSION), K);
    let (hits, explain, _) = searched(&world, &query);
    (0..100).for_each(|_| offer(&checker, (&world, collection, &view), &query, (&hits, &explain)));
    query.exact = true;
    let (hits, explain, _) = searched(&world, &query);
    (0..100).for_each(|_| offer(&all_of_them, (&world, collection, &view), &query, (&hits, &explain)));
    assert_eq!((Arc::strong_count(&view), checker.dropped(), all_of_them.dropped()), (held, 0, 0));
    drop((checker, all_of_them));
    thread.join().unwrap();
    other.join().unwrap();
}
