//! Bulk loads: nothing lost, nothing twice, and the last one wins, whatever the daemon does.

mod fake;

use std::time::Duration;

use fake::{Trick, start};
use futures::{StreamExt, stream};
use serde_json::json;
use vecgrid_client::{Client, Entry, ErrorKind};

fn entries(n: usize) -> impl Iterator<Item = Entry> + Send {
    (0..n).map(|i| Entry::new(format!("e{i:05}")).metadata(json!({"i": i})))
}

#[tokio::test]
async fn a_plain_load_stores_everything_and_reports_progress() {
    let (daemon, client, _tasks) = start().await;
    let mut seen = Vec::new();
    let load = client.bulk("c").batch_entries(64).on_progress(|progress| seen.push(progress.acknowledged));
    let report = load.run_iter(entries(1_000)).await.unwrap();
    assert_eq!(
        (report.acknowledged, report.upserted, report.failed, report.resume_at),
        (1_000, 1_000, 0, 1_000)
    );
    assert_eq!(daemon.state(|state| (state.entries.len(), state.arrived.len())), (1_000, 16));
    assert!(seen.is_sorted() && seen.len() == 16 && seen.last() == Some(&1_000));
    let report = client.upsert_stream("c", stream::empty()).await.unwrap();
    assert_eq!(report.acknowledged, 0);
}

#[tokio::test]
async fn batches_respect_the_byte_limit_and_slow_input_is_fine() {
    let (daemon, client, _tasks) = start().await;
    let slow = stream::iter(entries(200)).then(|entry| async move {
        tokio::task::yield_now().await;
        entry
    });
    client.bulk("c").batch_bytes(500).run(slow).await.unwrap();
    let arrived = daemon.state(|state| state.arrived.clone());
    assert_eq!(arrived.iter().map(|(_, n)| n).sum::<usize>(), 200);
    assert!(arrived.len() > 8 && arrived.iter().all(|(_, n)| *n <= 30), "{arrived:?}");
}

#[tokio::test]
async fn overload_and_broken_streams_lose_nothing_and_apply_once() {
    let (daemon, client, _tasks) = start().await;
    let tricks =
        [Some(Trick::Overloaded), None, Some(Trick::StoreAndBreak), Some(Trick::Overloaded), None, None];
    daemon.play(tricks.into_iter().cycle().take(30));
    let report = client.bulk("c").batch_entries(10).run_iter(entries(500)).await.unwrap();
    assert_eq!((report.acknowledged, report.upserted, report.failed), (500, 500, 0));
    assert!(report.retries > 0);
    let (stored, mut applied) = daemon.state(|state| (state.entries.len(), state.applied.clone()));
    assert_eq!(stored, 500);
    // Each batch took effect under one request id.
    assert_eq!(applied.len(), 50);
    applied.sort();
    applied.dedup();
    assert_eq!(applied.len(), 50);
}

#[tokio::test]
async fn the_last_entry_of_an_id_wins_through_retries() {
    for trick in [Trick::Overloaded, Trick::StoreAndBreak] {
        let (daemon, client, _tasks) = start().await;
        daemon.play([Some(trick), None, None, Some(trick), None, None, None, Some(trick)]);
        let entries = (0..40).map(|i| Entry::new(format!("{}", i % 5)).metadata(json!({"i": i})));
        let report = client.bulk("c").batch_entries(3).run_iter(entries).await.unwrap();
        assert_eq!(report.acknowledged, 40);
        for id in 0..5 {
            let json = daemon.state(|state| state.entries[&id.to_string()].metadata_json.clone());
            assert_eq!(json, json!({"i": 35 + id}).to_string(), "{trick:?}");
        }
    }
}

#[tokio::test]
async fn bad_entries_are_found_and_the_rest_is_stored() {
    let (daemon, client, _tasks) = start().await;
    let bad = [3, 64, 65, 199];
    let entries =
        (0..200).map(|i| Entry::new(if bad.contains(&i) { format!("bad{i}") } else { i.to_string() }));
    let mut refused = Vec::new();
    let load = client.bulk("c").batch_entries(50).on_error(|error, entry| {
        assert_eq!(error.id, entry.id);
        refused.push(error.index);
    });
    let report = load.run_iter(entries).await.unwrap();
    refused.sort_unstable();
    assert_eq!(refused, bad);
    assert_eq!((report.acknowledged, report.upserted, report.failed, report.resume_at), (200, 196, 4, 200));
    assert!(report.errors.iter().all(|error| error.code == "invalid_vector"));
    assert_eq!(daemon.state(|state| state.entries.len()), 196);
}

#[tokio::test]
async fn a_load_that_must_stop_says_where_to_go_on() {
    let (daemon, client, _tasks) = start().await;
    daemon.play([None, None, None, Some(Trick::ReadOnly)]);
    let stopped = client.bulk("c").batch_entries(10).in_flight(1).run_iter(entries(100)).await.unwrap_err();
    assert_eq!(stopped.error.code(), "storage_read_only");
    assert!(stopped.error.is_unknown());
    assert_eq!((stopped.report.acknowledged, stopped.report.resume_at), (30, 30));

    let stopped = client.bulk("nowhere").run_iter(entries(5)).await.unwrap_err();
    assert_eq!((stopped.error.code(), stopped.report.resume_at), ("collection_not_found", 0));
}

#[tokio::test]
async fn patience_has_an_end() {
    let (daemon, client, _tasks) = start().await;
    daemon.play([None, Some(Trick::StoreAndHang)]);
    let load = client.bulk("c").batch_entries(10).patience(Duration::from_millis(300));
    let stopped = load.run_iter(entries(100)).await.unwrap_err();
    assert_eq!((stopped.error.kind(), stopped.report.resume_at), (ErrorKind::Timeout, 10));
    assert!(stopped.error.is_unknown());

    daemon.play([Some(Trick::Overloaded); 100]);
    let load = client.bulk("c").batch_entries(10).patience(Duration::from_millis(300));
    assert_eq!(load.run_iter(entries(10)).await.unwrap_err().error.code(), "overloaded");

    let nobody = Client::builder().endpoint("127.0.0.1:1").connect_lazy().unwrap();
    let load = nobody.bulk("c").patience(Duration::from_millis(300));
    let stopped = load.run_iter(entries(10)).await.unwrap_err();
    assert_eq!(stopped.error.kind(), ErrorKind::Unreachable);
    assert!(stopped.error.is_definite());
}
