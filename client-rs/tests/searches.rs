//! Searches of many callers over one stream, and those that are calls of their own.

mod fake;

use std::time::Duration;

use fake::{Daemon, HELD, start};
use futures::{FutureExt, StreamExt, TryStreamExt, future, stream};
use vecgrid_client::{Client, Consistency, ErrorKind, Search};

fn search(k: u32) -> Search {
    Search::new("c", [1.0]).k(k)
}

fn held(k: u32) -> Search {
    search(k).filter(HELD.trim_matches('"'))
}

fn calls(daemon: &Daemon) -> usize {
    daemon.state(|state| state.calls.len())
}

#[tokio::test]
async fn short_searches_of_all_clones_share_one_stream() {
    let (daemon, client, _tasks) = start().await;
    let searches = (0..200).map(|k| {
        let client = client.clone();
        async move { (k % 100, client.search(search(k % 100)).await) }
    });
    let answers: Vec<_> = stream::iter(searches).buffer_unordered(50).collect().await;
    assert_eq!(answers.len(), 200);
    for (k, answer) in answers {
        match answer {
            Ok(answer) => assert_eq!(answer.hits.len(), k as usize),
            Err(error) => {
                assert_eq!((k, error.code(), error.kind()), (0, "invalid_k", ErrorKind::InvalidInput));
                assert!(error.is_definite());
            }
        }
    }
    assert_eq!((daemon.state(|state| state.streams), calls(&daemon)), (1, 0));
}

#[tokio::test]
async fn nobody_waits_for_anothers_search() {
    let (daemon, client, _tasks) = start().await;
    let mut slow = Box::pin(client.search(held(1)));
    assert!((&mut slow).now_or_never().is_none());
    assert_eq!(client.search(search(2)).await.unwrap().hits.len(), 2);
    daemon.state(|state| state.release.notify_waiters());
    assert_eq!(slow.await.unwrap().hits.len(), 1);
}

#[tokio::test]
async fn who_goes_away_harms_nobody() {
    let (daemon, client, _tasks) = start().await;
    let impatient = client.with_timeout(Duration::from_millis(50));
    let error = impatient.search(held(1)).await.unwrap_err();
    assert_eq!((error.code(), error.kind()), ("deadline_exceeded", ErrorKind::Timeout));
    daemon.state(|state| state.release.notify_waiters());
    assert_eq!(client.search(search(2)).await.unwrap().hits.len(), 2);
    assert_eq!(daemon.state(|state| state.streams), 1);
}

#[tokio::test]
async fn a_stream_that_broke_is_replaced_and_all_ask_again() {
    let (daemon, client, _tasks) = start().await;
    client.search(search(1)).await.unwrap();
    daemon.state(|state| state.breaks = 1);
    let answers = (1..20).map(|k| client.search(search(k)));
    let answers = future::try_join_all(answers).await.unwrap();
    assert!(answers.iter().zip(1..).all(|(answer, k)| answer.hits.len() == k));
    assert_eq!((daemon.state(|state| state.streams), calls(&daemon)), (2, 0));
}

#[tokio::test]
async fn large_searches_and_those_that_demand_more_are_calls() {
    let (daemon, client, _tasks) = start().await;
    assert_eq!(client.search(search(101)).await.unwrap().hits.len(), 101);
    client.search(search(1).include_vector(true)).await.unwrap();
    client.search(Search::new("c", vec![1.0; 20_000]).k(1)).await.unwrap();
    let strong = client.with_consistency(Consistency::Strong);
    strong.search(search(1)).await.unwrap();
    assert_eq!((daemon.state(|state| state.streams), calls(&daemon)), (0, 4));
}

#[tokio::test]
async fn an_answer_that_is_too_large_is_refused_alone() {
    let (daemon, _client, mut tasks) = start().await;
    let endpoint = daemon.serve_tcp(&mut tasks).await;
    let client = Client::builder().endpoint(endpoint).max_message_bytes(100).connect().await.unwrap();
    let both = Box::pin(future::join(client.search(search(90)), client.search(search(2)))).await;
    let error = both.0.unwrap_err();
    assert_eq!((error.code(), error.kind()), ("message_too_large", ErrorKind::TooLarge));
    assert_eq!(both.1.unwrap().hits.len(), 2);
    assert_eq!(daemon.state(|state| state.streams), 1);
}

#[tokio::test]
async fn a_request_that_is_too_large_is_refused_alone() {
    let (daemon, _client, mut tasks) = start().await;
    let endpoint = daemon.serve_tcp(&mut tasks).await;
    let client = Client::builder().endpoint(endpoint).max_message_bytes(100).connect().await.unwrap();
    let large = Search::new("c", vec![1.0; 100]).k(1);
    let both = Box::pin(future::join(client.search(large), client.search(search(2)))).await;
    let error = both.0.unwrap_err();
    assert_eq!((error.code(), error.kind()), ("message_too_large", ErrorKind::TooLarge));
    assert!(error.is_definite(), "nothing was sent");
    assert_eq!(both.1.unwrap().hits.len(), 2);
    assert_eq!(daemon.state(|state| state.streams), 1);
}

#[tokio::test]
async fn overload_is_waited_out() {
    let (daemon, client, _tasks) = start().await;
    daemon.state(|state| state.overloads = 2);
    assert_eq!(client.search(search(2)).await.unwrap().hits.len(), 2);
    assert_eq!(daemon.state(|state| (state.overloads, state.streams)), (0, 1));
    let impatient = Client::builder().endpoint(client.endpoint().to_string()).max_retries(0);
    let impatient = impatient.connect().await.unwrap();
    daemon.state(|state| state.overloads = 1);
    let error = impatient.search(search(2)).await.unwrap_err();
    assert_eq!((error.code(), error.kind()), ("overloaded", ErrorKind::Overloaded));
    assert_eq!(error.retry_after(), Some(Duration::from_millis(20)));
}

#[tokio::test]
async fn nobody_there_is_told_as_of_a_call() {
    let lazy = Client::builder().endpoint("unix:/nowhere/v.sock").max_retries(1).connect_lazy().unwrap();
    let error = lazy.search(search(1)).await.unwrap_err();
    assert_eq!((error.code(), error.kind()), ("unreachable", ErrorKind::Unreachable));
    assert!(error.message().contains("No such file"), "{error}");
}

#[tokio::test]
async fn a_daemon_that_knows_no_such_stream_is_called() {
    let (daemon, client, _tasks) = start().await;
    daemon.state(|state| state.old = true);
    let answers = stream::iter(1..10).then(|k| client.search(search(k)));
    let answers: Vec<_> = answers.try_collect().await.unwrap();
    assert!(answers.iter().zip(1..).all(|(answer, k)| answer.hits.len() == k));
    assert_eq!((daemon.state(|state| state.streams), calls(&daemon)), (1, 9), "it is asked once");
}

#[test]
fn a_stream_lives_where_the_client_was_connected() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (serves, searches) = (tokio::runtime::Runtime::new().unwrap(), runtime());
    let (daemon, client, _tasks) = serves.block_on(start());
    searches.block_on(client.search(search(1))).unwrap();
    drop(searches);
    runtime().block_on(client.search(search(2))).unwrap();
    assert_eq!((daemon.state(|state| state.streams), calls(&daemon)), (1, 0));
}
