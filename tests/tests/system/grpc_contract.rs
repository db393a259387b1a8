//! gRPC as the proto promises it, over TCP and over the Unix socket, with the stubs any client has.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use futures::{StreamExt, stream};
use hyper_util::{client::legacy, rt::TokioExecutor};
use serde_json::json;
use tonic::{Code, Request, transport::Channel};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};
use tonic_reflection::pb::{v1, v1alpha};
use tonic_types::StatusExt;
use vecgrid_proto::v1::{self as pb, vec_grid_client::VecGridClient};
use vecgridd_tests::{daemon::Daemon, grpc, synthetic};

type PlainHttp = legacy::Client<legacy::connect::HttpConnector, tonic::body::Body>;

async fn doors(daemon: &Daemon) -> [(&'static str, Channel); 2] {
    [("tcp", daemon.tcp_channel().await), ("socket", daemon.socket_channel().await)]
}

fn upsert(collection: &str, entries: Vec<pb::Entry>) -> pb::UpsertRequest {
    pb::UpsertRequest { collection: collection.into(), entries, request_id: String::new() }
}

/// A client that leaves deadlines to the daemon: tonic's own channel ends a call by itself.
fn plain_client(daemon: &Daemon) -> VecGridClient<PlainHttp> {
    let plain = legacy::Client::builder(TokioExecutor::new()).http2_only(true).build_http();
    let origin = format!("http://{}", daemon.ports().api).parse().unwrap();
    VecGridClient::with_origin(plain, origin).max_decoding_message_size(1 << 30)
}

#[tokio::test]
async fn every_verb_works_over_tcp_and_over_the_socket() {
    let daemon = Daemon::start();
    for (door, channel) in doors(&daemon).await {
        let mut client = grpc::client(channel);
        let mut config = grpc::config(door, 2, pb::Metric::Euclidean);
        config.durability = pb::Durability::Sync.into();
        let create = pb::CreateCollectionRequest { config: Some(config.clone()) };
        let created = client.create_collection(create.clone()).await.unwrap().into_inner();
        assert!(created.created);
        let full = created.config.unwrap();
        assert_eq!((full.name.as_str(), full.dimension), (door, 2));
        assert_ne!(full.index.unwrap_or_default().m, 0, "defaults are filled in");
        assert!(
            !client.create_collection(create).await.unwrap().into_inner().created,
            "an equal one is no error"
        );
        config.dimension = 3;
        let other =
            client.create_collection(pb::CreateCollectionRequest { config: Some(config) }).await.unwrap_err();
        assert_eq!((other.code(), grpc::reason(&other).as_str()), (Code::AlreadyExists, "collection_exists"));

        every_entry_verb(&mut client, door).await;

        let list = client.list_collections(pb::ListCollectionsRequest {}).await.unwrap().into_inner();
        assert!(list.collections.iter().any(|c| c.config.as_ref().unwrap().name == door));
        let drop = || pb::DropCollectionRequest { name: door.into() };
        assert!(client.drop_collection(drop()).await.unwrap().into_inner().dropped);
        assert!(!client.drop_collection(drop()).await.unwrap().into_inner().dropped);
        let gone = client.get_collection(pb::GetCollectionRequest { name: door.into() }).await.unwrap_err();
        assert_eq!((gone.code(), grpc::reason(&gone).as_str()), (Code::NotFound, "collection_not_found"));

        let status = client.grid_status(pb::GridStatusRequest {}).await.unwrap().into_inner();
        assert_eq!((status.members.len(), status.partitions.len()), (1, 8));
        assert_eq!(status.members[0].id, status.member);
        assert_eq!((status.members[0].copies, status.members[0].wanted), (8, 8));
        assert!(status.partitions.iter().all(|p| !p.moving && p.wanted == p.in_sync));
        let verified = client.verify(pb::VerifyRequest { partition: 3 }).await.unwrap().into_inner();
        assert_eq!((verified.verdict.as_str(), verified.copies.len()), ("equal", 1));
        let moves = client.moves(pb::MovesRequest {}).await.unwrap().into_inner();
        assert_eq!((moves.moves.len(), moves.unanswered.len()), (0, 0));
        let drain = |cancel| pb::DrainRequest { cancel };
        let refused = client.drain(drain(false)).await.unwrap_err();
        assert_eq!(
            (refused.code(), grpc::reason(&refused).as_str()),
            (Code::FailedPrecondition, "no_other_member")
        );
        assert!(!client.drain(drain(true)).await.unwrap().into_inner().draining);
    }
}

async fn every_entry_verb(client: &mut grpc::Client, door: &str) {
    let mut with_values = grpc::entry("values", &[], &json!({"n": 1}));
    with_values.vector = Some(pb::Vector { data: Default::default(), values: vec![1.0, 0.0] });
    let bare = pb::Entry { id: "bare".into(), ..Default::default() };
    let entries = vec![
        grpc::entry("a", &[0.0, 0.0], &json!({"n": 9_007_199_254_740_993_i64})),
        with_values,
        bare,
        grpc::entry("a", &[2.0, 0.0], &json!({"n": 2})),
    ];
    let stored = client.upsert(upsert(door, entries)).await.unwrap().into_inner();
    assert_eq!((stored.upserted, stored.versions.len()), (3, 4), "distinct ids; versions per entry");
    assert!(stored.errors.is_empty());

    let get = |id: &str| pb::GetRequest { collection: door.into(), id: id.into() };
    let a = client.get(get("a")).await.unwrap().into_inner().entry.unwrap();
    assert_eq!(grpc::floats(a.vector.as_ref().unwrap()), [2.0, 0.0], "the last one wins");
    assert_eq!((a.metadata_json.as_str(), a.version), ("{\"n\":2}", stored.versions.last().copied()));
    let bare = client.get(get("bare")).await.unwrap().into_inner().entry.unwrap();
    assert_eq!((bare.vector, bare.metadata_json.as_str()), (None, "{}"));
    let none = client.get(get("none")).await.unwrap_err();
    assert_eq!((none.code(), grpc::reason(&none).as_str()), (Code::NotFound, "entry_not_found"));

    let mut search = grpc::search(door, &[0.9, 0.0], 10);
    search.include_metadata = true;
    search.include_vector = true;
    let found = client.search(search.clone()).await.unwrap().into_inner();
    assert_eq!(found.hits.iter().map(|h| h.id.as_str()).collect::<Vec<_>>(), ["values", "a"]);
    assert_eq!(grpc::floats(found.hits[0].vector.as_ref().unwrap()), [1.0, 0.0]);
    assert!((found.hits[1].distance - 1.1).abs() < 1e-5 && found.hits[0].metadata_json == "{\"n\":1}");
    assert_eq!(found.coverage, Some(pb::Coverage { answered: 8, partitions: 8 }));
    search.filter_json = "{\"n\": {\"$gt\": 1}}".into();
    let batch = pb::SearchBatchRequest { searches: vec![search.clone(), grpc::search(door, &[0.0, 0.0], 1)] };
    let results = client.search_batch(batch).await.unwrap().into_inner().results;
    assert_eq!((results[0].hits[0].id.as_str(), results[1].hits[0].id.as_str()), ("a", "values"));
    assert_eq!((results[0].hits.len(), results[1].hits[0].metadata_json.as_str()), (1, ""));

    let count =
        pb::CountRequest { collection: door.into(), filter_json: "{\"n\": {\"$exists\": true}}".into() };
    assert_eq!(client.count(count).await.unwrap().into_inner().count, 2);
    let scroll = pb::ScrollRequest { collection: door.into(), limit: 2, ..Default::default() };
    let page = client.scroll(scroll.clone()).await.unwrap().into_inner();
    assert_eq!(page.entries.len(), 2);
    let rest = client.scroll(pb::ScrollRequest { cursor: page.cursor, ..scroll }).await.unwrap().into_inner();
    let all: BTreeSet<_> = page.entries.iter().chain(&rest.entries).map(|e| e.id.clone()).collect();
    assert_eq!(all.len(), 3);

    let delete = pb::DeleteRequest {
        collection: door.into(),
        ids: vec!["a".into(), "x".into()],
        ..Default::default()
    };
    assert_eq!(client.delete(delete).await.unwrap().into_inner().deleted, 1);
    let filter_json = "{\"n\": 1}".into();
    let delete = pb::DeleteRequest { collection: door.into(), filter_json, ..Default::default() };
    assert_eq!(client.delete(delete).await.unwrap().into_inner().deleted, 1);
    let info =
        client.get_collection(pb::GetCollectionRequest { name: door.into() }).await.unwrap().into_inner();
    assert_eq!(info.count, 1);
}

#[tokio::test]
async fn a_failed_message_does_not_end_a_stream() {
    let daemon = Daemon::start();
    let mut client = daemon.grpc_socket().await;
    grpc::create(&mut client, grpc::config("c", 2, pb::Metric::Euclidean)).await;
    let good = |id: &str, x: f32| upsert("c", vec![grpc::entry(id, &[x, 0.0], &json!({}))]);
    let bad = upsert("c", vec![grpc::entry("bad", &[f32::NAN, 0.0], &json!({}))]);
    let lost = upsert("nowhere", vec![grpc::entry("lost", &[1.0, 0.0], &json!({}))]);
    let requests = vec![good("a", 1.0), bad, good("b", 2.0), lost, good("c", 3.0)];
    let answers = client.upsert_stream(stream::iter(requests)).await.unwrap().into_inner();
    let answers: Vec<_> = answers.map(|a| a.unwrap()).collect().await;
    let codes: Vec<_> = answers.iter().map(|a| a.failure.as_ref().map(|f| f.code.as_str())).collect();
    assert_eq!(codes, [None, Some("invalid_vector"), None, Some("collection_not_found"), None], "in order");
    assert!(
        answers
            .iter()
            .filter_map(|a| a.failure.as_ref())
            .all(|f| f.outcome == "failed" && !f.message.is_empty())
    );
    assert!(
        answers.iter().filter(|a| a.failure.is_none()).all(|a| a.response.as_ref().unwrap().upserted == 1)
    );

    let searches = vec![
        grpc::search("c", &[3.0, 0.0], 1),
        grpc::search("c", &[3.0], 1),
        grpc::search("c", &[1.0, 0.0], 1),
    ];
    let answers = client.search_stream(stream::iter(searches)).await.unwrap().into_inner();
    let answers: Vec<_> = answers.map(|a| a.unwrap()).collect().await;
    let first = |n: usize| answers[n].response.as_ref().unwrap().hits[0].id.clone();
    assert_eq!((first(0), first(2)), ("c".to_owned(), "a".to_owned()));
    assert_eq!(answers[1].failure.as_ref().unwrap().code, "wrong_dimension");
}

/// Short searches are run where they arrive, others on threads of their own: nobody may notice.
#[tokio::test]
async fn a_stream_of_unlike_searches_is_answered_in_order() {
    const ROWS: usize = 300;
    let daemon = Daemon::start();
    let mut client = daemon.grpc_socket().await;
    grpc::create(&mut client, grpc::config("c", 2, pb::Metric::Euclidean)).await;
    let entry =
        |n: usize| grpc::entry(&n.to_string(), &[n as f32, 1.0], &json!({"even": n.is_multiple_of(2)}));
    client.upsert(upsert("c", (0..ROWS).map(entry).collect())).await.unwrap();
    let search = |n: usize| {
        let mut search = grpc::search("c", &[(n % ROWS) as f32, 1.0], 1);
        match n % 3 {
            0 => search.filter_json = json!({"even": n.is_multiple_of(2)}).to_string(),
            1 => search.include_vector = true,
            _ => search.k = ROWS as u32,
        }
        search
    };
    let searches: Vec<_> = (0..4 * ROWS).map(search).collect();
    let answers = client.search_stream(stream::iter(searches)).await.unwrap().into_inner();
    let answers: Vec<_> = answers.map(|a| a.unwrap().response.unwrap()).collect().await;
    assert_eq!(answers.len(), 4 * ROWS);
    for (n, answer) in answers.iter().enumerate() {
        assert_eq!(answer.hits.len(), if n % 3 == 2 { ROWS } else { 1 }, "search {n}");
        assert_eq!(answer.hits[0].id, (n % ROWS).to_string(), "search {n}");
        let vector = answer.hits[0].vector.as_ref().map(grpc::floats);
        assert_eq!(vector, (n % 3 == 1).then(|| vec![(n % ROWS) as f32, 1.0]), "search {n}");
    }
    daemon.assert_no_panic();
}

#[tokio::test]
async fn searches_without_an_order_find_their_callers() {
    const ROWS: usize = 300;
    let daemon = Daemon::start();
    let mut client = daemon.grpc_socket().await;
    grpc::create(&mut client, grpc::config("c", 2, pb::Metric::Euclidean)).await;
    let entry = |n: usize| grpc::entry(&n.to_string(), &[n as f32, 1.0], &json!({"n": n}));
    client.upsert(upsert("c", (0..ROWS).map(entry).collect())).await.unwrap();
    let search = |n: usize| {
        let mut search = grpc::search("c", &[(n % ROWS) as f32, 1.0], 1);
        match n % 4 {
            0 => search.filter_json = json!({"n": n % ROWS}).to_string(),
            1 => search.k = ROWS as u32,
            2 => search.vector = Some(grpc::vector(&[1.0])),
            _ => search.exact = true,
        }
        pb::NumberedSearch { number: 1_000_000 + n as u64, timeout_ms: 0, search: Some(search) }
    };
    let searches: Vec<_> = (0..4 * ROWS).map(search).collect();
    let answers = client.search_unordered(stream::iter(searches)).await.unwrap().into_inner();
    let mut answers: Vec<_> = answers.map(|answer| answer.unwrap()).collect().await;
    answers.sort_unstable_by_key(|answer| answer.number);
    assert_eq!(answers.len(), 4 * ROWS);
    for (n, answer) in answers.into_iter().enumerate() {
        assert_eq!(answer.number, 1_000_000 + n as u64);
        if n % 4 == 2 {
            let failure = answer.failure.unwrap();
            assert_eq!((failure.code.as_str(), failure.field.as_str()), ("wrong_dimension", "vector"));
            assert_eq!(failure.status, Code::InvalidArgument as u32);
        } else {
            let hits = answer.response.unwrap().hits;
            assert_eq!(hits.len(), if n % 4 == 1 { ROWS } else { 1 }, "search {n}");
            assert_eq!(hits[0].id, (n % ROWS).to_string(), "search {n}");
        }
    }
    daemon.assert_no_panic();
}

/// What a stream's headers demand holds for each of its messages, and each has its own deadline.
#[tokio::test]
async fn a_stream_of_searches_shows_the_writes_that_it_was_told_of() {
    let daemon = Daemon::start();
    let mut client = daemon.grpc_socket().await;
    grpc::create(&mut client, grpc::config("c", 2, pb::Metric::Euclidean)).await;
    let told = client.upsert(upsert("c", vec![grpc::entry("a", &[1.0, 1.0], &json!({}))])).await.unwrap();
    let search =
        pb::NumberedSearch { number: 7, timeout_ms: 300, search: Some(grpc::search("c", &[1.0, 1.0], 1)) };
    let ask = async |token: &str| {
        let mut request = Request::new(stream::iter([search.clone()]));
        request.metadata_mut().insert("vecgrid-at-least", token.parse().unwrap());
        let mut answers = plain_client(&daemon).search_unordered(request).await.unwrap().into_inner();
        answers.message().await.unwrap().unwrap()
    };
    assert_eq!(ask(&told.into_inner().token).await.response.unwrap().hits[0].id, "a");
    // Nobody wrote that.
    let begun = Instant::now();
    let failure = ask("0:99-1000000").await.failure.unwrap();
    assert_eq!((failure.code.as_str(), failure.status), ("incomplete", Code::Unavailable as u32));
    assert!(begun.elapsed() >= Duration::from_millis(290), "it waits for what may come");
}

#[tokio::test]
async fn a_search_past_its_deadline_is_not_run() {
    let daemon = Daemon::start();
    let mut client = daemon.grpc_socket().await;
    grpc::create(&mut client, grpc::config("c", 2, pb::Metric::Euclidean)).await;
    client.upsert(upsert("c", vec![grpc::entry("a", &[1.0, 1.0], &json!({}))])).await.unwrap();
    let mut late = Request::new(grpc::search("c", &[1.0, 1.0], 1));
    late.set_timeout(Duration::from_nanos(1));
    let refused = plain_client(&daemon).search(late).await.unwrap_err();
    assert_eq!(refused.code(), Code::DeadlineExceeded, "{refused:?}");
    assert_eq!(
        (grpc::reason(&refused).as_str(), grpc::outcome(&refused).as_str()),
        ("deadline_exceeded", "failed")
    );
}

#[tokio::test]
async fn a_long_stream_is_answered_message_by_message() {
    let daemon = Daemon::start();
    let mut client = daemon.grpc_socket().await;
    grpc::create(&mut client, grpc::config("c", 2, pb::Metric::Euclidean)).await;
    let request = |n: i32| {
        upsert("c", (0..5).map(|i| grpc::entry(&format!("{n}-{i}"), &[n as f32, 1.0], &json!({}))).collect())
    };
    let took = vecgridd_tests::load::upsert_stream(&mut client, (0..400).map(request).collect()).await;
    println!("400 messages on one stream: {:.2} s", took.as_secs_f64());
    let count = pb::CountRequest { collection: "c".into(), filter_json: String::new() };
    assert_eq!(client.count(count).await.unwrap().into_inner().count, 2_000);
}

#[tokio::test]
async fn errors_carry_their_details() {
    let daemon = Daemon::start();
    let mut client = daemon.grpc_tcp().await;
    grpc::create(&mut client, grpc::config("c", 2, pb::Metric::Cosine)).await;
    let entries = vec![grpc::entry("a", &[1.0, 0.0], &json!({})), grpc::entry("b", &[1.0], &json!({}))];
    let refused = client.upsert(upsert("c", entries)).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    let info = refused.get_details_error_info().unwrap();
    assert_eq!((info.reason.as_str(), info.domain.as_str()), ("wrong_dimension", "vecgrid"));
    assert_eq!(info.metadata.get("outcome").map(String::as_str), Some("failed"));
    let violations = refused.get_details_bad_request().unwrap().field_violations;
    assert!(violations.iter().any(|v| v.field.starts_with("entries[1]")), "{violations:?}");
    let unknown =
        grpc::send_bytes(&daemon.tcp_channel().await, "NoSuchMethod", Vec::new()).await.unwrap_err();
    assert_eq!(unknown.code(), Code::Unimplemented);
}

#[tokio::test]
async fn fields_this_version_does_not_know_are_ignored() {
    use prost::Message;
    let daemon = Daemon::start();
    let mut client = daemon.grpc_tcp().await;
    grpc::create(&mut client, grpc::config("c", 2, pb::Metric::Cosine)).await;
    let mut bytes = upsert("c", vec![grpc::entry("a", &[1.0, 0.0], &json!({}))]).encode_to_vec();
    // Field 1000, a varint.
    bytes.extend([0xC0, 0x3E, 0x01]);
    grpc::send_bytes(&daemon.tcp_channel().await, "Upsert", bytes).await.unwrap();
    let get = pb::GetRequest { collection: "c".into(), id: "a".into() };
    assert!(client.get(get).await.unwrap().into_inner().entry.is_some());
}

#[tokio::test]
async fn odd_ids_come_back_byte_for_byte() {
    let daemon = Daemon::start();
    let mut client = daemon.grpc_socket().await;
    grpc::create(&mut client, grpc::config("c", 2, pb::Metric::Euclidean)).await;
    let longest = "x".repeat(512);
    let ids = ["\0", "a\nb", "../..", "/", "日本", "🦀", "cafe\u{301}", "caf\u{e9}", " ", longest.as_str()];
    let entry = |(n, id): (usize, &&str)| grpc::entry(id, &[n as f32, 0.0], &json!({}));
    client.upsert(upsert("c", ids.iter().enumerate().map(entry).collect())).await.unwrap();
    for (n, id) in ids.iter().enumerate() {
        let found = client.search(grpc::search("c", &[n as f32, 0.0], 1)).await.unwrap().into_inner();
        assert_eq!(found.hits[0].id, *id);
        let get = pb::GetRequest { collection: "c".into(), id: (*id).into() };
        assert_eq!(client.get(get).await.unwrap().into_inner().entry.unwrap().id, *id);
    }
}

#[tokio::test]
async fn health_is_told_by_name_over_both_doors() {
    let daemon = Daemon::start();
    for (door, channel) in doors(&daemon).await {
        let mut health = HealthClient::new(channel);
        for service in ["", "vecgrid.v1.VecGrid", "vecgrid.startup"] {
            let request = HealthCheckRequest { service: service.into() };
            let answer = health.check(request).await.unwrap().into_inner();
            assert_eq!(answer.status(), ServingStatus::Serving, "{door} {service:?}");
        }
        let unknown = health.check(HealthCheckRequest { service: "no.such".into() }).await.unwrap_err();
        assert_eq!(unknown.code(), Code::NotFound);
        let mut watch =
            health.watch(HealthCheckRequest { service: String::new() }).await.unwrap().into_inner();
        assert_eq!(watch.message().await.unwrap().unwrap().status(), ServingStatus::Serving);
    }
}

#[tokio::test]
async fn reflection_lists_and_describes_the_service() {
    use v1::server_reflection_request::MessageRequest;
    use v1::server_reflection_response::MessageResponse;
    let daemon = Daemon::start();
    let mut client = v1::server_reflection_client::ServerReflectionClient::new(daemon.socket_channel().await);
    let ask = |message_request| v1::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(message_request),
    };
    let requests = vec![
        ask(MessageRequest::ListServices(String::new())),
        ask(MessageRequest::FileContainingSymbol("vecgrid.v1.VecGrid".into())),
    ];
    let answers = client.server_reflection_info(stream::iter(requests)).await.unwrap().into_inner();
    let answers: Vec<_> = answers.map(|a| a.unwrap().message_response.unwrap()).collect().await;
    let MessageResponse::ListServicesResponse(list) = &answers[0] else { panic!("{:?}", answers[0]) };
    let names: Vec<_> = list.service.iter().map(|s| s.name.as_str()).collect();
    assert!(names.contains(&"vecgrid.v1.VecGrid") && names.contains(&"grpc.health.v1.Health"), "{names:?}");
    let MessageResponse::FileDescriptorResponse(files) = &answers[1] else { panic!("{:?}", answers[1]) };
    assert!(!files.file_descriptor_proto.is_empty());
}

