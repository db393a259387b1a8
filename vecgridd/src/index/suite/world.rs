//! The model, and an index that is kept equal to it.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::{Change, CollectionIndex, Digest, IndexLimits, PartitionSet, View, draw::splitmix64};
use crate::types::{
    CollectionConfig, CollectionName, Durability, EngineKind, Entry, EntryId, Filter, Hit, IndexOptions,
    Metadata, Metric, PartitionId, Quantization, Query, Vector, Version,
};

/// An engine, and what its graph keeps of vectors.
#[derive(Clone, Copy)]
pub struct Made(pub EngineKind, pub Quantization);

pub const ENGINES: [Made; 7] = [
    Made(EngineKind::Flat, Quantization::Int8),
    Made(EngineKind::HnswRs, Quantization::Int8),
    Made(EngineKind::Native, Quantization::Int8),
    Made(EngineKind::Native, Quantization::Int4),
    Made(EngineKind::Native, Quantization::F16),
    Made(EngineKind::Native, Quantization::Bf16),
    Made(EngineKind::Native, Quantization::None),
];

impl From<EngineKind> for Made {
    fn from(engine: EngineKind) -> Self {
        Self(engine, Quantization::default())
    }
}

impl PartialEq<EngineKind> for Made {
    fn eq(&self, engine: &EngineKind) -> bool {
        self.0 == *engine
    }
}

impl fmt::Debug for Made {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {}", self.0, self.1.name())
    }
}

pub const PARTITIONS: u16 = 8;

/// Small numbers, so that a few thousand rows have a graph, a tail and compactions.
pub fn limits() -> IndexLimits {
    IndexLimits {
        tail_rows: 2_048,
        build_threads: 1,
        small_rows: 256,
        // Only when a test says so.
        checkpoint_pause: Some(Duration::from_secs(3_600)),
        ..IndexLimits::default()
    }
}

pub fn config(made: impl Into<Made>, metric: Metric, dimension: u32) -> CollectionConfig {
    let Made(engine, quantization) = made.into();
    let ef = Some(20);
    let index = IndexOptions {
        engine,
        m: 16,
        ef_construction: 80,
        ef,
        target_recall: None,
        quantization,
        ..IndexOptions::default()
    };
    let name = CollectionName::new("c").unwrap();
    CollectionConfig { name, dimension, metric, index, durability: Durability::Sync }.checked().unwrap()
}

/// Reproducible numbers.
pub struct Numbers(pub u64);

impl Numbers {
    pub fn next(&mut self) -> u64 {
        splitmix64(&mut self.0)
    }

    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn unit(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1 << 24) as f32 * 2.0 - 1.0
    }

    /// Around one of 20 centres, as embeddings are; lengths differ.
    pub fn vector(&mut self, dimension: u32) -> Vec<f32> {
        let mut centre = Numbers(self.below(20));
        (0..dimension).map(|_| centre.unit() + 0.4 * self.unit()).collect()
    }
}

pub fn id(name: impl ToString) -> EntryId {
    EntryId::new(&name.to_string()).unwrap()
}

pub fn filter(value: Value) -> Option<Filter> {
    Some(Filter::parse(&value).unwrap())
}

#[derive(Clone)]
pub struct Row {
    pub partition: PartitionId,
    pub vector: Option<Vec<f32>>,
    pub fields: Value,
    pub version: Version,
}

pub struct World {
    pub index: Arc<CollectionIndex>,
    pub rows: BTreeMap<EntryId, Row>,
    config: CollectionConfig,
    sequence: u64,
}

/// What may happen to a world of rows 0 to 899 in three dimensions.
#[derive(Debug, Clone)]
pub enum Step {
    /// Rows, and whether each has a vector.
    Put(Vec<(u64, bool)>),
    Delete(Vec<u64>),
    DropPartition(u16),
    Wait,
}

