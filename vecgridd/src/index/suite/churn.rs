//! Rows that come, change and go, also while others look.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use proptest::prelude::*;
use serde_json::json;

use super::{
    super::PartitionSet,
    world::{ENGINES, Numbers, PARTITIONS, World, config, filter, step},
};
use crate::types::{Metric, Query};

fn all() -> PartitionSet {
    PartitionSet::all(PARTITIONS)
}

#[test]
fn a_write_is_found_and_a_delete_is_not_at_once() {
    for engine in ENGINES {
        let mut world = World::filled(config(engine, Metric::Euclidean, 8), 2_000, 21);
        assert!(world.index.wait_built());
        let far = vec![50.0; 8];
        for number in [5, 1_999, 2_000] {
            world.put(vec![(number, json!({}), Some(far.clone()))]);
            let query = world.query(far.clone(), 1);
            assert_eq!(world.index.view().search(&query, &all()).unwrap()[0].id.as_str(), number.to_string());
            world.delete([number]);
            assert_ne!(world.index.view().search(&query, &all()).unwrap()[0].distance, 0.0);
            world.delete([number]);
        }
        world.check(None, &all());
    }
}

#[test]
fn changes_of_one_batch_take_effect_in_order_and_together() {
    for engine in ENGINES {
        let mut world = World::new(config(engine, Metric::Euclidean, 2));
        let old = world.index.view();
        let row = |n: u64, x: f32| (n, json!({ "x": x }), Some(vec![x, x]));
        world.put(vec![row(1, 1.0), row(2, 2.0), row(1, 3.0), row(1, 4.0)]);
        world.check(None, &all());
        assert_eq!(old.count(None, &all()), 0, "an old view stays as it was");
        let hits = world.index.view().search(&world.query(vec![1.0, 1.0], 9), &all()).unwrap();
        assert_eq!(hits.iter().map(|h| h.id.as_str()).collect::<Vec<_>>(), ["2", "1"]);
        let old = world.index.view();
        world.delete([1, 1, 2, 3]);
        world.check(None, &all());
        assert_eq!(old.search(&world.query(vec![1.0, 1.0], 9), &all()).unwrap(), hits);
    }
}

#[test]
fn after_replacing_every_row_recall_and_memory_are_as_new() {
    for engine in ENGINES {
        let config = config(engine, Metric::Cosine, 16);
        let mut world = World::filled(config.clone(), 4_000, 22);
        assert!(world.index.wait_built());
        let mut numbers = Numbers(23);
        for batch in 0..40 {
            world.put(
                (0..100).map(|n| (batch * 100 + n, json!({ "n": n }), Some(numbers.vector(16)))).collect(),
            );
            if batch % 8 == 0 {
                // One question that does not find its cluster is two hundredths.
                let recall = world.recall(50, 10);
                println!("{engine:?}, batch {batch}: {recall:.3}");
                assert!(recall > 0.98, "{engine:?}, batch {batch}: {recall}");
            }
        }
        assert!(world.index.wait_built());
        world.check(None, &all());
        let (churned, stats) = (world.recall(100, 10), world.index.stats());
        assert!(stats.dead * 5 <= stats.live + stats.dead, "{stats:?}");
        let mut fresh = World::new(config);
        let rows: Vec<_> = world
            .rows
            .iter()
            .map(|(id, row)| (id.as_str().parse().unwrap(), row.fields.clone(), row.vector.clone()))
            .collect();
        rows.chunks(500).for_each(|batch| fresh.put(batch.to_vec()));
        assert!(fresh.index.wait_built());
        let unchurned = fresh.recall(100, 10);
        println!("{engine:?}: {churned:.3}, fresh {unchurned:.3}");
        assert!(churned >= unchurned - 0.02, "{engine:?}: {churned}, fresh {unchurned}");
        let (now, new) = (stats.bytes.total(), fresh.index.stats().bytes.total());
        assert!(now as f64 <= new as f64 * 1.3, "{engine:?}: {now} bytes, fresh {new}");
    }
}

