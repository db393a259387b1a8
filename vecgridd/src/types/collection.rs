//! What a collection is.

use serde::{Deserialize, Serialize};

use super::{Breadth, CollectionName, Invalid, Metric, Quantization, TargetRecall, vector::MAX_DIMENSION};

/// When a write is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, Default)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// After fsync.
    #[default]
    Sync,
    /// After the write; fsync follows within a second.
    Interval,
    /// After the write; the operating system decides when it reaches the disk.
    None,
}

/// Which engine walks the graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, Default)]
pub enum EngineKind {
    /// Exact scan, always.
    #[serde(rename = "flat")]
    Flat,
    /// Our own graph, walked on compressed vectors.
    #[default]
    #[serde(rename = "native")]
    Native,
    /// The `hnsw_rs` crate.
    #[serde(rename = "hnsw_rs")]
    HnswRs,
}

/// Where full vectors and metadata are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, Default)]
#[serde(rename_all = "lowercase")]
pub enum VectorPlace {
    /// In memory.
    #[default]
    Memory,
    /// In mapped files: the operating system keeps in memory what is used, and room allows.
    Disk,
}

/// How the collection is indexed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Stored")]
pub struct IndexOptions {
    /// Engine of the collection.
    pub engine: EngineKind,
    /// Links per node, 4 to 64.
    pub m: u32,
    /// Breadth of the build at most, 16 to 2,000.
    pub ef_construction: u32,
    /// Breadth of a search that names none, 1 to 10,000; `None` = by `target_recall`.
    pub ef: Option<u32>,
    /// Recall of a search that names none; `None` = by `ef`.
    pub target_recall: Option<TargetRecall>,
    /// Where full vectors and metadata are; only `native` can have them on disk.
    pub vectors: VectorPlace,
    /// What the graph keeps of a vector; only `native` has a choice.
    pub quantization: Quantization,
}

impl Default for IndexOptions {
    fn default() -> Self {
        Self {
            engine: EngineKind::default(),
            m: 16,
            ef_construction: 200,
            ef: None,
            target_recall: Some(TargetRecall::DEFAULT),
            vectors: VectorPlace::default(),
            quantization: Quantization::default(),
        }
    }
}

impl IndexOptions {
    /// How wide a search walks that does not say.
    pub fn breadth(&self) -> Breadth {
        // Checked options have exactly one of both.
        let given = Breadth::of(self.ef.map(|ef| ef as usize), self.target_recall).unwrap_or(None);
        given.unwrap_or(Breadth::Recall(TargetRecall::DEFAULT))
    }

    /// Fills in the default target where neither a breadth nor a target is given.
    #[must_use]
    pub fn with_default_breadth(mut self) -> Self {
        if self.ef.is_none() {
            self.target_recall = self.target_recall.or(Some(TargetRecall::DEFAULT));
        }
        self
    }
}

/// Index options as they were written, by this version or an earlier one.
///
/// Before there was `target_recall` every collection had an `ef`, 96 unless its maker said otherwise. Such
/// a collection is taken for one with the defaults of today: whoever creates it again with the defaults,
/// as apps do at every start, must find it equal. The price: an `ef` of 96 that was chosen on purpose then
/// cannot be told from it.
#[derive(Deserialize)]
struct Stored {
    engine: EngineKind,
    m: u32,
    ef_construction: u32,
    ef: Option<u32>,
    /// The outer `None`: written before there was this field.
    #[serde(default, deserialize_with = "written")]
    target_recall: Option<Option<TargetRecall>>,
    #[serde(default)]
    vectors: VectorPlace,
    #[serde(default)]
    quantization: Quantization,
}

const FORMER_DEFAULT_EF: u32 = 96;

fn written<'de, D: serde::Deserializer<'de>>(field: D) -> Result<Option<Option<TargetRecall>>, D::Error> {
    Option::deserialize(field).map(Some)
}

impl From<Stored> for IndexOptions {
    fn from(stored: Stored) -> Self {
        let Stored { engine, m, ef_construction, ef, target_recall, vectors, quantization } = stored;
        let ef = ef.filter(|ef| target_recall.is_some() || *ef != FORMER_DEFAULT_EF);
        let target_recall = target_recall.flatten();
        Self { engine, m, ef_construction, ef, target_recall, vectors, quantization }.with_default_breadth()
    }
}