pub fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => prop::collection::vec((0_u64..900, prop::bool::weighted(0.9)), 1..400).prop_map(Step::Put),
        3 => prop::collection::vec(0_u64..900, 1..200).prop_map(Step::Delete),
        1 => (0..PARTITIONS).prop_map(Step::DropPartition),
        1 => Just(Step::Wait),
    ]
}

impl World {
    /// Has it happen.
    pub fn take(&mut self, step: Step, numbers: &mut Numbers) {
        match step {
            Step::Put(rows) => {
                let row =
                    |(n, vector): (u64, bool)| (n, json!({ "n": n }), vector.then(|| numbers.vector(3)));
                self.put(rows.into_iter().map(row).collect());
            }
            Step::Delete(rows) => self.delete(rows),
            Step::DropPartition(partition) => self.drop_partition(PartitionId(partition)),
            Step::Wait => assert!(self.index.wait_built()),
        }
    }

    pub fn new(config: CollectionConfig) -> Self {
        Self::with_limits(config, limits())
    }

    pub fn with_limits(config: CollectionConfig, limits: IndexLimits) -> Self {
        let index = Arc::new(CollectionIndex::new(&config, limits).unwrap());
        Self { index, rows: BTreeMap::new(), config, sequence: 0 }
    }

    /// Rows `0..count` in partitions by number, with a field `n` and a vector.
    pub fn filled(config: CollectionConfig, count: u64, seed: u64) -> Self {
        let mut world = Self::new(config);
        let mut numbers = Numbers(seed);
        let rows: Vec<_> = (0..count)
            .map(|n| (n, json!({ "n": n }), Some(numbers.vector(world.config.dimension))))
            .collect();
        for batch in rows.chunks(500) {
            world.put(batch.to_vec());
        }
        world
    }

    /// Puts a batch of `(number, fields, vector)`; checks what the index says about each.
    pub fn put(&mut self, batch: Vec<(u64, Value, Option<Vec<f32>>)>) {
        self.sequence += 1;
        let version = Version { epoch: 1, sequence: self.sequence };
        let mut expected = Vec::new();
        let mut changes = Vec::new();
        for (number, fields, vector) in batch {
            let partition = PartitionId((number % u64::from(PARTITIONS)) as u16);
            let row = Row { partition, vector: vector.clone(), fields: fields.clone(), version };
            expected.push(self.rows.insert(id(number), row).is_some());
            let vector =
                vector.map(|v| Vector::new(v, self.config.dimension as usize, self.config.metric).unwrap());
            let entry = Entry { id: id(number), vector, metadata: Metadata::new(fields).unwrap() };
            changes.push(Change::Put { partition, entry, version });
        }
        assert_eq!(self.index.apply(changes), expected);
    }

    pub fn delete(&mut self, numbers: impl IntoIterator<Item = u64>) {
        self.sequence += 1;
        let mut expected = Vec::new();
        let mut changes = Vec::new();
        for number in numbers {
            expected.push(self.rows.remove(&id(number)).is_some());
            let partition = PartitionId((number % u64::from(PARTITIONS)) as u16);
            let version = Version { epoch: 1, sequence: self.sequence };
            changes.push(Change::Delete { partition, id: id(number), version });
        }
        assert_eq!(self.index.apply(changes), expected);
    }

    pub fn drop_partition(&mut self, partition: PartitionId) {
        self.rows.retain(|_, row| row.partition != partition);
        self.index.drop_partition(partition);
    }

    pub fn query(&self, vector: Vec<f32>, k: usize) -> Query {
        let vector = Vector::new(vector, self.config.dimension as usize, self.config.metric).unwrap();
        Query {
            vector,
            k,
            ef: None,
            target_recall: None,
            filter: None,
            exact: false,
            max_distance: None,
            include_metadata: false,
            include_vector: false,
            allow_partial: false,
            explain: false,
        }
    }

    fn distance(&self, a: &[f32], b: &[f32]) -> f64 {
        let dot =
            |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum::<f64>();
        match self.config.metric {
            Metric::Cosine => 1.0 - dot(a, b) / (dot(a, a).sqrt() * dot(b, b).sqrt()),
            Metric::Euclidean => {
                a.iter().zip(b).map(|(x, y)| (f64::from(*x) - f64::from(*y)).powi(2)).sum::<f64>().sqrt()
            }
            Metric::Dot => -dot(a, b),
        }
    }

