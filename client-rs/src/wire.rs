//! Own types ⇄ `vecgrid.v1`.
//!
//! Vectors travel as little-endian `bytes`, metadata and filters as JSON text. Nothing is checked on
//! the way out: the daemon is the judge, and both doors of it judge alike. What comes in is checked,
//! because a wrong length would silently become a wrong vector.

use std::time::Duration;

use bytes::Bytes;
use serde_json::{Map, Value};
use vecgrid_proto::v1 as pb;

use crate::{
    CollectionConfig, CollectionInfo, Copies, Coverage, Durability, Entry, EntryError, Error, Explain,
    GridStatus, Hit, IndexOptions, Member, Metric, Move, Moves, Outcome, PartitionStatus, Result, Search,
    SearchAnswer, Step, UpsertSummary, Version, call::Effect,
};

pub(crate) fn vector_to_wire(vector: &[f32]) -> pb::Vector {
    let data: Vec<u8> = vector.iter().flat_map(|x| x.to_le_bytes()).collect();
    pb::Vector { data: Bytes::from(data), values: Vec::new() }
}

pub(crate) fn vector_from_wire(vector: pb::Vector) -> Result<Vec<f32>> {
    if vector.data.is_empty() {
        return Ok(vector.values);
    }
    if !vector.data.len().is_multiple_of(4) {
        return Err(broken("a vector's bytes are not a multiple of four"));
    }
    Ok(vector.data.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect())
}

/// A filter or metadata as text; `Null` stands for none.
pub(crate) fn json_to_wire(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => String::new(),
        Some(value) => value.to_string(),
    }
}

fn json_from_wire(text: &str) -> Result<Value> {
    if text.is_empty() {
        return Ok(Value::Object(Map::new()));
    }
    serde_json::from_str(text).map_err(|e| broken(&format!("metadata is not JSON: {e}")))
}

fn broken(what: &str) -> Error {
    // Only answers that carry data come here, and those belong to reads.
    Error::protocol(format!("the daemon's answer breaks the contract: {what}"), Effect::Read)
}

pub(crate) fn entry_to_wire(entry: &Entry) -> pb::Entry {
    pb::Entry {
        id: entry.id.clone(),
        vector: entry.vector.as_deref().map(vector_to_wire),
        metadata_json: json_to_wire(Some(&entry.metadata)),
        version: None,
    }
}

pub(crate) fn entry_from_wire(entry: pb::Entry) -> Result<Entry> {
    Ok(Entry {
        id: entry.id,
        vector: entry.vector.map(vector_from_wire).transpose()?,
        metadata: json_from_wire(&entry.metadata_json)?,
        version: entry.version.map(version_from_wire),
    })
}

fn version_from_wire(version: pb::Version) -> Version {
    Version { epoch: version.epoch, sequence: version.sequence }
}

/// A version that was not set is `0-0`: the daemon numbers from 1.
fn set_version(version: pb::Version) -> Option<Version> {
    let version = version_from_wire(version);
    (version != Version::default()).then_some(version)
}

pub(crate) fn upsert_from_wire(response: pb::UpsertResponse) -> UpsertSummary {
    UpsertSummary {
        upserted: response.upserted,
        errors: response.errors.into_iter().map(entry_error_from_wire).collect(),
        versions: response.versions.into_iter().map(set_version).collect(),
        token: response.token,
    }
}

pub(crate) fn entry_error_from_wire(error: pb::EntryError) -> EntryError {
    EntryError {
        index: error.index.into(),
        id: error.id,
        code: error.code,
        message: error.message,
        outcome: Outcome::from_wire(&error.outcome),
    }
}

