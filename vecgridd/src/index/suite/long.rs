//! A long random life: one writer, who knows what it wrote, and searchers beside it, while builders link and compact.
//!
//! Every write of an id has a number, and the vector is made from id and number, so a searcher knows from an answer which
//! write it saw. The writer says before each write what it begins and after it what is acknowledged. So a searcher can
//! judge an answer without stopping anybody: a hit must not be older than what was acknowledged before the search, nor
//! newer than what had begun after it.
//!
//! `VECGRID_STEPS` and `VECGRID_SEED` make it longer and other; the writer's steps are the same for one seed, how threads
//! meet is not.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    time::Instant,
};

use serde_json::json;

use super::{
    super::{CollectionIndex, IndexLimits, PartitionSet},
    world::{ENGINES, Made, Numbers, PARTITIONS, World, config, filter, limits},
};
use crate::types::{EngineKind, Metric, PartitionId, Query, SearchPlan, Vector};

const IDS: u64 = 2_000;
/// Narrow, so that a walk is less work than a scan of so few rows.
const BREADTH: usize = 12;
const DIMENSION: u32 = 8;
const SEARCHERS: u64 = 2;
/// Steps of the writer between looks at everything.
const CHECK_EVERY: u64 = 100;

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

fn all() -> PartitionSet {
    PartitionSet::all(PARTITIONS)
}

fn vector(id: u64, write: u64) -> Vec<f32> {
    Numbers(id << 32 | write).vector(DIMENSION)
}

/// Of each id the last write, and whether it put the row: `write << 1 | put`.
struct Told {
    begun: Vec<AtomicU64>,
    acknowledged: Vec<AtomicU64>,
}

impl Told {
    fn new() -> Self {
        let none = || (0..IDS).map(|_| AtomicU64::new(0)).collect();
        Self { begun: none(), acknowledged: none() }
    }

    fn acknowledged(&self) -> Vec<u64> {
        self.acknowledged.iter().map(|state| state.load(SeqCst)).collect()
    }

    fn begun(&self) -> Vec<u64> {
        self.begun.iter().map(|state| state.load(SeqCst)).collect()
    }

    /// The next write of each id, around the writing.
    fn around(&self, ids: &[u64], put: bool, write: impl FnOnce()) {
        for id in ids {
            let next = (self.begun[*id as usize].load(SeqCst) >> 1) + 1;
            self.begun[*id as usize].store(next << 1 | u64::from(put), SeqCst);
        }
        write();
        for id in ids {
            let now = self.begun[*id as usize].load(SeqCst);
            self.acknowledged[*id as usize].store(now, SeqCst);
        }
    }

    fn write_of(&self, id: u64) -> u64 {
        self.begun[id as usize].load(SeqCst) >> 1
    }
}

struct Writer {
    world: World,
    told: Arc<Told>,
    numbers: Numbers,
}