#[test]
fn memory_comes_back_when_most_rows_are_deleted() {
    for engine in ENGINES {
        let mut world = World::filled(config(engine, Metric::Dot, 8), 5_000, 24);
        assert!(world.index.wait_built());
        world.delete(100..5_000);
        assert!(world.index.wait_built());
        let stats = world.index.stats();
        assert_eq!((stats.live, stats.dead, stats.indexed, stats.tail), (100, 0, 0, 0));
        assert_eq!(stats.bytes.vectors, 100 * 8 * 4);
        world.check(None, &all());
        world.put((0..3_000).map(|n| (n, json!({}), Some(Numbers(n).vector(8)))).collect());
        assert!(world.index.wait_built());
        world.check(None, &all());
        assert!(world.recall(20, 10) > 0.8);
    }
}

/// Every row is replaced in every batch, so each view must show one round, whole.
#[test]
fn searches_see_every_row_exactly_once_while_all_are_replaced() {
    const ROWS: usize = 1_500;
    for engine in ENGINES {
        let mut world = World::new(config(engine, Metric::Euclidean, 8));
        let mut numbers = Numbers(25);
        let mut replace_all = |world: &mut World, round: u64| {
            world.put(
                (0..ROWS as u64).map(|n| (n, json!({ "round": round }), Some(numbers.vector(8)))).collect(),
            );
        };
        replace_all(&mut world, 0);
        let query = |k| Query { ef: Some(5), include_metadata: true, ..world.query(vec![0.1; 8], k) };
        let (wide, narrow) = (query(ROWS), query(5));
        let (index, done, looks) = (Arc::clone(&world.index), AtomicBool::new(false), AtomicUsize::new(0));
        let look = || {
            let view = index.view();
            let seen = |query| {
                let hits = view.search(query, &all()).unwrap();
                let ids: HashSet<_> = hits.iter().map(|hit| hit.id.clone()).collect();
                let rounds: HashSet<_> =
                    hits.iter().map(|hit| hit.metadata.as_ref().unwrap().to_json()).collect();
                assert_eq!((hits.len(), ids.len(), rounds.len()), (query.k, query.k, 1));
                rounds
            };
            assert_eq!(seen(&wide), seen(&narrow));
            assert_eq!(view.count(None, &all()), ROWS as u64);
            looks.fetch_add(1, Relaxed);
        };
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    while !done.load(Relaxed) {
                        look();
                    }
                });
            }
            for round in 1..40 {
                replace_all(&mut world, round);
                // Readers that panicked would never get here.
                let patience = Instant::now() + Duration::from_secs(30);
                while looks.load(Relaxed) < round as usize && Instant::now() < patience {
                    std::thread::yield_now();
                }
            }
            done.store(true, Relaxed);
        });
        assert!(world.index.wait_built());
        world.check(None, &all());
        let stats = world.index.stats();
        assert!(
            stats.tail == 0 && (stats.dead < 1_024 || stats.dead * 5 <= stats.dead + stats.live),
            "{stats:?}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn whatever_happens_the_index_holds_the_rows(steps in prop::collection::vec(step(), 1..24), engine in prop::sample::select(&ENGINES[..])) {
        let mut world = World::new(config(engine, Metric::Euclidean, 3));
        let mut numbers = Numbers(31);
        for step in steps {
            world.take(step, &mut numbers);
            world.check(filter(json!({"n": {"$lt": numbers.below(900)}})), &all());
            let mut query = world.query(numbers.vector(3), 1 + numbers.below(20) as usize);
            query.ef = Some(8);
            world.search(&world.index.view(), &query, &all());
            query.exact = true;
            world.search(&world.index.view(), &query, &all());
        }
        assert!(world.index.wait_built());
        world.check(None, &all());
    }
}