pub(crate) fn config_to_wire(config: &CollectionConfig) -> pb::CollectionConfig {
    let metric = match config.metric {
        Metric::Cosine => pb::Metric::Cosine,
        Metric::Euclidean => pb::Metric::Euclidean,
        Metric::Dot => pb::Metric::Dot,
    };
    let durability = match config.durability {
        Durability::Sync => pb::Durability::Sync,
        Durability::Interval => pb::Durability::Interval,
        Durability::None => pb::Durability::None,
    };
    pb::CollectionConfig {
        name: config.name.clone(),
        dimension: config.dimension,
        metric: metric.into(),
        index: Some(pb::IndexOptions {
            engine: config.index.engine.clone(),
            m: config.index.m,
            ef_construction: config.index.ef_construction,
            ef: config.index.ef,
            target_recall: config.index.target_recall,
            vectors: config.index.vectors.clone(),
            quantization: config.index.quantization.clone(),
        }),
        durability: durability.into(),
    }
}

pub(crate) fn config_from_wire(config: Option<pb::CollectionConfig>) -> Result<CollectionConfig> {
    let config = config.ok_or_else(|| broken("a collection without its config"))?;
    let metric = match pb::Metric::try_from(config.metric) {
        Ok(pb::Metric::Unspecified | pb::Metric::Cosine) => Metric::Cosine,
        Ok(pb::Metric::Euclidean) => Metric::Euclidean,
        Ok(pb::Metric::Dot) => Metric::Dot,
        Err(_) => return Err(broken("a metric that this client does not know")),
    };
    let durability = match pb::Durability::try_from(config.durability) {
        Ok(pb::Durability::Unspecified | pb::Durability::Sync) => Durability::Sync,
        Ok(pb::Durability::Interval) => Durability::Interval,
        Ok(pb::Durability::None) => Durability::None,
        Err(_) => return Err(broken("a durability that this client does not know")),
    };
    let index = config.index.unwrap_or_default();
    Ok(CollectionConfig {
        name: config.name,
        dimension: config.dimension,
        metric,
        index: IndexOptions {
            engine: index.engine,
            m: index.m,
            ef_construction: index.ef_construction,
            ef: index.ef,
            target_recall: index.target_recall,
            vectors: index.vectors,
            quantization: index.quantization,
        },
        durability,
    })
}

pub(crate) fn info_from_wire(info: pb::CollectionInfo) -> Result<CollectionInfo> {
    Ok(CollectionInfo {
        config: config_from_wire(info.config)?,
        count: info.count,
        indexed: info.indexed,
        index_bytes: info.index_bytes,
        search_ef: info.search_ef,
        calibrated_rows: info.calibrated_rows,
    })
}

pub(crate) fn search_to_wire(search: &Search) -> pb::SearchRequest {
    pb::SearchRequest {
        collection: search.collection.clone(),
        vector: Some(vector_to_wire(&search.vector)),
        k: search.k,
        ef: search.ef,
        target_recall: search.target_recall,
        filter_json: json_to_wire(search.filter.as_ref()),
        exact: search.exact,
        max_distance: search.max_distance,
        include_metadata: search.include_metadata,
        include_vector: search.include_vector,
        allow_partial: search.allow_partial,
        explain: search.explain,
    }
}

/// `with_metadata`: whether it was asked for, since empty text on the wire may also mean `{}`.
pub(crate) fn answer_from_wire(response: pb::SearchResponse, with_metadata: bool) -> Result<SearchAnswer> {
    let hit = |hit: pb::Hit| -> Result<Hit> {
        let metadata = with_metadata.then(|| json_from_wire(&hit.metadata_json)).transpose()?;
        let vector = hit.vector.map(vector_from_wire).transpose()?;
        Ok(Hit { id: hit.id, distance: hit.distance, metadata, vector })
    };
    let coverage = response.coverage.unwrap_or_default();
    Ok(SearchAnswer {
        hits: response.hits.into_iter().map(hit).collect::<Result<_>>()?,
        coverage: Coverage { answered: coverage.answered, partitions: coverage.partitions },
        took: Duration::from_micros(response.took_us),
        explain: response.explain.map(explain_from_wire),
    })
}