    fn matching<'a>(
        &'a self,
        filter: Option<&'a Filter>,
        answer_set: &'a PartitionSet,
    ) -> impl Iterator<Item = (&'a EntryId, &'a Row)> {
        let matches = move |row: &Row| filter.is_none_or(|f| f.matches(row.fields.as_object().unwrap()));
        self.rows.iter().filter(move |(_, row)| answer_set.contains(row.partition) && matches(row))
    }

    /// Distances of all matching rows with a vector, nearest first.
    fn truth(&self, query: &Query, answer_set: &PartitionSet) -> Vec<f64> {
        let rows = self.matching(query.filter.as_ref(), answer_set);
        let distance = |vector| self.distance(query.vector.as_slice(), vector);
        let mut all: Vec<_> = rows.filter_map(|(_, row)| row.vector.as_deref().map(distance)).collect();
        all.sort_by(f64::total_cmp);
        all
    }

    /// Searches, checks all that holds for every search, and returns the recall.
    pub fn search(&self, view: &View, query: &Query, answer_set: &PartitionSet) -> f64 {
        let hits = view.search(query, answer_set).unwrap();
        let truth = self.truth(query, answer_set);
        let k = query.k.min(truth.len());
        assert_eq!(hits.len(), k, "min(k, matches)");
        assert!(
            hits.windows(2).all(|w| (w[0].distance, &w[0].id) < (w[1].distance, &w[1].id)),
            "order, no duplicates"
        );
        for hit in &hits {
            let row = &self.rows[&hit.id];
            let expected = self.distance(query.vector.as_slice(), row.vector.as_ref().unwrap());
            assert!(
                (f64::from(hit.distance) - expected).abs() < 1e-4,
                "{} instead of {expected}",
                hit.distance
            );
            assert!(answer_set.contains(row.partition));
            assert!(query.filter.as_ref().is_none_or(|f| f.matches(row.fields.as_object().unwrap())));
        }
        let Some(last) = k.checked_sub(1) else { return 1.0 };
        let near = |hit: &&Hit| f64::from(hit.distance) <= truth[last] + 1e-5;
        let recall = hits.iter().filter(near).count() as f64 / k as f64;
        if query.exact {
            assert_eq!(recall, 1.0, "an exact search");
        }
        recall
    }

    /// Mean recall of some searches.
    pub fn recall(&self, queries: u64, k: usize) -> f64 {
        let (view, all) = (self.index.view(), PartitionSet::all(PARTITIONS));
        let mut numbers = Numbers(4711);
        let one = |_| self.search(&view, &self.query(numbers.vector(self.config.dimension), k), &all);
        (0..queries).map(one).sum::<f64>() / queries as f64
    }

    /// Checks counts, ids and digests.
    pub fn check(&self, filter: Option<Filter>, answer_set: &PartitionSet) {
        let view = self.index.view();
        let expected: Vec<_> =
            self.matching(filter.as_ref(), answer_set).map(|(id, row)| (row.partition, id.clone())).collect();
        assert_eq!(view.count(filter.as_ref(), answer_set), expected.len() as u64);
        let mut found = view.matching(filter.as_ref(), answer_set);
        found.sort_by(|a, b| a.1.cmp(&b.1));
        assert_eq!(found, expected);
        let stats = self.index.stats();
        assert_eq!(stats.live, self.rows.len() as u64);
        assert_eq!(stats.with_vector, self.rows.values().filter(|row| row.vector.is_some()).count() as u64);
        for partition in (0..PARTITIONS).map(PartitionId) {
            let mut digest = Digest::default();
            for (id, row) in self.rows.iter().filter(|(_, row)| row.partition == partition) {
                digest.add(id.as_str(), row.version);
            }
            assert_eq!(self.index.digest(partition), digest, "{partition}");
        }
    }
}