#[tokio::test]
async fn reflection_also_speaks_the_older_version() {
    use v1alpha::server_reflection_request::MessageRequest;
    use v1alpha::server_reflection_response::MessageResponse;
    let daemon = Daemon::start();
    let mut client =
        v1alpha::server_reflection_client::ServerReflectionClient::new(daemon.tcp_channel().await);
    let message_request = Some(MessageRequest::ListServices(String::new()));
    let request = v1alpha::ServerReflectionRequest { host: String::new(), message_request };
    let mut answers = client.server_reflection_info(stream::iter([request])).await.unwrap().into_inner();
    let answer = answers.message().await.unwrap().unwrap().message_response.unwrap();
    let MessageResponse::ListServicesResponse(list) = answer else { panic!("{answer:?}") };
    assert!(list.service.iter().any(|s| s.name == "vecgrid.v1.VecGrid"));
}

/// tonic's channel gives up at the deadline by itself; hyper's does not, so that only the daemon
/// can be the one who keeps it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_daemon_keeps_a_deadline() {
    let daemon = Daemon::start();
    let mut loader = daemon.grpc_socket().await;
    let mut config = grpc::config("c", 128, pb::Metric::Euclidean);
    config.index = Some(pb::IndexOptions { engine: "flat".into(), ..Default::default() });
    config.durability = pb::Durability::None.into();
    grpc::create(&mut loader, config).await;
    let cloud = synthetic::cloud(1, 30_000, 128);
    let request = |(n, rows): (usize, &[Vec<f32>])| {
        let entry = |(i, row): (usize, &Vec<f32>)| grpc::entry(&format!("{n}-{i}"), row, &json!({}));
        upsert("c", rows.iter().enumerate().map(entry).collect())
    };
    vecgridd_tests::load::upsert_stream(&mut loader, cloud.chunks(500).enumerate().map(request).collect())
        .await;

    let mut client = plain_client(&daemon);
    // Seconds of scanning, a deadline of milliseconds.
    let searches: Vec<_> = cloud.iter().take(1_000).map(|row| grpc::search("c", row, 10)).collect();
    let mut request = Request::new(pb::SearchBatchRequest { searches });
    request.set_timeout(Duration::from_millis(20));
    let begun = Instant::now();
    let late = client.search_batch(request).await.unwrap_err();
    let took = begun.elapsed();
    assert_eq!(
        (late.code(), grpc::reason(&late).as_str()),
        (Code::DeadlineExceeded, "deadline_exceeded"),
        "{late:?}"
    );
    assert_eq!(grpc::outcome(&late), "failed", "a read changes nothing");
    assert!(took < Duration::from_secs(5), "a deadline of 20 ms was answered after {took:?}");
    // The daemon is not left busy: a small search goes through.
    client.search(grpc::search("c", &cloud[0], 1)).await.unwrap();
}