impl Writer {
    fn ids(&mut self, most: u64) -> Vec<u64> {
        let mut ids: Vec<u64> = (0..1 + self.numbers.below(most)).map(|_| self.numbers.below(IDS)).collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    fn put(&mut self, ids: &[u64]) {
        let (told, world) = (&self.told, &mut self.world);
        told.around(ids, true, || {
            let row = |id: &u64| {
                let write = told.write_of(*id);
                (*id, json!({"write": write, "n": id}), Some(vector(*id, write)))
            };
            world.put(ids.iter().map(row).collect());
        });
    }

    fn step(&mut self) {
        match self.numbers.below(1_000) {
            0..600 => {
                let ids = self.ids(40);
                self.put(&ids);
            }
            600..900 => {
                let ids = self.ids(25);
                let world = &mut self.world;
                self.told.around(&ids, false, || world.delete(ids.iter().copied()));
            }
            900..970 => {
                // Many at once, as an import does: a third of all rows is dead afterwards.
                let from = self.numbers.below(IDS / 2);
                self.put(&(from..from + IDS / 2).collect::<Vec<_>>());
            }
            970..980 => {
                let partition = self.numbers.below(u64::from(PARTITIONS));
                let gone: Vec<u64> = (0..IDS).filter(|id| id % u64::from(PARTITIONS) == partition).collect();
                let world = &mut self.world;
                self.told.around(&gone, false, || world.drop_partition(PartitionId(partition as u16)));
            }
            _ => assert!(self.world.index.wait_built()),
        }
    }

    /// Everything, against the model.
    fn check(&mut self) {
        let below = self.numbers.below(IDS);
        self.world.check(filter(json!({"n": {"$lt": below}})), &all());
        let mut query = self.world.query(self.numbers.vector(DIMENSION), 1 + self.numbers.below(30) as usize);
        self.world.search(&self.world.index.view(), &query, &all());
        query.exact = true;
        self.world.search(&self.world.index.view(), &query, &all());
    }
}

/// What a searcher saw.
#[derive(Default)]
struct Seen {
    searches: u64,
    /// Of these, answered by a graph.
    walked: u64,
    /// Of these, for a row that stood still meanwhile.
    for_known: u64,
    /// Of these, with that row first.
    found: u64,
}

impl Seen {
    fn and(self, other: Self) -> Self {
        Self {
            searches: self.searches + other.searches,
            walked: self.walked + other.walked,
            for_known: self.for_known + other.for_known,
            found: self.found + other.found,
        }
    }
}

/// One who searches while others write.
fn look(index: &CollectionIndex, told: &Told, seed: u64, done: &AtomicBool) -> Seen {
    let mut numbers = Numbers(seed);
    let mut seen = Seen::default();
    // At least once, however quick the writer is.
    while seen.searches == 0 || !done.load(SeqCst) {
        let wanted = numbers.below(IDS);
        let before = told.acknowledged();
        let state = before[wanted as usize];
        let target = vector(wanted, state >> 1);
        let query = Query {
            vector: Vector::new(target.clone(), DIMENSION as usize, Metric::Euclidean).unwrap(),
            k: 1 + numbers.below(12) as usize,
            ef: Some(BREADTH),
            target_recall: None,
            filter: None,
            exact: numbers.below(4) == 0,
            max_distance: None,
            include_metadata: true,
            include_vector: false,
            allow_partial: false,
            explain: false,
        };
        let view = index.view();
        let (hits, explain) = view.search_explained(&query, &all()).unwrap();
        let after = told.begun();

        assert_eq!(hits.len() as u64, view.count(None, &all()).min(query.k as u64), "min(k, rows)");
        assert!(hits.windows(2).all(|w| (w[0].distance, &w[0].id) < (w[1].distance, &w[1].id)), "order");
        for hit in &hits {
            let id: u64 = hit.id.as_str().parse().unwrap();
            let fields = hit.metadata.as_ref().unwrap().to_json();
            let write =
                serde_json::from_str::<serde_json::Value>(&fields).unwrap()["write"].as_u64().unwrap();
            let (old, new) = (before[id as usize], after[id as usize]);
            assert!(
                old >> 1 <= write && write <= new >> 1,
                "id {id}: write {write} is not from {old} to {new} (twice the write, and 1 for a put)"
            );
            assert!(write > old >> 1 || old & 1 == 1, "id {id} was deleted before the search");
            let exact: f32 = target.iter().zip(vector(id, write)).map(|(x, y)| (x - y).powi(2)).sum();
            assert!((hit.distance - exact.sqrt()).abs() < 1e-3, "id {id} with the vector of another write");
        }
        seen.searches += 1;
        let walked = explain.plan == SearchPlan::Walk;
        seen.walked += u64::from(walked);
        if state & 1 == 1 && after[wanted as usize] == state {
            let found = hits[0].id.as_str() == wanted.to_string() && hits[0].distance == 0.0;
            assert!(found || walked, "a search of all rows missed {wanted}");
            seen.for_known += u64::from(walked);
            seen.found += u64::from(walked && found);
        }
    }
    seen
}

fn live(engine: Made, seed: u64, steps: u64) {
    let begun = Instant::now();
    let limits = IndexLimits { build_threads: 2, ..limits() };
    let world = World::with_limits(config(engine, Metric::Euclidean, DIMENSION), limits);
    let (index, told) = (Arc::clone(&world.index), Arc::new(Told::new()));
    let mut writer = Writer { world, told: Arc::clone(&told), numbers: Numbers(seed) };
    let done = AtomicBool::new(false);
    let (compactions, seen) = std::thread::scope(|scope| {
        let searchers: Vec<_> = (0..SEARCHERS)
            .map(|number| {
                let (index, told, done) = (&index, &told, &done);
                scope.spawn(move || look(index, told, seed + 1 + number, done))
            })
            .collect();
        // Also when the writer panics: else searchers would never end.
        let end = End(&done);
        let mut dead = 0;
        let mut compactions = 0;
        for step in 1..=steps {
            writer.step();
            if step % CHECK_EVERY == 0 {
                writer.check();
            }
            let now = index.stats().dead;
            compactions += u64::from(now < dead);
            dead = now;
        }
        drop(end);
        let seen = searchers.into_iter().map(|searcher| searcher.join().unwrap());
        (compactions, seen.fold(Seen::default(), Seen::and))
    });
    assert!(index.wait_built());
    writer.check();
    let Seen { searches, walked, for_known, found } = seen;
    eprintln!(
        "{engine:?}: {steps} steps, {compactions} compactions, {searches} searches, {walked} of them walks, which found \
         {found} of {for_known} rows that stood still, {:.1} s",
        begun.elapsed().as_secs_f64()
    );
    assert_eq!(walked > 0, engine != EngineKind::Flat, "graphs are walked");
    assert!(compactions > 0, "dead rows stayed");
    assert!(found * 100 >= for_known * 95, "{found} of {for_known} rows that stood still were found");
}

struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, SeqCst);
    }
}

#[test]
fn a_long_life_with_many_writes_and_searches_holds_every_promise() {
    let (seed, steps) = (setting("VECGRID_SEED", 41), setting("VECGRID_STEPS", 1_000));
    eprintln!("VECGRID_SEED={seed} VECGRID_STEPS={steps}");
    for engine in ENGINES {
        live(engine, seed, steps);
    }
}
