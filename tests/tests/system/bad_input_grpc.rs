//! Bad input over gRPC: the same list as over REST, and what only protobuf can get wrong.
//!
//! Messages are sent as bytes, so that a table can hold what no generated client would send.

use bytes::Bytes;
use prost::Message;
use serde_json::json;
use tonic::{Code, Status, transport::Channel};
use vecgrid_proto::v1 as pb;
use vecgridd_tests::{
    daemon::{Daemon, Options},
    grpc,
};

/// Small, so that a message above it is cheap.
const MESSAGE_LIMIT: usize = 8 << 20;

/// One bad request.
struct Case {
    name: String,
    method: &'static str,
    message: Vec<u8>,
    /// Any of these; empty for messages that never reach the service.
    codes: &'static [&'static str],
}

fn case(
    name: impl Into<String>,
    method: &'static str,
    message: &impl Message,
    codes: &'static [&'static str],
) -> Case {
    Case { name: name.into(), method, message: message.encode_to_vec(), codes }
}

fn raw(name: &str, method: &'static str, message: Vec<u8>) -> Case {
    Case { name: name.to_owned(), method, message, codes: &[] }
}

fn upsert(entries: Vec<pb::Entry>) -> pb::UpsertRequest {
    pb::UpsertRequest { collection: "c".into(), entries, request_id: String::new() }
}

fn good() -> pb::Entry {
    grpc::entry("x", &[1.0, 0.0, 0.0, 0.0], &json!({}))
}

fn query() -> pb::SearchRequest {
    grpc::search("c", &[1.0, 0.0, 0.0, 0.0], 10)
}

fn vectors() -> Vec<Case> {
    let bad: [(&str, &[f32], &'static [&'static str]); 9] = [
        ("NaN", &[f32::NAN, 0.0, 0.0, 1.0], &["invalid_vector"]),
        ("infinity", &[f32::INFINITY, 0.0, 0.0, 1.0], &["invalid_vector"]),
        ("negative infinity", &[0.0, f32::NEG_INFINITY, 0.0, 1.0], &["invalid_vector"]),
        ("1e30: the square overflows", &[1e30, 0.0, 0.0, 1.0], &["invalid_vector"]),
        ("a component too few", &[1.0, 0.0, 0.0], &["wrong_dimension"]),
        ("a component too many", &[1.0, 0.0, 0.0, 0.0, 0.0], &["wrong_dimension"]),
        ("no components", &[], &["wrong_dimension"]),
        ("zero under cosine", &[0.0, 0.0, 0.0, 0.0], &["zero_vector"]),
        ("negative zero under cosine", &[-0.0, 0.0, 0.0, 0.0], &["zero_vector"]),
    ];
    let mut cases = Vec::new();
    for (name, components, codes) in bad {
        let as_values = pb::Vector { data: Bytes::new(), values: components.to_vec() };
        for (form, vector) in [("bytes", grpc::vector(components)), ("values", as_values)] {
            let entry = pb::Entry { vector: Some(vector.clone()), ..good() };
            let name = format!("{name}, as {form}");
            let batch = upsert(vec![good(), entry, pb::Entry { id: "z".into(), ..good() }]);
            cases.push(case(format!("{name}, in a batch"), "Upsert", &batch, codes));
            let search = pb::SearchRequest { vector: Some(vector), ..query() };
            let batch = pb::SearchBatchRequest { searches: vec![query(), search.clone()] };
            cases.push(case(format!("{name}, in a search"), "Search", &search, codes));
            cases.push(case(format!("{name}, in a batch of searches"), "SearchBatch", &batch, codes));
        }
    }
    let odd = pb::Vector { data: Bytes::from_static(&[0; 15]), values: Vec::new() };
    let entry = pb::Entry { vector: Some(odd.clone()), ..good() };
    cases.push(case("15 bytes", "Upsert", &upsert(vec![entry]), &["invalid_vector"]));
    let both = pb::Vector { values: vec![1.0; 4], ..grpc::vector(&[1.0; 4]) };
    cases.push(case(
        "bytes and values",
        "Upsert",
        &upsert(vec![pb::Entry { vector: Some(both), ..good() }]),
        &["invalid_vector"],
    ));
    cases.push(case(
        "15 bytes in a search",
        "Search",
        &pb::SearchRequest { vector: Some(odd), ..query() },
        &["invalid_vector"],
    ));
    cases.push(case(
        "no vector in a search",
        "Search",
        &pb::SearchRequest { vector: None, ..query() },
        &["wrong_dimension"],
    ));
    cases
}

