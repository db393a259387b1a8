//! Single calls: deadlines, retries, request ids, and what an error may be trusted with.

mod fake;

use std::time::{Duration, Instant};

use fake::{Daemon, Trick, start};
use futures::{StreamExt, TryStreamExt, stream};
use serde_json::json;
use tokio::task::JoinSet;
use vecgrid_client::{Client, Entry, ErrorKind, Scroll, Search};

#[tokio::test]
async fn an_entry_goes_there_and_back() {
    let (_daemon, client, _tasks) = start().await;
    let entry = Entry::new("ä").vector([0.5, -0.0]).metadata(json!({"n": 1}));
    assert_eq!(client.upsert("c", [&entry]).await.unwrap().upserted, 1);
    assert_eq!(client.get("c", "ä").await.unwrap(), Some(entry));
    assert_eq!(client.get("c", "b").await.unwrap(), None);
    assert_eq!(client.delete("c", ["ä", "b"]).await.unwrap().deleted, 1);
    assert_eq!(client.delete("c", Vec::<String>::new()).await.unwrap().deleted, 0);
}

#[tokio::test]
async fn the_deadline_travels_and_is_enforced_here() {
    let (daemon, client, _tasks) = start().await;
    client.with_timeout(Duration::from_millis(1500)).get("c", "x").await.unwrap();
    let (_, timeout) = daemon.state(|state| state.calls.remove(0));
    let timeout = timeout.unwrap();
    let micros: u64 = timeout.trim_end_matches(char::is_alphabetic).parse().unwrap();
    assert!(micros > 1_000_000 && micros <= 1_500_000 && timeout.ends_with('u'), "{timeout}");

    daemon.play([Some(Trick::StoreAndHang)]);
    let started = Instant::now();
    let error =
        client.with_timeout(Duration::from_millis(100)).upsert("c", [Entry::new("a")]).await.unwrap_err();
    assert!(started.elapsed() < Duration::from_secs(2));
    assert_eq!((error.code(), error.kind()), ("deadline_exceeded", ErrorKind::Timeout));
    assert!(error.is_unknown());
}

#[tokio::test]
async fn overload_is_waited_out_under_one_request_id() {
    let (daemon, client, _tasks) = start().await;
    daemon.play([Some(Trick::Overloaded), Some(Trick::Overloaded)]);
    client.upsert("c", [Entry::new("a")]).await.unwrap();
    let arrived = daemon.state(|state| state.arrived.clone());
    assert_eq!(arrived.len(), 3);
    assert!(!arrived[0].0.is_empty() && arrived.iter().all(|a| *a == arrived[0]));
}

#[tokio::test]
async fn a_lost_answer_is_retried_and_takes_effect_once() {
    let (daemon, client, _tasks) = start().await;
    daemon.play([Some(Trick::StoreAndBreak)]);
    client.upsert("c", [Entry::new("a")]).await.unwrap();
    assert_eq!(daemon.state(|state| (state.arrived.len(), state.applied.len())), (2, 1));
}

#[tokio::test]
async fn once_unknown_a_call_stays_unknown() {
    let (daemon, client, _tasks) = start().await;
    daemon.play([Some(Trick::StoreAndBreak)].into_iter().chain([Some(Trick::Overloaded); 9]));
    let error = client.upsert("c", [Entry::new("a")]).await.unwrap_err();
    assert_eq!(error.code(), "overloaded");
    assert!(error.is_unknown(), "the first try may have been stored");
    daemon.state(|state| state.tricks.clear());
    daemon.play([Some(Trick::Overloaded); 9]);
    assert!(client.upsert("c", [Entry::new("a")]).await.unwrap_err().is_definite());
}

#[tokio::test]
async fn refusals_are_not_retried() {
    let (daemon, client, _tasks) = start().await;
    let error = client.upsert("c", [Entry::new("bad")]).await.unwrap_err();
    assert_eq!((error.code(), error.kind()), ("invalid_vector", ErrorKind::InvalidInput));
    daemon.play([Some(Trick::ReadOnly)]);
    let error = client.upsert("c", [Entry::new("a")]).await.unwrap_err();
    assert_eq!(error.code(), "storage_read_only");
    assert!(error.is_unknown() && !error.is_retryable());
    assert_eq!(daemon.state(|state| state.arrived.len()), 2);
    let error = client.search(Search::new("c", [1.0]).k(0)).await.unwrap_err();
    assert!(error.is_definite());
}

#[tokio::test]
async fn nobody_there_is_definite() {
    let error = Client::connect("127.0.0.1:1").await.unwrap_err();
    assert_eq!((error.code(), error.kind()), ("unreachable", ErrorKind::Unreachable));
    assert!(error.message().contains("127.0.0.1:1") && error.message().contains("refused"), "{error}");
    let lazy = Client::builder().endpoint("unix:/nowhere/v.sock").connect_lazy().unwrap();
    let error = lazy.upsert("c", [Entry::new("a")]).await.unwrap_err();
    assert_eq!(error.code(), "unreachable");
    assert!(error.is_definite() && error.message().contains("No such file"), "{error}");
}

#[tokio::test]
async fn over_a_unix_socket_the_authority_is_localhost_and_connections_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("v.sock");
    let (daemon, mut tasks) = (Daemon::default(), JoinSet::new());
    let endpoint = daemon.serve_unix(&path, &mut tasks).await;
    let client = Client::connect(endpoint).await.unwrap();
    client.upsert("c", [Entry::new("a").vector([1.0])]).await.unwrap();
    assert_eq!(daemon.state(|state| state.calls[0].0.clone()), "localhost");

    tasks.shutdown().await;
    std::fs::remove_file(&path).unwrap();
    let _endpoint = daemon.serve_unix(&path, &mut tasks).await;
    assert!(client.get("c", "a").await.unwrap().is_some());
}

#[tokio::test]
async fn a_walk_follows_cursors_and_shrinks_pages_that_are_too_large() {
    let (_daemon, client, _tasks) = start().await;
    client.upsert("c", (0..250).map(|i| Entry::new(format!("{i:03}")))).await.unwrap();
    let entries: Vec<Entry> = client.scroll(Scroll::new("c")).try_collect().await.unwrap();
    let ids: Vec<String> = entries.into_iter().map(|entry| entry.id).collect();
    assert_eq!(ids, (0..250).map(|i| format!("{i:03}")).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_search_stream_answers_in_order_and_survives_a_bad_search() {
    let (_daemon, client, _tasks) = start().await;
    let searches = stream::iter((0..50).map(|k| Search::new("c", [1.0]).k(k).include_metadata(k % 2 == 0)));
    let answers: Vec<_> = client.search_stream(searches, 4).await.unwrap().collect().await;
    assert_eq!(answers.len(), 50);
    assert_eq!(answers[0].as_ref().unwrap_err().code(), "invalid_k");
    for (k, answer) in answers.iter().enumerate().skip(1) {
        let hits = &answer.as_ref().unwrap().hits;
        assert_eq!(hits.len(), k);
        assert!(hits.iter().all(|hit| hit.metadata.is_some() == (k % 2 == 0)));
    }
    let batch = [Search::new("c", [1.0]).k(2), Search::new("c", [1.0]).k(3)];
    let lengths: Vec<usize> =
        client.search_batch(&batch).await.unwrap().iter().map(|answer| answer.hits.len()).collect();
    assert_eq!(lengths, [2, 3]);
}
