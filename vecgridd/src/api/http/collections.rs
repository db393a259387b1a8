//! Collections over REST: create, get, list, drop.

use std::sync::Arc;

use axum::{extract::State, response::Response};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    answer,
    body::JsonBody,
    extract::{CollectionPath, Context},
    problem::Problem,
};
use crate::{
    api::{door::Door, error::ApiError},
    service::{CollectionDraft, CollectionInfo, ServiceError},
    types::{
        CollectionConfig, Durability, EngineKind, IndexOptions, Invalid, Metric, Quantization, TargetRecall,
        VectorPlace,
    },
};

/// How distances are measured; smaller is nearer.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum MetricName {
    /// `1 - cos(a, b)`.
    #[default]
    Cosine,
    /// L2 distance.
    Euclidean,
    /// `-(a·b)`.
    Dot,
}

/// When a write is acknowledged.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum DurabilityName {
    /// After fsync.
    #[default]
    Sync,
    /// After the write; fsync follows within a second.
    Interval,
    /// After the write.
    None,
}

/// Which engine walks the graph.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, ToSchema)]
enum EngineName {
    /// Our own graph, walked on compressed vectors.
    #[default]
    #[serde(rename = "native")]
    Native,
    /// The graph of the crate of that name.
    #[serde(rename = "hnsw_rs")]
    HnswRs,
    /// Exact scan, always.
    #[serde(rename = "flat")]
    Flat,
}

/// Where full vectors and metadata are.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = VectorPlace)]
enum VectorPlaceName {
    /// In memory.
    Memory,
    /// In mapped files.
    Disk,
}

/// What the graph keeps of a vector, to walk on. Distances in answers are exact whatever it is.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = Quantization)]
enum QuantizationName {
    /// Numbers with a scale per vector, and 1 bit from 65 components on. Numbers of 8 bits up to 192 components; beyond, of 4.
    Int8,
    /// The same today; no more than this where `int8` will keep more.
    Int4,
    /// Floats of 16 bits, 11 of them precision.
    F16,
    /// Floats of 16 bits, 8 of them precision.
    Bf16,
    /// The components themselves.
    None,
}

/// How a collection is indexed.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
#[schema(as = IndexOptions)]
struct IndexBody {
    engine: EngineName,
    /// Links per node, 4 to 64.
    m: u32,
    /// Breadth of the build, 16 to 2,000.
    ef_construction: u32,
    /// Breadth of a search that names none, 1 to 10,000; absent = by `target_recall`.
    #[serde(skip_serializing_if = "Option::is_none")]
    ef: Option<u32>,
    /// Recall that a search which names none reaches on average, 0.5 to 0.999; instead of `ef`.
    #[serde(skip_serializing_if = "Option::is_none")]
    target_recall: Option<f64>,
    /// Where full vectors and metadata are; `disk` only with the engine `native`.
    vectors: VectorPlaceName,
    /// What the graph keeps of a vector; other than `int8` only with the engine `native`.
    quantization: QuantizationName,
}

impl Default for IndexBody {
    fn default() -> Self {
        let mut body = Self::from(&IndexOptions::default());
        // What is filled in later depends on what is given.
        (body.ef, body.target_recall) = (None, None);
        body
    }
}

impl From<&IndexOptions> for IndexBody {
    fn from(options: &IndexOptions) -> Self {
        let engine = match options.engine {
            EngineKind::Flat => EngineName::Flat,
            EngineKind::Native => EngineName::Native,
            EngineKind::HnswRs => EngineName::HnswRs,
        };
        let vectors = match options.vectors {
            VectorPlace::Memory => VectorPlaceName::Memory,
            VectorPlace::Disk => VectorPlaceName::Disk,
        };
        let quantization = match options.quantization {
            Quantization::Int8 => QuantizationName::Int8,
            Quantization::Int4 => QuantizationName::Int4,
            Quantization::F16 => QuantizationName::F16,
            Quantization::Bf16 => QuantizationName::Bf16,
            Quantization::None => QuantizationName::None,
        };
        Self {
            engine,
            m: options.m,
            ef_construction: options.ef_construction,
            ef: options.ef,
            target_recall: options.target_recall.map(TargetRecall::share),
            vectors,
            quantization,
        }
    }
}

