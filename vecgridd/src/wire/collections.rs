//! Collections on the wire: create, get, list, drop.

use vecgrid_proto::v1;

use crate::{
    service::{CollectionDraft, CollectionInfo},
    types::{
        CollectionConfig, Durability, EngineKind, IndexOptions, Invalid, Metric, Quantization, TargetRecall,
        VectorPlace,
    },
};

/// A collection to create, with protobuf's zeros replaced by the defaults.
///
/// # Errors
/// `invalid_metric`, `invalid_durability`, `invalid_index_options` for what this version does not know;
/// `invalid_target_recall`.
pub fn draft(request: v1::CreateCollectionRequest) -> Result<CollectionDraft, Invalid> {
    let config = request.config.unwrap_or_default();
    Ok(CollectionDraft {
        metric: metric(config.metric)?,
        durability: durability(config.durability)?,
        index: index(config.index.unwrap_or_default())?,
        name: config.name,
        dimension: config.dimension,
    })
}

/// Answer of create.
pub fn created(config: &CollectionConfig, created: bool) -> v1::CreateCollectionResponse {
    v1::CreateCollectionResponse { config: Some(encode(config)), created }
}

/// Answer of get, and one of list.
pub fn info(info: &CollectionInfo) -> v1::CollectionInfo {
    v1::CollectionInfo {
        config: Some(encode(&info.config)),
        count: info.count,
        indexed: info.indexed,
        index_bytes: info.index_bytes,
        search_ef: info.search_ef,
        calibrated_rows: info.calibrated_rows,
    }
}

/// Answer of list.
pub fn list(collections: &[CollectionInfo]) -> v1::ListCollectionsResponse {
    v1::ListCollectionsResponse { collections: collections.iter().map(info).collect() }
}

fn metric(number: i32) -> Result<Metric, Invalid> {
    match v1::Metric::try_from(number) {
        Ok(v1::Metric::Unspecified | v1::Metric::Cosine) => Ok(Metric::Cosine),
        Ok(v1::Metric::Euclidean) => Ok(Metric::Euclidean),
        Ok(v1::Metric::Dot) => Ok(Metric::Dot),
        Err(_) => {
            Err(Invalid::new("invalid_metric", "metric", format!("this version knows no metric {number}")))
        }
    }
}

fn durability(number: i32) -> Result<Durability, Invalid> {
    match v1::Durability::try_from(number) {
        Ok(v1::Durability::Unspecified | v1::Durability::Sync) => Ok(Durability::Sync),
        Ok(v1::Durability::Interval) => Ok(Durability::Interval),
        Ok(v1::Durability::None) => Ok(Durability::None),
        Err(_) => {
            let message = format!("this version knows no durability {number}");
            Err(Invalid::new("invalid_durability", "durability", message))
        }
    }
}

fn index(options: v1::IndexOptions) -> Result<IndexOptions, Invalid> {
    let default = IndexOptions::default();
    let or = |given: u32, default: u32| if given == 0 { default } else { given };
    Ok(IndexOptions {
        engine: match options.engine.as_str() {
            "" => default.engine,
            "native" => EngineKind::Native,
            "hnsw_rs" => EngineKind::HnswRs,
            "flat" => EngineKind::Flat,
            other => {
                let message = format!("an engine is `native`, `hnsw_rs` or `flat`, not `{other}`");
                return Err(Invalid::new("invalid_index_options", "index/engine", message));
            }
        },
        m: or(options.m, default.m),
        ef_construction: or(options.ef_construction, default.ef_construction),
        ef: (options.ef > 0).then_some(options.ef),
        target_recall: (options.target_recall != 0.0)
            .then(|| TargetRecall::new(options.target_recall))
            .transpose()
            .map_err(|problem| problem.within("index"))?,
        vectors: match options.vectors.as_str() {
            "" => default.vectors,
            "memory" => VectorPlace::Memory,
            "disk" => VectorPlace::Disk,
            other => {
                let message = format!("vectors are in `memory` or on `disk`, not in `{other}`");
                return Err(Invalid::new("invalid_index_options", "index/vectors", message));
            }
        },
        quantization: match options.quantization.as_str() {
            "" => default.quantization,
            name => Quantization::named(name).ok_or_else(|| {
                let names = Quantization::ALL.map(|kind| format!("`{}`", kind.name())).join(", ");
                let message = format!("a quantization is one of {names}, not `{name}`");
                Invalid::new("invalid_index_options", "index/quantization", message)
            })?,
        },
    })
}