fn searches() -> Vec<Case> {
    let nested = |depth: usize| format!("{}{{}}{}", "{\"$not\":".repeat(depth), "}".repeat(depth));
    let terms = format!("{{\"a\":{{\"$in\":{:?}}}}}", (0..100_000).collect::<Vec<_>>());
    let mut cases = vec![
        case("k is 0", "Search", &pb::SearchRequest { k: 0, ..query() }, &["invalid_k"]),
        case("k is 10,001", "Search", &pb::SearchRequest { k: 10_001, ..query() }, &["invalid_k"]),
        case("k is four billion", "Search", &pb::SearchRequest { k: u32::MAX, ..query() }, &["invalid_k"]),
        case("ef is 0", "Search", &pb::SearchRequest { ef: Some(0), ..query() }, &["invalid_ef"]),
        case("ef is 10,001", "Search", &pb::SearchRequest { ef: Some(10_001), ..query() }, &["invalid_ef"]),
        case(
            "a target of 1",
            "Search",
            &pb::SearchRequest { target_recall: Some(1.0), ..query() },
            &["invalid_target_recall"],
        ),
        case(
            "ef and a target",
            "Search",
            &pb::SearchRequest { ef: Some(50), target_recall: Some(0.9), ..query() },
            &["invalid_target_recall"],
        ),
        case(
            "max_distance is NaN",
            "Search",
            &pb::SearchRequest { max_distance: Some(f32::NAN), ..query() },
            &["invalid_max_distance"],
        ),
        case("no searches", "SearchBatch", &pb::SearchBatchRequest::default(), &["invalid_batch"]),
        case(
            "1,001 searches",
            "SearchBatch",
            &pb::SearchBatchRequest { searches: vec![query(); 1_001] },
            &["invalid_batch"],
        ),
        case(
            "a page of 10,001",
            "Scroll",
            &pb::ScrollRequest { collection: "c".into(), limit: 10_001, ..Default::default() },
            &["invalid_limit"],
        ),
        case(
            "a made-up cursor",
            "Scroll",
            &pb::ScrollRequest { collection: "c".into(), cursor: "!!".into(), ..Default::default() },
            &["invalid_cursor"],
        ),
    ];
    for (name, filter) in [
        ("a filter that is no JSON", "{\"a\":".to_owned()),
        ("a filter that is a list", "[1]".to_owned()),
        ("an unknown operator", "{\"a\":{\"$regex\":\"x\"}}".to_owned()),
        ("NaN in a filter", "{\"a\":{\"$gt\":NaN}}".to_owned()),
        ("a filter 100 deep", nested(100)),
        ("a filter 10,000 deep", nested(10_000)),
        ("a filter of 100,000 terms", terms),
    ] {
        let codes = &["invalid_filter"];
        cases.push(case(
            name,
            "Search",
            &pb::SearchRequest { filter_json: filter.clone(), ..query() },
            codes,
        ));
        let count = pb::CountRequest { collection: "c".into(), filter_json: filter.clone() };
        cases.push(case(format!("{name}, in a count"), "Count", &count, codes));
        let scroll =
            pb::ScrollRequest { collection: "c".into(), filter_json: filter.clone(), ..Default::default() };
        cases.push(case(format!("{name}, in a scroll"), "Scroll", &scroll, codes));
        let delete = pb::DeleteRequest { collection: "c".into(), filter_json: filter, ..Default::default() };
        cases.push(case(format!("{name}, in a delete"), "Delete", &delete, codes));
    }
    cases
}