/// A collection to create.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CollectionInput {
    /// Components per vector, 1 to 4,096.
    dimension: u32,
    #[serde(default)]
    metric: MetricName,
    #[serde(default)]
    index: IndexBody,
    #[serde(default)]
    durability: DurabilityName,
}

impl CollectionInput {
    fn draft(self, name: String) -> Result<CollectionDraft, Invalid> {
        let target_recall = self.index.target_recall.map(TargetRecall::new).transpose();
        Ok(CollectionDraft {
            name,
            dimension: self.dimension,
            metric: match self.metric {
                MetricName::Cosine => Metric::Cosine,
                MetricName::Euclidean => Metric::Euclidean,
                MetricName::Dot => Metric::Dot,
            },
            index: IndexOptions {
                engine: match self.index.engine {
                    EngineName::Flat => EngineKind::Flat,
                    EngineName::Native => EngineKind::Native,
                    EngineName::HnswRs => EngineKind::HnswRs,
                },
                m: self.index.m,
                ef_construction: self.index.ef_construction,
                ef: self.index.ef,
                target_recall: target_recall.map_err(|problem| problem.within("index"))?,
                vectors: match self.index.vectors {
                    VectorPlaceName::Memory => VectorPlace::Memory,
                    VectorPlaceName::Disk => VectorPlace::Disk,
                },
                quantization: match self.index.quantization {
                    QuantizationName::Int8 => Quantization::Int8,
                    QuantizationName::Int4 => Quantization::Int4,
                    QuantizationName::F16 => Quantization::F16,
                    QuantizationName::Bf16 => Quantization::Bf16,
                    QuantizationName::None => Quantization::None,
                },
            },
            durability: match self.durability {
                DurabilityName::Sync => Durability::Sync,
                DurabilityName::Interval => Durability::Interval,
                DurabilityName::None => Durability::None,
            },
        })
    }
}

/// A collection, with defaults filled in.
#[derive(Debug, Serialize, ToSchema)]
struct CollectionBody {
    name: String,
    dimension: u32,
    metric: MetricName,
    index: IndexBody,
    durability: DurabilityName,
}

impl From<&CollectionConfig> for CollectionBody {
    fn from(config: &CollectionConfig) -> Self {
        Self {
            name: config.name.as_str().to_owned(),
            dimension: config.dimension,
            metric: match config.metric {
                Metric::Cosine => MetricName::Cosine,
                Metric::Euclidean => MetricName::Euclidean,
                Metric::Dot => MetricName::Dot,
            },
            index: (&config.index).into(),
            durability: match config.durability {
                Durability::Sync => DurabilityName::Sync,
                Durability::Interval => DurabilityName::Interval,
                Durability::None => DurabilityName::None,
            },
        }
    }
}

/// A collection and how full it is.
#[derive(Debug, Serialize, ToSchema)]
struct CollectionInfoBody {
    #[serde(flatten)]
    config: CollectionBody,
    /// Live entries.
    count: u64,
    /// Of these, linked into the graph; the rest is scanned exactly.
    indexed: u64,
    /// Memory of the index.
    index_bytes: u64,
    /// Breadth of a walk for ten hits that names none; 0 without a graph.
    search_ef: u32,
    /// Entries in the graph when it was last measured which breadth reaches which recall; 0 = not yet.
    calibrated_rows: u64,
}

impl From<&CollectionInfo> for CollectionInfoBody {
    fn from(info: &CollectionInfo) -> Self {
        Self {
            config: (&info.config).into(),
            count: info.count,
            indexed: info.indexed,
            index_bytes: info.index_bytes,
            search_ef: info.search_ef,
            calibrated_rows: info.calibrated_rows,
        }
    }
}

/// All collections, by name.
#[derive(Debug, Serialize, ToSchema)]
struct CollectionsBody {
    collections: Vec<CollectionInfoBody>,
}

/// Whether there was one.
#[derive(Debug, Serialize, ToSchema)]
struct DroppedBody {
    dropped: bool,
}