/// Everything that is decided when a collection is created. Equal configs are one collection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CollectionConfig {
    /// Its name.
    pub name: CollectionName,
    /// Components per vector, 1 to 4,096.
    pub dimension: u32,
    /// How distances are measured.
    pub metric: Metric,
    /// How it is indexed.
    pub index: IndexOptions,
    /// When writes are acknowledged.
    pub durability: Durability,
}

impl CollectionConfig {
    /// Checks every number.
    ///
    /// # Errors
    /// `invalid_dimension`, `invalid_index_options`, `invalid_target_recall`.
    pub fn checked(self) -> Result<Self, Invalid> {
        if self.dimension == 0 || self.dimension as usize > MAX_DIMENSION {
            let message = format!("a dimension is 1 to {MAX_DIMENSION}");
            return Err(Invalid::new("invalid_dimension", "dimension", message));
        }
        let range = |field: &str, value: u32, low: u32, high: u32| {
            if (low..=high).contains(&value) {
                return Ok(());
            }
            let message = format!("{field} is {low} to {high}, not {value}");
            Err(Invalid::new("invalid_index_options", format!("index/{field}"), message))
        };
        range("m", self.index.m, 4, 64)?;
        range("ef_construction", self.index.ef_construction, 16, 2_000)?;
        if let Some(ef) = self.index.ef {
            range("ef", ef, 1, 10_000)?;
        }
        Breadth::of(self.index.ef.map(|ef| ef as usize), self.index.target_recall)
            .map_err(|problem| problem.within("index"))?;
        if self.index.vectors == VectorPlace::Disk && self.index.engine != EngineKind::Native {
            let message = "only the engine `native` can have its vectors on disk";
            return Err(Invalid::new("invalid_index_options", "index/vectors", message));
        }
        if self.index.quantization != Quantization::default() && self.index.engine != EngineKind::Native {
            let message = "only the engine `native` has a choice: leave quantization out, or at `int8`";
            return Err(Invalid::new("invalid_index_options", "index/quantization", message));
        }
        Ok(Self { index: self.index.with_default_breadth(), ..self })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> IndexOptions {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn options_written_by_earlier_versions_are_read() {
        let former = |ef| read(&format!(r#"{{"engine":"native","m":16,"ef_construction":200,"ef":{ef}}}"#));
        assert_eq!(former(96), IndexOptions::default(), "the default of then is the default of now");
        assert_eq!(former(64).breadth(), Breadth::Ef(64));
    }

    #[test]
    fn what_was_written_is_read_back() {
        let target = TargetRecall::new(0.95).unwrap();
        for (ef, target_recall) in [(Some(96), None), (Some(7), None), (None, Some(target))] {
            let options = IndexOptions { ef, target_recall, ..IndexOptions::default() };
            assert_eq!(read(&serde_json::to_string(&options).unwrap()), options);
        }
        let options = IndexOptions { vectors: VectorPlace::Disk, ..IndexOptions::default() };
        assert_eq!(read(&serde_json::to_string(&options).unwrap()), options);
        for quantization in Quantization::ALL {
            let options = IndexOptions { quantization, ..IndexOptions::default() };
            let text = serde_json::to_string(&options).unwrap();
            assert!(text.contains(&format!("\"quantization\":\"{}\"", quantization.name())), "{text}");
            assert_eq!(read(&text), options);
            assert_eq!(Quantization::named(quantization.name()), Some(quantization));
        }
        assert_eq!(Quantization::named("int2"), None);
    }

    #[test]
    fn only_the_native_engine_has_a_choice_of_quantization() {
        let checked = |engine, quantization| {
            let index = IndexOptions { engine, quantization, ..IndexOptions::default() };
            let name = CollectionName::new("c").unwrap();
            let (metric, durability) = (Metric::Cosine, Durability::Sync);
            CollectionConfig { name, dimension: 3, metric, index, durability }.checked()
        };
        for quantization in Quantization::ALL {
            checked(EngineKind::Native, quantization).unwrap();
            for engine in [EngineKind::Flat, EngineKind::HnswRs] {
                match checked(engine, quantization) {
                    Ok(_) => assert_eq!(quantization, Quantization::Int8),
                    Err(problem) => assert_eq!(problem.code, "invalid_index_options"),
                }
            }
        }
    }
}