fn entries() -> Vec<Case> {
    let id = |id: &str| upsert(vec![good(), pb::Entry { id: id.to_owned(), ..good() }]);
    let metadata = |json: &str| upsert(vec![pb::Entry { metadata_json: json.to_owned(), ..good() }]);
    let large = format!("{{\"t\":\"{}\"}}", "m".repeat(1 << 20));
    let deep = format!("{}1{}", "{\"a\":".repeat(10_000), "}".repeat(10_000));
    let delete = |ids: Vec<String>, filter: &str| pb::DeleteRequest {
        collection: "c".into(),
        ids,
        filter_json: filter.to_owned(),
        request_id: String::new(),
    };
    vec![
        case("an empty id", "Upsert", &id(""), &["invalid_id"]),
        case("an id of 513 bytes", "Upsert", &id(&"x".repeat(513)), &["invalid_id"]),
        case("an id of 257 letters and 514 bytes", "Upsert", &id(&"é".repeat(257)), &["invalid_id"]),
        case("an empty id is deleted", "Delete", &delete(vec![String::new()], ""), &["invalid_id"]),
        case("an id of 513 bytes is deleted", "Delete", &delete(vec!["x".repeat(513)], ""), &["invalid_id"]),
        case("metadata that is a list", "Upsert", &metadata("[1]"), &["invalid_metadata"]),
        case("metadata that is text", "Upsert", &metadata("\"x\""), &["invalid_metadata"]),
        case("metadata that is no JSON", "Upsert", &metadata("{\"a\":"), &["invalid_metadata"]),
        case("NaN in metadata", "Upsert", &metadata("{\"a\":NaN}"), &["invalid_metadata"]),
        case("metadata above 1 MiB", "Upsert", &metadata(&large), &["metadata_too_large"]),
        case("metadata 10,000 deep", "Upsert", &metadata(&deep), &["invalid_metadata"]),
        case("an empty batch", "Upsert", &upsert(Vec::new()), &["invalid_batch"]),
        case(
            "a batch of 10,001",
            "Upsert",
            &upsert(vec![pb::Entry { id: "x".into(), ..Default::default() }; 10_001]),
            &["invalid_batch"],
        ),
        case(
            "a request id of 65 bytes",
            "Upsert",
            &pb::UpsertRequest { request_id: "r".repeat(65), ..upsert(vec![good()]) },
            &["invalid_request_id"],
        ),
        case("delete of nothing", "Delete", &delete(Vec::new(), ""), &["invalid_delete"]),
        case("delete by both", "Delete", &delete(vec!["x".into()], "{}"), &["invalid_delete"]),
    ]
}

fn collections() -> Vec<Case> {
    let create = |config: pb::CollectionConfig| pb::CreateCollectionRequest { config: Some(config) };
    let plain = || grpc::config("n", 2, pb::Metric::Cosine);
    let index = |index: pb::IndexOptions| create(pb::CollectionConfig { index: Some(index), ..plain() });
    let mut cases = vec![
        case(
            "no config",
            "CreateCollection",
            &pb::CreateCollectionRequest { config: None },
            &["invalid_collection_name", "invalid_dimension"],
        ),
        case(
            "dimension 0",
            "CreateCollection",
            &create(pb::CollectionConfig { dimension: 0, ..plain() }),
            &["invalid_dimension"],
        ),
        case(
            "dimension 4,097",
            "CreateCollection",
            &create(pb::CollectionConfig { dimension: 4_097, ..plain() }),
            &["invalid_dimension"],
        ),
        case(
            "metric 99",
            "CreateCollection",
            &create(pb::CollectionConfig { metric: 99, ..plain() }),
            &["invalid_metric"],
        ),
        case(
            "durability -1",
            "CreateCollection",
            &create(pb::CollectionConfig { durability: -1, ..plain() }),
            &["invalid_durability"],
        ),
        case(
            "an unknown engine",
            "CreateCollection",
            &index(pb::IndexOptions { engine: "faiss".into(), ..Default::default() }),
            &["invalid_index_options"],
        ),
        case(
            "an unknown quantization",
            "CreateCollection",
            &index(pb::IndexOptions { quantization: "int2".into(), ..Default::default() }),
            &["invalid_index_options"],
        ),
        case(
            "a quantization without the engine for it",
            "CreateCollection",
            &index(pb::IndexOptions {
                engine: "flat".into(),
                quantization: "none".into(),
                ..Default::default()
            }),
            &["invalid_index_options"],
        ),
        case(
            "m is 3",
            "CreateCollection",
            &index(pb::IndexOptions { m: 3, ..Default::default() }),
            &["invalid_index_options"],
        ),
        case(
            "ef is 10,001",
            "CreateCollection",
            &index(pb::IndexOptions { ef: 10_001, ..Default::default() }),
            &["invalid_index_options"],
        ),
        case(
            "ef and a target",
            "CreateCollection",
            &index(pb::IndexOptions { ef: 50, target_recall: 0.9, ..Default::default() }),
            &["invalid_target_recall"],
        ),
    ];
    for name in ["", "a/b", "..", ".", "../x", ".hidden", "-x", "a b", "a\0b", "a\nb", "naïve", "🦀"] {
        let config = pb::CollectionConfig { name: name.into(), ..plain() };
        cases.push(case(
            format!("collection name {name:?}"),
            "CreateCollection",
            &create(config),
            &["invalid_collection_name"],
        ));
        let write = pb::UpsertRequest { collection: name.into(), ..upsert(vec![good()]) };
        let codes = &["invalid_collection_name", "collection_not_found"];
        cases.push(case(format!("a write to {name:?}"), "Upsert", &write, codes));
    }
    let nowhere = || "nowhere".to_owned();
    let codes = &["collection_not_found"];
    cases.push(case(
        "unknown collection",
        "Upsert",
        &pb::UpsertRequest { collection: nowhere(), ..upsert(vec![good()]) },
        codes,
    ));
    cases.push(case(
        "unknown collection",
        "Search",
        &pb::SearchRequest { collection: nowhere(), ..query() },
        codes,
    ));
    cases.push(case(
        "unknown collection",
        "Count",
        &pb::CountRequest { collection: nowhere(), ..Default::default() },
        codes,
    ));
    cases.push(case(
        "unknown collection",
        "Scroll",
        &pb::ScrollRequest { collection: nowhere(), ..Default::default() },
        codes,
    ));
    cases.push(case(
        "unknown collection",
        "Get",
        &pb::GetRequest { collection: nowhere(), id: "x".into() },
        codes,
    ));
    cases.push(case(
        "unknown collection",
        "GetCollection",
        &pb::GetCollectionRequest { name: nowhere() },
        codes,
    ));
    let ids = vec!["x".to_owned()];
    cases.push(case(
        "unknown collection",
        "Delete",
        &pb::DeleteRequest { collection: nowhere(), ids, ..Default::default() },
        codes,
    ));
    cases
}