fn explain_from_wire(explain: pb::Explain) -> Explain {
    let step = |step: pb::explain::Step| Step { name: step.name, took_ns: step.took_ns };
    Explain {
        plan: explain.plan,
        ef: explain.ef,
        target_recall: explain.target_recall,
        eligible: explain.eligible,
        filtered: explain.filtered,
        visited: explain.visited,
        estimated: explain.estimated,
        reranked: explain.reranked,
        tail: explain.tail,
        distances: explain.distances,
        steps: explain.steps.into_iter().map(step).collect(),
    }
}

pub(crate) fn moves_from_wire(answer: pb::MovesResponse) -> Moves {
    let one = |m: pb::Move| Move {
        partition: m.partition,
        source: m.source,
        target: m.target,
        stage: m.stage,
        sent_bytes: m.sent_bytes,
        total_bytes: m.total_bytes,
        bytes_per_second: m.bytes_per_second,
        seconds_left: m.seconds_left,
    };
    Moves { moves: answer.moves.into_iter().map(one).collect(), unanswered: answer.unanswered }
}

pub(crate) fn grid_from_wire(grid: pb::GridStatusResponse) -> GridStatus {
    let member = |m: pb::Member| Member {
        id: m.id,
        name: m.name,
        state: m.state,
        version: m.version,
        address: m.address,
        zone: m.zone,
        votes: m.votes,
        primaries: m.primaries,
        copies: m.copies,
        wanted: m.wanted,
    };
    let partition = |p: pb::PartitionStatus| PartitionStatus {
        partition: p.partition,
        epoch: p.epoch,
        primary: p.primary,
        in_sync: p.in_sync,
        state: p.state,
        sequence: p.sequence,
        wanted: p.wanted,
        moving: p.moving,
    };
    GridStatus {
        copies: Copies {
            backups: grid.backups,
            min_in_sync: grid.min_in_sync,
            under_replicated: grid.under_replicated,
        },
        grid: grid.grid,
        member: grid.member,
        grid_id: grid.grid_id,
        table_version: grid.table_version,
        leader: grid.leader,
        term: grid.term,
        members: grid.members.into_iter().map(member).collect(),
        partitions: grid.partitions.into_iter().map(partition).collect(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_entry_survives_the_wire_bit_for_bit() {
        let vector = vec![0.1_f32, -0.0, f32::MIN_POSITIVE, 1e-45, f32::MAX, 1.0 / 3.0];
        let entry =
            Entry::new("ä\u{0}/..").vector(vector.clone()).metadata(json!({"n": 9_007_199_254_740_993_u64}));
        let back = entry_from_wire(entry_to_wire(&entry)).unwrap();
        assert_eq!(back, entry);
        let bits = |v: &[f32]| v.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&back.vector.unwrap()), bits(&vector));
    }

    #[test]
    fn no_vector_and_no_metadata_are_kept_apart_from_empty_ones() {
        let wire = entry_to_wire(&Entry::new("a"));
        assert!(wire.vector.is_none() && wire.metadata_json.is_empty());
        assert_eq!(entry_from_wire(wire).unwrap().metadata, json!({}));
    }

    #[test]
    fn a_vector_of_odd_length_is_refused() {
        let odd = pb::Vector { data: Bytes::from_static(&[1, 2, 3]), values: vec![] };
        assert_eq!(vector_from_wire(odd).unwrap_err().code(), "protocol");
    }

    #[test]
    fn a_config_survives_the_wire() {
        let index = IndexOptions {
            engine: "flat".into(),
            m: 8,
            ef_construction: 100,
            target_recall: 0.95,
            vectors: "disk".into(),
            quantization: "int4".into(),
            ..IndexOptions::default()
        };
        let config =
            CollectionConfig::new("c", 7).metric(Metric::Dot).durability(Durability::None).index(index);
        assert_eq!(config_from_wire(Some(config_to_wire(&config))).unwrap(), config);
    }
}
