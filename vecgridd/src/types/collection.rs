//! What a collection is.

use serde::{Deserialize, Serialize};

use super::{CollectionName, Invalid, vector::MAX_DIMENSION};

/// How far apart two vectors are. Smaller is nearer, always.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, Default)]
#[serde(rename_all = "lowercase")]
pub enum Metric {
    /// `1 - cos(a, b)`, 0 to 2.
    #[default]
    Cosine,
    /// L2 distance.
    Euclidean,
    /// `-(a·b)`.
    Dot,
}

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
pub struct IndexOptions {
    /// Engine of the collection.
    pub engine: EngineKind,
    /// Links per node, 4 to 64.
    pub m: u32,
    /// Breadth of the build, 16 to 2,000.
    pub ef_construction: u32,
    /// Breadth of a search that names none, 1 to 10,000.
    pub ef: u32,
    /// Where full vectors and metadata are; only `native` can have them on disk.
    #[serde(default)]
    pub vectors: VectorPlace,
}

impl Default for IndexOptions {
    fn default() -> Self {
        Self {
            engine: EngineKind::default(),
            m: 16,
            ef_construction: 200,
            ef: 96,
            vectors: VectorPlace::default(),
        }
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
    /// `invalid_dimension`, `invalid_index_options`.
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
        range("ef", self.index.ef, 1, 10_000)?;
        if self.index.vectors == VectorPlace::Disk && self.index.engine != EngineKind::Native {
            let message = "only the engine `native` can have its vectors on disk";
            return Err(Invalid::new("invalid_index_options", "index/vectors", message));
        }
        Ok(self)
    }
}