fn encode(config: &CollectionConfig) -> v1::CollectionConfig {
    let engine = match config.index.engine {
        EngineKind::Flat => "flat",
        EngineKind::Native => "native",
        EngineKind::HnswRs => "hnsw_rs",
    };
    let vectors = match config.index.vectors {
        VectorPlace::Memory => "memory",
        VectorPlace::Disk => "disk",
    };
    let metric = match config.metric {
        Metric::Cosine => v1::Metric::Cosine,
        Metric::Euclidean => v1::Metric::Euclidean,
        Metric::Dot => v1::Metric::Dot,
    };
    let durability = match config.durability {
        Durability::Sync => v1::Durability::Sync,
        Durability::Interval => v1::Durability::Interval,
        Durability::None => v1::Durability::None,
    };
    v1::CollectionConfig {
        name: config.name.as_str().to_owned(),
        dimension: config.dimension,
        metric: metric.into(),
        index: Some(v1::IndexOptions {
            engine: engine.to_owned(),
            m: config.index.m,
            ef_construction: config.index.ef_construction,
            ef: config.index.ef.unwrap_or(0),
            target_recall: config.index.target_recall.map_or(0.0, TargetRecall::share),
            vectors: vectors.to_owned(),
            quantization: config.index.quantization.name().to_owned(),
        }),
        durability: durability.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_given_gets_its_default() {
        let config = v1::CollectionConfig { name: "docs".to_owned(), dimension: 3, ..Default::default() };
        let checked = draft(v1::CreateCollectionRequest { config: Some(config) }).unwrap().check().unwrap();
        assert_eq!(checked.index, IndexOptions::default());
        assert_eq!((checked.metric, checked.durability), (Metric::Cosine, Durability::Sync));
        // An answer, sent back as a request, means the same.
        let again =
            draft(v1::CreateCollectionRequest { config: Some(encode(&checked)) }).unwrap().check().unwrap();
        assert_eq!(again, checked);
    }

    #[test]
    fn unknown_numbers_and_engines_are_refused() {
        let refused = |config: v1::CollectionConfig| {
            draft(v1::CreateCollectionRequest { config: Some(config) }).unwrap_err().code
        };
        assert_eq!(refused(v1::CollectionConfig { metric: 99, ..Default::default() }), "invalid_metric");
        assert_eq!(
            refused(v1::CollectionConfig { durability: -1, ..Default::default() }),
            "invalid_durability"
        );
        let index = Some(v1::IndexOptions { engine: "annoy".to_owned(), ..Default::default() });
        assert_eq!(refused(v1::CollectionConfig { index, ..Default::default() }), "invalid_index_options");
        let index = Some(v1::IndexOptions { quantization: "int3".to_owned(), ..Default::default() });
        assert_eq!(refused(v1::CollectionConfig { index, ..Default::default() }), "invalid_index_options");
    }

    #[test]
    fn every_quantization_goes_both_ways() {
        for quantization in Quantization::ALL {
            let index =
                v1::IndexOptions { quantization: quantization.name().to_owned(), ..Default::default() };
            let config = v1::CollectionConfig {
                name: "c".to_owned(),
                dimension: 3,
                index: Some(index),
                ..Default::default()
            };
            let checked =
                draft(v1::CreateCollectionRequest { config: Some(config) }).unwrap().check().unwrap();
            assert_eq!(checked.index.quantization, quantization);
            assert_eq!(encode(&checked).index.unwrap().quantization, quantization.name());
        }
    }
}