/// Creates a collection. Creating an equal one again is not an error.
#[utoipa::path(
    put, path = "/v1/collections/{collection}", tag = "collections", operation_id = "create_collection",
    params(("collection" = String, Path, description = "1 to 128 of A-Z a-z 0-9 _ . -, not starting with . or -")),
    request_body = CollectionInput,
    responses(
        (status = 201, description = "Created", body = CollectionBody),
        (status = 200, description = "An equal one exists", body = CollectionBody),
        (status = 409, description = "A different one exists", body = Problem, content_type = "application/problem+json"),
        (status = "default", description = "Failed", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn create(
    State(door): State<Arc<Door>>,
    Context(ctx): Context,
    CollectionPath(name): CollectionPath,
    JsonBody(input): JsonBody<CollectionInput>,
) -> Result<Response, ApiError> {
    let (config, created) =
        door.service()?.create_collection(&ctx, input.draft(name).map_err(ServiceError::from)?).await?;
    let status = if created { StatusCode::CREATED } else { StatusCode::OK };
    answer::json(&door, status, &CollectionBody::from(&config))
}

/// One collection.
#[utoipa::path(
    get, path = "/v1/collections/{collection}", tag = "collections", operation_id = "get_collection",
    params(("collection" = String, Path, description = "Name of the collection")),
    responses(
        (status = 200, description = "Found", body = CollectionInfoBody),
        (status = 404, description = "No such collection", body = Problem, content_type = "application/problem+json"),
        (status = "default", description = "Failed", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn get(
    State(door): State<Arc<Door>>,
    Context(ctx): Context,
    CollectionPath(name): CollectionPath,
) -> Result<Response, ApiError> {
    let info = door.service()?.get_collection(&ctx, &name).await?;
    answer::json(&door, StatusCode::OK, &CollectionInfoBody::from(&info))
}

/// All collections.
#[utoipa::path(
    get, path = "/v1/collections", tag = "collections", operation_id = "list_collections",
    responses(
        (status = 200, description = "All collections, by name", body = CollectionsBody),
        (status = "default", description = "Failed", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn list(State(door): State<Arc<Door>>, Context(ctx): Context) -> Result<Response, ApiError> {
    let collections = door.service()?.list_collections(&ctx).await?;
    let body = CollectionsBody { collections: collections.iter().map(CollectionInfoBody::from).collect() };
    answer::json(&door, StatusCode::OK, &body)
}

/// Drops a collection with all its entries. Dropping one that does not exist answers false.
#[utoipa::path(
    delete, path = "/v1/collections/{collection}", tag = "collections", operation_id = "drop_collection",
    params(("collection" = String, Path, description = "Name of the collection")),
    responses(
        (status = 200, description = "There is none of this name now", body = DroppedBody),
        (status = "default", description = "Failed", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn drop(
    State(door): State<Arc<Door>>,
    Context(ctx): Context,
    CollectionPath(name): CollectionPath,
) -> Result<Response, ApiError> {
    let dropped = door.service()?.drop_collection(&ctx, &name).await?;
    answer::json(&door, StatusCode::OK, &DroppedBody { dropped })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_those_of_the_types() {
        let input: CollectionInput = serde_json::from_str(r#"{"dimension":3,"index":{"m":32}}"#).unwrap();
        let config = input.draft("docs".to_owned()).unwrap().check().unwrap();
        assert_eq!(config.index, IndexOptions { m: 32, ..IndexOptions::default() });
        assert_eq!((config.metric, config.durability), (Metric::default(), Durability::default()));
        let text = serde_json::to_string(&CollectionBody::from(&config)).unwrap();
        let want = r#"{"name":"docs","dimension":3,"metric":"cosine","index":{"engine":"native","m":32,"ef_construction":200,"target_recall":0.99,"vectors":"memory","quantization":"int8"},"durability":"sync"}"#;
        assert_eq!(text, want);
    }

    #[test]
    fn unknown_fields_are_refused_at_every_depth() {
        let parse = |text: &str| serde_json::from_str::<CollectionInput>(text);
        assert!(parse(r#"{"dimension":3,"dim":3}"#).is_err());
        assert!(parse(r#"{"dimension":3,"index":{"links":3}}"#).is_err());
        assert!(parse(r#"{"dimension":3,"metric":"manhattan"}"#).is_err());
        let unknown = parse(r#"{"dimension":3,"index":{"quantization":"int2"}}"#).unwrap_err().to_string();
        assert!(unknown.contains("`int8`, `int4`, `f16`, `bf16`, `none`"), "{unknown}");
    }
}
