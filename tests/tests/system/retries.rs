//! A request id makes a retry harmless: the same write takes effect once, also across a crash.

use serde_json::json;
use tonic::Code;
use vecgrid_proto::v1 as pb;
use vecgridd_tests::{daemon::Daemon, grpc};

const COLLECTION: &str = "retries";

fn upsert(id: &str, components: [f32; 2], request_id: &str) -> pb::UpsertRequest {
    pb::UpsertRequest {
        collection: COLLECTION.into(),
        entries: vec![grpc::entry(id, &components, &json!({"x": components[0]}))],
        request_id: request_id.into(),
    }
}

fn delete(ids: &[&str], request_id: &str) -> pb::DeleteRequest {
    pb::DeleteRequest {
        collection: COLLECTION.into(),
        ids: ids.iter().map(ToString::to_string).collect(),
        filter_json: String::new(),
        request_id: request_id.into(),
    }
}

async fn get(client: &mut grpc::Client, id: &str) -> Option<pb::Entry> {
    let request = pb::GetRequest { collection: COLLECTION.into(), id: id.into() };
    match client.get(request).await {
        Ok(answer) => answer.into_inner().entry,
        Err(status) => {
            assert_eq!(grpc::reason(&status), "entry_not_found", "{status:?}");
            None
        }
    }
}

async fn started() -> (Daemon, grpc::Client) {
    let daemon = Daemon::start();
    let mut client = daemon.grpc_tcp().await;
    grpc::create(&mut client, grpc::config(COLLECTION, 2, pb::Metric::Euclidean)).await;
    (daemon, client)
}

#[tokio::test]
async fn a_retried_upsert_takes_effect_once() {
    let (mut daemon, mut client) = started().await;
    let first = client.upsert(upsert("a", [1.0, 0.0], "r1")).await.unwrap().into_inner();
    // Someone else writes in between; the retry must not undo that.
    let newer = client.upsert(upsert("a", [2.0, 0.0], "")).await.unwrap().into_inner();
    let retry = client.upsert(upsert("a", [1.0, 0.0], "r1")).await.unwrap().into_inner();
    assert_eq!(retry, first, "a retry gets the first answer");
    let stored = get(&mut client, "a").await.unwrap();
    assert_eq!(stored.version, newer.versions.first().copied());
    assert_eq!(grpc::floats(&stored.vector.unwrap()), [2.0, 0.0]);

    daemon.kill9();
    daemon.restart();
    let mut client = daemon.grpc_tcp().await;
    let retry = client.upsert(upsert("a", [1.0, 0.0], "r1")).await.unwrap().into_inner();
    assert_eq!(retry.versions, first.versions, "also after kill -9");
    assert_eq!(grpc::floats(&get(&mut client, "a").await.unwrap().vector.unwrap()), [2.0, 0.0]);
}

#[tokio::test]
async fn a_retried_delete_takes_effect_once() {
    let (mut daemon, mut client) = started().await;
    client.upsert(upsert("a", [1.0, 0.0], "")).await.unwrap();
    assert_eq!(client.delete(delete(&["a"], "d1")).await.unwrap().into_inner().deleted, 1);
    client.upsert(upsert("a", [3.0, 0.0], "")).await.unwrap();
    let retry = client.delete(delete(&["a"], "d1")).await.unwrap().into_inner();
    assert_eq!(retry.deleted, 1, "a retry gets the first answer");
    assert!(get(&mut client, "a").await.is_some(), "the retry deleted a newer entry");

    daemon.kill9();
    daemon.restart();
    let mut client = daemon.grpc_tcp().await;
    assert_eq!(client.delete(delete(&["a"], "d1")).await.unwrap().into_inner().deleted, 1);
    assert!(get(&mut client, "a").await.is_some(), "the retry after kill -9 deleted a newer entry");
}

#[tokio::test]
async fn a_retried_batch_over_many_partitions_takes_effect_once() {
    let (mut daemon, mut client) = started().await;
    let batch = |x: f32| pb::UpsertRequest {
        collection: COLLECTION.into(),
        entries: (0..64).map(|i| grpc::entry(&format!("b{i}"), &[x, i as f32], &json!({}))).collect(),
        request_id: "batch".into(),
    };
    let first = client.upsert(batch(1.0)).await.unwrap().into_inner();
    assert_eq!((first.upserted, first.versions.len()), (64, 64));
    let ids: Vec<String> = (0..64).map(|i| format!("b{i}")).collect();
    let gone = pb::DeleteRequest { collection: COLLECTION.into(), ids, ..Default::default() };
    assert_eq!(client.delete(gone).await.unwrap().into_inner().deleted, 64);
    daemon.kill9();
    daemon.restart();
    let mut client = daemon.grpc_tcp().await;
    let retry = client.upsert(batch(1.0)).await.unwrap().into_inner();
    assert_eq!(retry.versions, first.versions);
    let count = pb::CountRequest { collection: COLLECTION.into(), filter_json: String::new() };
    let count = client.count(count).await.unwrap().into_inner().count;
    assert_eq!(count, 0, "the retry brought deleted entries back");
}

#[tokio::test]
async fn a_request_id_of_other_content_is_refused() {
    let (_daemon, mut client) = started().await;
    client.upsert(upsert("a", [1.0, 0.0], "same")).await.unwrap();
    for other in [upsert("a", [9.0, 0.0], "same"), upsert("b", [1.0, 0.0], "same")] {
        // Another id may lie in another partition; the request id is checked where the write goes.
        let same_entry = other.entries[0].id == "a";
        match client.upsert(other).await {
            Err(status) => {
                assert_eq!(grpc::reason(&status), "request_id_reused", "{status:?}");
                assert_eq!(grpc::outcome(&status), "failed");
                assert_eq!(status.code(), Code::AlreadyExists);
            }
            Ok(_) => assert!(!same_entry, "other content under a used request id was taken"),
        }
    }
    let refused = client.delete(delete(&["a"], "same")).await.unwrap_err();
    assert_eq!(grpc::reason(&refused), "request_id_reused", "{refused:?}");
    assert_eq!(grpc::floats(&get(&mut client, "a").await.unwrap().vector.unwrap()), [1.0, 0.0]);
}

#[tokio::test]
async fn a_request_id_that_is_too_long_is_refused() {
    let (_daemon, mut client) = started().await;
    let refused = client.upsert(upsert("a", [1.0, 0.0], &"r".repeat(65))).await.unwrap_err();
    assert_eq!(grpc::reason(&refused), "invalid_request_id", "{refused:?}");
    client.upsert(upsert("a", [1.0, 0.0], &"r".repeat(64))).await.unwrap();
}