/// Bytes that are no message.
fn garbage() -> Vec<Case> {
    let whole = upsert(vec![good()]).encode_to_vec();
    let mut not_utf8 = whole.clone();
    let id = not_utf8.iter().rposition(|&b| b == b'x').unwrap();
    not_utf8[id] = 0xFF;
    // Field 2 of UpsertRequest as a varint instead of a message.
    let wrong_type = vec![0x0A, 0x01, b'c', 0x10, 0x05];
    // A group, opened 10,000 times and never closed, in a field nobody knows.
    let groups = [0xC3, 0x3E].repeat(10_000);
    vec![
        raw("a truncated message", "Upsert", whole[..whole.len() - 5].to_vec()),
        raw("garbage", "Upsert", vec![0xFF; 64]),
        raw("an id that is no UTF-8", "Upsert", not_utf8),
        raw("a wrong wire type", "Upsert", wrong_type),
        raw("a length beyond the end", "Upsert", vec![0x0A, 0xFF, 0xFF, 0xFF, 0xFF, 0x07]),
        raw("10,000 open groups", "Upsert", groups),
        raw("garbage in a search", "Search", vec![0x12, 0x7F, 0x00]),
        raw("a message above the limit", "Upsert", vec![0; MESSAGE_LIMIT + 1]),
    ]
}

/// What there is; nothing bad may change it.
async fn state(client: &mut grpc::Client) -> (Vec<pb::Entry>, u64, Vec<String>) {
    let scroll = pb::ScrollRequest { collection: "c".into(), include_vector: true, ..Default::default() };
    let entries = client.scroll(scroll).await.unwrap().into_inner().entries;
    let count = pb::CountRequest { collection: "c".into(), filter_json: String::new() };
    let count = client.count(count).await.unwrap().into_inner().count;
    let list = client.list_collections(pb::ListCollectionsRequest {}).await.unwrap().into_inner();
    (entries, count, list.collections.into_iter().map(|c| c.config.unwrap().name).collect())
}

async fn started() -> Daemon {
    let args = vec!["--max-message-bytes".to_owned(), MESSAGE_LIMIT.to_string()];
    let daemon = Daemon::start_with(Options { args, ..Options::default() });
    let mut client = daemon.grpc_socket().await;
    grpc::create(&mut client, grpc::config("c", 4, pb::Metric::Cosine)).await;
    let entry = grpc::entry("good", &[1.0, 2.0, 3.0, 4.0], &json!({"n": 1}));
    client.upsert(upsert(vec![entry])).await.unwrap();
    daemon
}

