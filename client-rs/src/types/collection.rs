//! Collections: what they are, and how full.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// How far apart two vectors are. Smaller is nearer, always.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Durability {
    /// After fsync.
    #[default]
    Sync,
    /// After the write; fsync follows within a second.
    Interval,
    /// After the write; the operating system decides when it reaches the disk.
    None,
}

/// Gives an enum of plain words its text form, both ways.
macro_rules! words {
    ($type:ident, $what:literal, $($word:literal => $value:ident),+) => {
        impl $type {
            /// Its word, as in REST and on the command line.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$value => $word),+ }
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl FromStr for $type {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, String> {
                match text {
                    $($word => Ok(Self::$value),)+
                    _ => Err(format!(concat!($what, " is one of: ", $($word, " "),+, "(not `{}`)"), text)),
                }
            }
        }
    };
}

words!(Metric, "a metric", "cosine" => Cosine, "euclidean" => Euclidean, "dot" => Dot);
words!(Durability, "a durability", "sync" => Sync, "interval" => Interval, "none" => None);

/// How a collection is indexed. Zero and empty mean: the daemon's default.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct IndexOptions {
    /// `native`, `hnsw_rs` or `flat`.
    pub engine: String,
    /// Links per node, 4 to 64.
    pub m: u32,
    /// Breadth of the build, 16 to 2,000.
    pub ef_construction: u32,
    /// Breadth of a search that names none, 1 to 10,000; zero = by `target_recall`.
    pub ef: u32,
    /// Recall that a search which names none reaches on average, 0.5 to 0.999; instead of `ef`.
    pub target_recall: f64,
    /// Where full vectors and metadata are: `memory` or `disk` (mapped files).
    pub vectors: String,
    /// What the graph keeps of a vector, to walk on: `int8`, `int4`, `f16`, `bf16` or `none`. Distances in answers are
    /// exact whatever it is.
    pub quantization: String,
}

/// Everything that is decided when a collection is created.
///
/// ```
/// use vecgrid_client::{CollectionConfig, Durability, Metric};
/// let config = CollectionConfig::new("films", 384).metric(Metric::Dot).durability(Durability::Interval);
/// ```
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct CollectionConfig {
    /// 1 to 128 of `A-Z a-z 0-9 _ . -`, starting with a letter, digit or `_`.
    pub name: String,
    /// Components per vector, 1 to 4,096.
    pub dimension: u32,
    /// How distances are measured.
    #[serde(default)]
    pub metric: Metric,
    /// How it is indexed.
    #[serde(default)]
    pub index: IndexOptions,
    /// When writes are acknowledged.
    #[serde(default)]
    pub durability: Durability,
}

impl CollectionConfig {
    /// A collection with the daemon's defaults: cosine, `native`, acknowledged after fsync.
    pub fn new(name: impl Into<String>, dimension: u32) -> Self {
        Self { name: name.into(), dimension, ..Self::default() }
    }

    /// How distances are measured.
    #[must_use]
    pub fn metric(mut self, metric: Metric) -> Self {
        self.metric = metric;
        self
    }

    /// When writes are acknowledged.
    #[must_use]
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// How it is indexed.
    #[must_use]
    pub fn index(mut self, index: IndexOptions) -> Self {
        self.index = index;
        self
    }

    /// Recall that a search which names no breadth reaches on average, 0.5 to 0.999.
    #[must_use]
    pub fn target_recall(mut self, target: f64) -> Self {
        (self.index.ef, self.index.target_recall) = (0, target);
        self
    }

    /// What the graph keeps of a vector: `int8`, `int4`, `f16`, `bf16` or `none`.
    #[must_use]
    pub fn quantization(mut self, quantization: impl Into<String>) -> Self {
        self.index.quantization = quantization.into();
        self
    }

    /// The engine alone; the other index options stay.
    #[must_use]
    pub fn engine(mut self, engine: impl Into<String>) -> Self {
        self.index.engine = engine.into();
        self
    }
}

/// What came of creating a collection.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Created {
    /// With the defaults filled in.
    pub config: CollectionConfig,
    /// False when an equal one existed.
    pub created: bool,
}

/// A collection and how full it is.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct CollectionInfo {
    /// As created.
    #[serde(flatten)]
    pub config: CollectionConfig,
    /// Live entries.
    pub count: u64,
    /// Of these, linked into the graph; the rest is scanned exactly.
    pub indexed: u64,
    /// Memory of the index.
    pub index_bytes: u64,
    /// Breadth of a walk for ten hits that names none; zero without a graph.
    pub search_ef: u32,
    /// Entries in the graph when it was last measured which breadth reaches which recall; zero = not yet.
    pub calibrated_rows: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_go_both_ways() {
        for metric in [Metric::Cosine, Metric::Euclidean, Metric::Dot] {
            assert_eq!(metric.as_str().parse(), Ok(metric));
            assert_eq!(serde_json::to_value(metric).unwrap(), metric.as_str());
        }
        for durability in [Durability::Sync, Durability::Interval, Durability::None] {
            assert_eq!(durability.as_str().parse(), Ok(durability));
        }
        assert!("Cosine".parse::<Metric>().unwrap_err().contains("cosine"));
    }
}