async fn send(channel: &Channel, case: &Case) -> Status {
    match grpc::send_bytes(channel, case.method, case.message.clone()).await {
        Ok(_) => panic!("{}: taken", case.name),
        Err(status) => status,
    }
}

fn judge(case: &Case, status: &Status) {
    let about = format!("{} ({})", case.name, case.method);
    if case.codes.is_empty() {
        // Refused by the gRPC layer: what it says is its business, as long as it says no.
        assert_ne!(status.code(), Code::Unavailable, "{about}: {status:?}");
        return;
    }
    let reason = grpc::reason(status);
    assert!(
        case.codes.contains(&reason.as_str()),
        "{about}: reason {reason:?}, not one of {:?}: {status:?}",
        case.codes
    );
    assert!(matches!(status.code(), Code::InvalidArgument | Code::NotFound), "{about}: {status:?}");
    assert_eq!(grpc::outcome(status), "failed", "{about}");
    // A refusal must not be as long as what it refuses.
    assert!(status.message().len() < 4 << 10, "{about}: a refusal of {} bytes", status.message().len());
}

async fn run(table: Vec<Case>) {
    let mut daemon = started().await;
    let mut client = daemon.grpc_socket().await;
    let before = state(&mut client).await;
    let doors = [daemon.tcp_channel().await, daemon.socket_channel().await];
    for case in &table {
        for channel in &doors {
            judge(case, &send(channel, case).await);
        }
        assert_eq!(state(&mut client).await, before, "{}: something was stored", case.name);
        assert!(daemon.is_running(), "{}: the daemon ended", case.name);
    }
    daemon.assert_no_panic();
    daemon.kill9();
    daemon.restart();
    let mut client = daemon.grpc_socket().await;
    assert_eq!(state(&mut client).await, before, "something was stored, seen after a restart");
    println!("{} bad requests refused, over TCP and over the socket", table.len());
}

#[tokio::test]
async fn bad_vectors_are_refused() {
    run(vectors()).await;
}

#[tokio::test]
async fn bad_searches_are_refused() {
    run(searches()).await;
}

#[tokio::test]
async fn bad_entries_are_refused() {
    run(entries()).await;
}

#[tokio::test]
async fn bad_collections_are_refused() {
    run(collections()).await;
}

#[tokio::test]
async fn bytes_that_are_no_message_are_refused() {
    run(garbage()).await;
}

#[tokio::test]
async fn a_bad_stream_message_stores_nothing() {
    let daemon = started().await;
    let mut client = daemon.grpc_socket().await;
    let before = state(&mut client).await;
    let bad = |components: &[f32]| {
        upsert(vec![
            good(),
            pb::Entry { id: "y".into(), vector: Some(grpc::vector(components)), ..Default::default() },
        ])
    };
    let requests = vec![bad(&[f32::NAN, 0.0, 0.0, 1.0]), bad(&[1.0]), bad(&[0.0; 4])];
    let mut answers = client.upsert_stream(futures::stream::iter(requests)).await.unwrap().into_inner();
    let mut codes = Vec::new();
    while let Some(answer) = answers.message().await.unwrap() {
        codes.push(answer.failure.unwrap().code);
    }
    assert_eq!(codes, ["invalid_vector", "wrong_dimension", "zero_vector"]);
    assert_eq!(state(&mut client).await, before);
    daemon.assert_no_panic();
}

#[tokio::test]
async fn a_thousand_bad_requests_do_not_flood_the_log() {
    let daemon = started().await;
    let channel = daemon.tcp_channel().await;
    let tables = [vectors(), searches(), entries(), collections(), garbage()];
    let small: Vec<Case> =
        tables.into_iter().flatten().filter(|case| case.message.len() < 64 << 10).collect();
    let before = daemon.log_len();
    for case in small.iter().cycle().take(1_000) {
        judge(case, &send(&channel, case).await);
    }
    let grown = daemon.log_len() - before;
    assert!(grown < 64 << 10, "1,000 bad requests made {grown} bytes of log:\n{}", daemon.log_tail());
    daemon.assert_no_panic();
}
